//! The node's configuration: `cluster.toml`, environment, flags.
//!
//! The defaults are the file `cluster.toml` of the repository itself, compiled in, so that file and
//! program cannot disagree. **Invariant:** an unknown key or a value out of range is an error that
//! names it. **Not here:** secrets, which are never configuration.

pub mod chaos;
pub mod outside;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use fieldmesh_calendar::zone::Zone;
use fieldmesh_domain::Region;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use chaos::ChaosConfig;
use fieldmesh_domain::placement::SHARDS_MAX;
use outside::{HeartbeatConfig, NoticesConfig};

use crate::{bucket::Rate, consensus::rest::Resting, node::Timing, store::health::Limits};

/// Half of what a member is believed for that was heard (`consensus::replicas`).
const LISTS_EVERY_MAX: Duration = Duration::from_millis(500);
/// Sooner, a group would rest between two requests of the same device.
const REST_AFTER_MIN: Duration = Duration::from_millis(500);

const DEFAULTS: &str = include_str!("../../cluster.toml");

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration is refused")]
    Read(#[source] config::ConfigError),
    #[error("{path} is refused")]
    File {
        path: PathBuf,
        #[source]
        source: config::ConfigError,
    },
    #[error("{key} = {value:?} is refused: {reason}")]
    Value { key: &'static str, value: String, reason: &'static str },
}

/// All of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub cluster: ClusterConfig,
    pub node: NodeConfig,
    pub listen: ListenConfig,
    pub advertise: AdvertiseConfig,
    pub raft: RaftConfig,
    pub disk: DiskConfig,
    pub pki: PkiConfig,
    pub notices: NoticesConfig,
    pub heartbeat: HeartbeatConfig,
    pub log: LogConfig,
    pub chaos: ChaosConfig,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    pub name: String,
    pub region: String,
    pub cut_off_after_s: u64,
    pub away_after_s: u64,
    pub unheard_after_s: u64,
    pub zone: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    pub number: u64,
    pub data_dir: PathBuf,
    pub shards: u32,
    pub entities_awake_max: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    pub devices: SocketAddr,
    pub https: SocketAddr,
    pub http: SocketAddr,
    pub mesh: SocketAddr,
    pub https_workers: usize,
    pub device_messages_per_s: u32,
    pub device_messages_burst: u32,
}

/// Where others reach this node; empty for where it listens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdvertiseConfig {
    pub mesh: String,
    pub devices: String,
    pub https: String,
}

impl AdvertiseConfig {
    fn check(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            ("advertise.mesh", &self.mesh),
            ("advertise.devices", &self.devices),
            ("advertise.https", &self.https),
        ] {
            let address = value.parse::<SocketAddr>();
            let is_one = address.is_ok_and(|at| at.port() != 0 && !at.ip().is_unspecified());
            if !value.is_empty() && !is_one {
                let reason = "use ADDRESS:PORT as others reach it, or leave it empty";
                return Err(ConfigError::Value { key, value: value.clone(), reason });
            }
        }
        Ok(())
    }
}

impl ListenConfig {
    pub fn device_rate(&self) -> Rate {
        Rate { per_second: self.device_messages_per_s, burst: self.device_messages_burst }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaftConfig {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    pub across_heartbeat_ms: u64,
    pub across_election_min_ms: u64,
    pub across_election_max_ms: u64,
    pub rest_after_ms: u64,
    pub snapshot_every: u64,
}

/// When the disk is not well.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskConfig {
    pub stall_ms: u64,
    pub room_min_mib: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PkiConfig {
    pub wrap_base64: bool,
    pub server_keygen: bool,
    pub public_url: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads defaults, then `file` if given, then the environment, then `flags` as `key=value`.
    ///
    /// # Errors
    /// An unreadable file, an unknown key, a value of the wrong type or out of range: by name.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut builder = config::Config::builder()
            .add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml));
        if let Some(path) = file {
            builder = builder.add_source(config::File::from(path).format(config::FileFormat::Toml));
            // The file alone first: what is wrong with it is then not blamed on something else.
            let alone = builder.clone().build().and_then(config::Config::try_deserialize::<Self>);
            alone.map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        }
        builder = builder.add_source(
            config::Environment::with_prefix("FIELDMESH").separator("__").try_parsing(true),
        );
        for (key, value) in flags {
            builder = builder.set_override(key, value.as_str()).map_err(ConfigError::Read)?;
        }
        let config: Self =
            builder.build().and_then(config::Config::try_deserialize).map_err(ConfigError::Read)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key, value: &dyn ToString, reason| {
            Err(ConfigError::Value { key, value: value.to_string(), reason })
        };
        self.cluster.check()?;
        self.notices.check()?;
        self.heartbeat.heartbeat(self.notices.delivering().patience)?;
        if self.node.number == 0 {
            return refuse("node.number", &self.node.number, "nodes are numbered from 1");
        }
        if self.node.shards == 0 || self.node.shards > SHARDS_MAX {
            return refuse("node.shards", &self.node.shards, "use 1 to 64");
        }
        if self.node.entities_awake_max == 0 {
            return refuse(
                "node.entities_awake_max",
                &self.node.entities_awake_max,
                "at least one entity must be awake",
            );
        }
        self.advertise.check()?;
        if self.listen.https_workers == 0 {
            return refuse(
                "listen.https_workers",
                &self.listen.https_workers,
                "at least one worker must run",
            );
        }
        if self.listen.device_messages_per_s == 0 || self.listen.device_messages_burst == 0 {
            return refuse(
                "listen.device_messages_per_s",
                &self.listen.device_messages_per_s,
                "a device must be able to send; this and device_messages_burst are at least 1",
            );
        }
        self.disk.check()?;
        self.log.check()?;
        let raft = &self.raft;
        // Below, a group would do little else; above, a log has gigabytes.
        if !(100..=1_000_000).contains(&raft.snapshot_every) {
            return refuse("raft.snapshot_every", &raft.snapshot_every, "use 100 to 1000000");
        }
        for (key, timing) in [
            ("raft.election_min_ms", raft.timing()),
            ("raft.across_election_min_ms", raft.timing_across()),
        ] {
            let Timing { heartbeat, election_min, election_max } = timing;
            if heartbeat.is_zero() || election_min < 2 * heartbeat || election_max <= election_min {
                return refuse(
                    key,
                    &election_min.as_millis(),
                    "needs 2 × heartbeat_ms <= election_min_ms < election_max_ms",
                );
            }
        }
        if raft.resting().after.is_some_and(|after| after < REST_AFTER_MIN) {
            return refuse(
                "raft.rest_after_ms",
                &raft.rest_after_ms,
                "use 500 or more, or 0 for never",
            );
        }
        Ok(())
    }
}

impl DiskConfig {
    fn check(&self) -> Result<(), ConfigError> {
        // Below, a sync that takes its time would be a stall; above, requests wait for minutes before another node leads.
        if (100..=60_000).contains(&self.stall_ms) {
            return Ok(());
        }
        let (key, value) = ("disk.stall_ms", self.stall_ms.to_string());
        Err(ConfigError::Value { key, value, reason: "use 100 to 60000" })
    }
}

impl LogConfig {
    fn check(&self) -> Result<(), ConfigError> {
        if EnvFilter::try_new(&self.filter).is_ok() {
            return Ok(());
        }
        let reason =
            "use error, warn, info, debug or trace, or some of TARGET=LEVEL between commas";
        Err(ConfigError::Value { key: "log.filter", value: self.filter.clone(), reason })
    }
}

impl ClusterConfig {
    pub fn away_after(&self) -> Option<Duration> {
        (self.away_after_s > 0).then(|| Duration::from_secs(self.away_after_s))
    }

    pub fn unheard_after(&self) -> Option<Duration> {
        (self.unheard_after_s > 0).then(|| Duration::from_secs(self.unheard_after_s))
    }

    /// Of sites whose zone nobody said.
    pub fn zone(&self) -> Zone {
        Zone::new(&self.zone).unwrap_or_else(|_| Zone::utc())
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key, value: &dyn ToString, reason| {
            Err(ConfigError::Value { key, value: value.to_string(), reason })
        };
        if Zone::new(&self.zone).is_err() {
            let reason = "use a zone of the IANA database, as Europe/Berlin";
            return refuse("cluster.zone", &self.zone, reason);
        }
        let name = &self.name;
        let is_dns =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        if name.is_empty()
            || name.len() > 64
            || !name.chars().all(is_dns)
            || name.starts_with(['.', '-'])
        {
            return refuse("cluster.name", name, "use a DNS name of at most 64 of [a-z0-9.-]");
        }
        if self.region.parse::<Region>().is_err() {
            return refuse("cluster.region", &self.region, "use 1 to 4 of [a-z0-9]");
        }
        // The identifier of what belongs to no region says so.
        if self.region == "all" {
            return refuse("cluster.region", &self.region, "\"all\" is no region's name");
        }
        // An election must not send devices to and fro.
        let cut_off_after_s = self.cut_off_after_s;
        if !(3..=3600).contains(&cut_off_after_s) {
            return refuse("cluster.cut_off_after_s", &cut_off_after_s, "use 3 to 3600");
        }
        // An election, a restart and a slow disk are no absence; a week is what a holiday lasts.
        let away_after_s = self.away_after_s;
        if away_after_s != 0 && !(10..=604_800).contains(&away_after_s) {
            let reason = "use 10 to 604800, or 0 for never";
            return refuse("cluster.away_after_s", &away_after_s, reason);
        }
        // A phone in a lift is not gone; whoever is not heard for a day is not on shift.
        let unheard_after_s = self.unheard_after_s;
        if unheard_after_s != 0 && !(10..=86_400).contains(&unheard_after_s) {
            let reason = "use 10 to 86400, or 0 for never";
            return refuse("cluster.unheard_after_s", &unheard_after_s, reason);
        }
        Ok(())
    }
}

impl DiskConfig {
    pub fn limits(&self) -> Limits {
        Limits {
            stall: Duration::from_millis(self.stall_ms),
            room_min: self.room_min_mib.saturating_mul(1 << 20),
        }
    }
}

impl RaftConfig {
    pub fn timing(&self) -> Timing {
        Timing {
            heartbeat: Duration::from_millis(self.heartbeat_ms),
            election_min: Duration::from_millis(self.election_min_ms),
            election_max: Duration::from_millis(self.election_max_ms),
        }
    }

    /// Of the placement group, where the cluster has more than one region.
    pub fn timing_across(&self) -> Timing {
        Timing {
            heartbeat: Duration::from_millis(self.across_heartbeat_ms),
            election_min: Duration::from_millis(self.across_election_min_ms),
            election_max: Duration::from_millis(self.across_election_max_ms),
        }
    }

    pub fn resting(&self) -> Resting {
        let after = Duration::from_millis(self.rest_after_ms);
        // More than two within what any group waits for its leader, and within what tells that a member is there.
        let every = self.timing().election_min.min(self.timing_across().election_min);
        let every = every.min(LISTS_EVERY_MAX);
        Resting { every, after: (!after.is_zero()).then_some(after) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn flag(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.into(), value.into())]
    }

    #[test]
    fn the_shipped_file_is_a_whole_configuration() {
        let config = Config::load(None, &[]).unwrap();
        assert_eq!(config.node.shards, 2);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = Config::load(None, &flag("node.shard", "3")).unwrap_err();
        let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(text.contains("shard"), "{text}");
    }

    #[test]
    fn rules_of_chaos_are_read_from_a_file_or_refused_in_a_line() {
        let load = |rule: &str| {
            let text = format!("[chaos]\nenabled = true\n[[chaos.rules]]\n{rule}\n");
            let toml = |text: &str| config::File::from_str(text, config::FileFormat::Toml);
            let builder = config::Config::builder();
            let read = builder.add_source(toml(DEFAULTS)).add_source(toml(&text)).build();
            read.unwrap().try_deserialize::<Config>().map_err(|error| error.to_string())
        };
        let config = load("peer = \"10.0.0.0/24\"\ndirection = \"out\"\nloss_percent = 5").unwrap();
        assert!(config.chaos.enabled && config.chaos.rules[0].loss_percent == 5);
        for (rule, word) in [
            ("loss_percent = 5", "peer"),
            ("peer = \"10.0.0.2\"\nloss_percent = 101", "loss_percent = 101"),
            ("peer = \"10.0.0.2\"\nloss_percent = -1", "loss_percent"),
            ("peer = \"10.0.0.2\"\ndelay_ms = 10001", "delay_ms = 10001"),
            ("peer = \"10.0.0.2\"\njitter_ms = 1", "jitter_ms = 1"),
            ("peer = \"node-2\"", "node-2"),
            ("peer = \"10.0.0.2\"\ndirection = \"up\"", "up"),
            ("peer = \"10.0.0.2\"\nlatency_ms = 1", "latency_ms"),
        ] {
            let text = load(rule).unwrap_err();
            assert!(text.contains(word) && !text.contains('\n'), "{rule}: {text}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_key() {
        for (key, value) in [
            ("cluster.region", "europe"),
            ("node.shards", "0"),
            ("raft.heartbeat_ms", "200"),
            ("raft.rest_after_ms", "499"),
            ("cluster.name", "A b"),
            ("cluster.away_after_s", "5"),
            ("cluster.unheard_after_s", "5"),
            ("cluster.zone", "Mars/Olympus"),
            ("cluster.cut_off_after_s", "0"),
            ("disk.stall_ms", "0"),
            ("disk.stall_ms", "60001"),
            ("log.filter", "fieldmesh=loud"),
        ] {
            let error = Config::load(None, &flag(key, value)).unwrap_err().to_string();
            let section = key.split('.').next().unwrap();
            assert!(error.contains(section), "{key}: {error}");
        }
    }
}
