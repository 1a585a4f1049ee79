//! Devices that are not believed any more: revoked, or with a certificate that has ended.
//!
//! **Invariant:** a device is called one of them only once it is. **Not here:** that certificates end in time
//! (`endings`).

use fieldmesh_chaos::{Phase, Strike, history::What};
use fieldmesh_domain::EntityId;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::{Striker, UnderWay};
use crate::cli::CliError;

impl Striker<'_, '_> {
    /// Customers whose devices are not believed any more; they go on asking.
    pub(super) async fn revoke(&mut self, strike: Strike, devices: u32) {
        for _ in 0..devices {
            let Some(device) = self.revocable.pop() else {
                return self.note(&strike, None, Phase::Skipped, "no device is left to be revoked");
            };
            match self.revoked(&device).await {
                Ok(customer) => {
                    self.load.recorded += 1;
                    self.load.leave_out(customer);
                    self.recorder.note(What::Revoked { device });
                    self.note(&strike, None, Phase::Installed, "");
                    self.note(&strike, None, Phase::Ended, "");
                }
                Err(error) => self.note(&strike, None, Phase::Failed, error),
            }
        }
    }

    async fn revoked(&self, device: &str) -> Result<EntityId, CliError> {
        let api = self.nodes.any(0).ok_or_else(|| CliError::failed("no node can be asked"))?;
        let id: EntityId = device.parse().map_err(CliError::failed)?;
        let registration = EntityId::registration_of(id);
        let path = format!("/v1/ca/registrations/{registration}/revoke");
        let _: Value = api.post(&path, &json!({ "reason": "keyCompromise" })).await?;
        Ok(id)
    }

    /// Customers whose devices' certificates end now; they go on asking.
    pub(super) async fn expire(&mut self, strike: Strike, devices: u32) {
        let mut expired = Vec::new();
        for _ in 0..devices {
            let Some(ending) = self.load.endings.pop_front() else {
                self.note(&strike, None, Phase::Skipped, "no device is left to expire");
                break;
            };
            match ending.ended().await {
                Ok(()) => {
                    self.recorder.note(What::Revoked { device: ending.device.to_string() });
                    expired.push(ending);
                }
                Err(error) => self.note(&strike, None, Phase::Failed, error),
            }
        }
        // Whose certificate has not ended is none that the fault befell.
        let effect = Some(expired.len() as u64);
        self.felt(&strike, None, Phase::Installed, "", effect);
        self.expired.insert(strike.number, expired);
        let lasts = Duration::from_millis(strike.until_ms.saturating_sub(strike.at_ms));
        let until = Instant::now() + lasts;
        self.under_way.insert(strike.number, UnderWay { strike, nodes: Vec::new(), until });
    }

    /// They get their next certificates by those that have ended.
    pub(super) async fn renew(&mut self, strike: &Strike) {
        for ending in self.expired.remove(&strike.number).unwrap_or_default() {
            if let Err(error) = self.load.renew(&ending).await {
                let why = format!("{} gets no next certificate: {error}", ending.device);
                self.note(strike, None, Phase::Failed, why);
            }
        }
        self.note(strike, None, Phase::Ended, "");
    }
}
