//! `[notices]` and `[heartbeat]`: how long what is outside may take, and who misses a node there.
//!
//! **Invariant:** an address that could be read is one that may be asked. **Not here:** the targets of notices,
//! which are a document of the operators; asking (`notices`).

use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use crate::notices::{Delivering, Pace, Patience, endpoint::Endpoint, heartbeat::Heartbeat};

/// How notices to targets outside are delivered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticesConfig {
    pub connect_s: u64,
    pub answer_s: u64,
    pub first_pause_ms: u64,
    pub digest_after_s: u64,
}

impl NoticesConfig {
    pub fn delivering(&self) -> Delivering {
        let connect = Duration::from_secs(self.connect_s);
        let patience = Patience { connect, whole: Duration::from_secs(self.answer_s) };
        let (first_pause_ms, digest_after_ms) = (self.first_pause_ms, self.digest_after_s * 1000);
        Delivering { patience, pace: Pace { first_pause_ms, digest_after_ms } }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, value, range, reason) in [
            ("notices.connect_s", self.connect_s, 1..=60, "use 1 to 60"),
            ("notices.answer_s", self.answer_s, 1..=60, "use 1 to 60"),
            ("notices.first_pause_ms", self.first_pause_ms, 100..=600_000, "use 100 to 600000"),
            ("notices.digest_after_s", self.digest_after_s, 1..=86_400, "use 1 to 86400"),
        ] {
            if !range.contains(&value) {
                return Err(ConfigError::Value { key, value: value.to_string(), reason });
            }
        }
        Ok(())
    }
}

/// Where a monitor outside hears that somebody watches the tickets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatConfig {
    pub url: String,
    pub every_s: u64,
    pub allow_private: bool,
}

impl HeartbeatConfig {
    /// None where no monitor is configured.
    ///
    /// # Errors
    /// What is wrong with the address or the period.
    pub fn heartbeat(&self, patience: Patience) -> Result<Option<Heartbeat>, ConfigError> {
        let refuse = |key, value: &dyn ToString, reason| {
            Err(ConfigError::Value { key, value: value.to_string(), reason })
        };
        let Self { url, every_s, allow_private } = self;
        if !(1..=3600).contains(every_s) {
            return refuse("heartbeat.every_s", every_s, "use 1 to 3600");
        }
        if url.is_empty() {
            return Ok(None);
        }
        let endpoint = match Endpoint::parse(url) {
            Ok(endpoint) if !endpoint.is_tls && !allow_private => {
                let reason =
                    "http:// is for monitors inside; write https://, or allow_private = true";
                return refuse("heartbeat.url", url, reason);
            }
            Ok(endpoint) => endpoint,
            Err(reason) => return refuse("heartbeat.url", url, reason),
        };
        let (every, allow_private) = (Duration::from_secs(*every_s), *allow_private);
        Ok(Some(Heartbeat { endpoint, every, allow_private, patience }))
    }
}
