//! Customers' devices whose certificates end in the midst of a run.
//!
//! The nodes are asked to issue such ones, by leases that end before anybody asks them for another one.
//! **Invariant:** whose certificate lasts longer than it was asked for is not called ended. **Not here:** when
//! and whose (`striker`), who uses the devices (`load`).

use std::time::Duration;

use fieldmesh_actors::seams::Clock as _;
use fieldmesh_chaos::{Fault, Timeline};
use fieldmesh_domain::EntityId;
use tokio::time::sleep;

use super::{leases, nodes::Nodes};
use crate::{
    cli::{CliError, population::Enrolled},
    os::SystemClock,
    web::chaos::ChaosView,
};

/// The lease: behind those of all strikes.
const SHORT_LIVES: u64 = 1 << 40;
/// Certificates that are to end in a run are issued before it begins: so much is added, in which it does.
const SPARE_S: u64 = 3;
/// Longer is not waited for the end of one.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A device, and when its certificate ends.
pub(super) struct Ending {
    pub(super) device: EntityId,
    pub(super) enrolled: Enrolled,
    not_after_s: u64,
}

/// When in a run certificates are to end, in milliseconds, each as often as it is one's.
pub(super) fn moments(timeline: &Timeline) -> Vec<u64> {
    let of = timeline.0.iter().filter_map(|strike| match strike.fault {
        Fault::Expire { devices } => Some((strike.at_ms, devices)),
        _ => None,
    });
    of.flat_map(|(at_ms, devices)| (0..devices).map(move |_| at_ms)).collect()
}

/// From now on, for some seconds, certificates of customers' devices end so long after a run has begun.
pub(super) async fn shorten(nodes: &Nodes, at_ms: u64) -> Result<(), CliError> {
    let fault = Fault::ShortLives { life_s: at_ms.div_ceil(1_000) + SPARE_S };
    for node in nodes.all().into_values() {
        leases::ask(SHORT_LIVES, &node.api, fault).await?;
    }
    Ok(())
}

/// From now on they last as long as ever.
pub(super) async fn lengthen(nodes: &Nodes) -> Result<(), CliError> {
    for node in nodes.all().into_values() {
        let path = format!("/v1/chaos/leases/{SHORT_LIVES}");
        let _: ChaosView = node.api.delete(&path).await?;
    }
    Ok(())
}

impl Ending {
    pub(super) fn of(device: EntityId, enrolled: Enrolled) -> Result<Self, CliError> {
        let not_after_s = enrolled.not_after_s()?;
        Ok(Self { device, enrolled, not_after_s })
    }

    /// Waits until its certificate has ended.
    ///
    /// # Errors
    /// One that lasts longer than it was asked for.
    pub(super) async fn ended(&self) -> Result<(), CliError> {
        let end_ms = (self.not_after_s + 1) * 1_000;
        let left = Duration::from_millis(end_ms.saturating_sub(SystemClock.now_ms()));
        if left > WAIT_MAX {
            let text = format!("the certificate of {} lasts {} s yet", self.device, left.as_secs());
            return Err(CliError::failed(text));
        }
        sleep(left).await;
        Ok(())
    }
}
