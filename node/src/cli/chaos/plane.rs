//! By whom what befalls a node is done: by the node to itself, or by the kernel of a laboratory.
//!
//! **Invariant:** what was done by the one is ended by the same. **Not here:** what is done the same way in every run,
//! by signals, processes and requests (`striker`).

use fieldmesh_chaos::{Fault, Strike};

use super::{ground::Ground, kernel::Kernel, leases::Leases};
use crate::cli::{
    CliError,
    api::Api,
    lab::{by, is_of_the_kernel},
};

/// What a run has to break nodes with.
pub(super) enum Plane {
    Inside(Leases),
    /// Of the kernel; what it has no part in, and what a scenario wants so, is done inside all the same.
    Kernel(Kernel, Leases),
}

impl Plane {
    /// Whether the kernel does a strike.
    pub(super) fn is_of_the_kernel(&self, strike: &Strike) -> bool {
        self.kernel(strike).is_some()
    }

    fn kernel(&self, strike: &Strike) -> Option<&Kernel> {
        match self {
            Self::Kernel(kernel, _) if is_of_the_kernel(strike) => Some(kernel),
            _ => None,
        }
    }

    /// By what a strike is done, where that is not as in any run.
    pub(super) fn by(&self, strike: &Strike) -> &'static str {
        self.kernel(strike).map_or("", |_| by(strike))
    }

    pub(super) fn leases(&self) -> &Leases {
        match self {
            Self::Inside(leases) | Self::Kernel(_, leases) => leases,
        }
    }

    /// Breaks a node; a disk that is broken ends it.
    pub(super) async fn begin(
        &self,
        strike: &Strike,
        node: u64,
        api: Api,
        ground: &mut Ground<'_>,
    ) -> Result<(), CliError> {
        match (self.kernel(strike), strike.fault) {
            (Some(kernel), Fault::FullDisk) => kernel.fill(ground.fleet()?.disk_of(node)?).await,
            (Some(kernel), Fault::BrokenDisk) => kernel.break_disk(ground.process_of(node)?).await,
            (Some(kernel), fault) => kernel.begin(strike.number, node, fault).await,
            (None, fault) => self.leases().begin(strike.number, node, api, fault).await,
        }
    }

    /// Mends it; what it did, where the node or the kernel counted that.
    pub(super) async fn end(
        &self,
        strike: &Strike,
        node: u64,
        ground: &mut Ground<'_>,
    ) -> Result<Option<u64>, CliError> {
        match (self.kernel(strike), strike.fault) {
            (Some(_), Fault::FullDisk) => {
                ground.fleet()?.disk_of(node)?.empty().map_err(CliError::failed)?;
                Ok(None)
            }
            (Some(kernel), _) => kernel.end(strike.number, node).await,
            (None, _) => Ok(self.leases().end(strike.number, node).await),
        }
    }
}
