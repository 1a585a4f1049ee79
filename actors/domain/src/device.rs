//! The device of a customer or technician, as its owner knows it: the message keys it published, and
//! whether it may still be believed.
//!
//! **Invariants:** key bundles never go back; a device that was lost is back only with a certificate
//! that is not revoked: when it gets one, or connects with it. **Not here:** tokens and
//! certificates (`registration`).

use minicbor::{Decode, Encode};

use crate::rejection::{Rejection, RejectionCode};

/// Bytes of a signed key bundle; one with eight keys has about 1.5 KiB.
const BUNDLE_BYTES_MAX: usize = 4096;

/// What is known of the device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Device {
    #[n(0)]
    pub bundle_serial: u64,
    /// It has a certificate that was not revoked.
    #[n(1)]
    pub present: bool,
}

/// What happens to a device.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    #[n(0)]
    KeysPublished {
        #[n(0)]
        serial: u64,
        #[cbor(n(1), with = "minicbor::bytes")]
        bundle: Vec<u8>,
    },
    /// Its certificates were revoked.
    #[n(1)]
    Lost,
    /// It has a certificate, for the first time or again after it was lost.
    #[n(2)]
    Found,
}

impl Device {
    pub(crate) fn publish(&self, serial: u64, bundle: &[u8]) -> Result<Vec<Change>, Rejection> {
        if bundle.len() > BUNDLE_BYTES_MAX {
            return Rejection::new(RejectionCode::Invalid, "the key bundle is too large");
        }
        if serial < self.bundle_serial {
            return Rejection::new(
                RejectionCode::Invalid,
                "the key bundle is older than the one in force",
            );
        }
        let published = (serial > self.bundle_serial)
            .then(|| Change::KeysPublished { serial, bundle: bundle.to_vec() });
        Ok(published.into_iter().chain(self.find()).collect())
    }

    pub(crate) fn find(&self) -> Vec<Change> {
        if self.present { vec![] } else { vec![Change::Found] }
    }

    pub(crate) fn lose(&self) -> Vec<Change> {
        if self.present { vec![Change::Lost] } else { vec![] }
    }

    pub(crate) fn evolve(&mut self, change: &Change) {
        match change {
            Change::KeysPublished { serial, .. } => self.bundle_serial = *serial,
            Change::Lost => self.present = false,
            Change::Found => self.present = true,
        }
    }
}
