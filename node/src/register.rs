//! Reading the authority's records for devices: whether a certificate is one that was committed, and
//! by which earlier certificate a message was signed.
//!
//! A certificate that the authority's key signed and its records do not know is worth nothing: it was
//! made by whoever has the key. **Not here:** writing (`web::est`), revocation (`trust`).

use std::sync::Arc;

use fieldmesh_domain::{
    EntityId, IndexRow,
    effect::RowKey,
    mutant::{Mutant, is_planted},
    registration::Registration,
};
use fieldmesh_envelope::VerifyingKey;
use fieldmesh_pki::{PeerCertificate, Usage, profile};

use crate::{
    courier::{NodeCourier, wire::Recorded},
    journal::ShardJournal,
    trust::Trust,
};

/// The region's records on this node.
#[derive(Clone)]
pub struct Register {
    journal: ShardJournal,
    courier: Arc<NodeCourier>,
    trust: Arc<Trust>,
}

/// The replica here may be behind, and nobody says how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node cannot tell now whether the authority has a record of the certificate")]
pub struct NotCurrent;

impl Register {
    pub fn new(journal: ShardJournal, courier: Arc<NodeCourier>, trust: Arc<Trust>) -> Self {
        Self { journal, courier, trust }
    }

    /// Whether the certificate was issued to this device.
    ///
    /// # Errors
    /// See [`Register::issued_to`].
    pub async fn knows(
        &self,
        certificate: &PeerCertificate,
        device: EntityId,
    ) -> Result<bool, NotCurrent> {
        self.issued_to(certificate, EntityId::registration_of(device)).await
    }

    /// Whether the certificate was issued to this registration, if only a moment ago and by way of
    /// another node.
    ///
    /// # Errors
    /// Where there is no record, and it cannot be found out whether the one here is the last word.
    pub async fn issued_to(
        &self,
        certificate: &PeerCertificate,
        id: EntityId,
    ) -> Result<bool, NotCurrent> {
        let Some(serial) = serial(&certificate.serial) else { return Ok(false) };
        let (serial, issuer) = (serial.into(), certificate.issuer_hash.into());
        let certificate = Recorded { registration: id, serial, issuer };
        let known = self.courier.known();
        let own = known.own();
        if id.region() != own.region {
            let home = known.known().home(id.region()).cloned().ok_or(NotCurrent)?;
            let asked = self.courier.is_recorded_in(&home, &certificate).await;
            return asked.ok_or(NotCurrent);
        }
        if has_record(&self.journal, &certificate) {
            return Ok(true);
        }
        if !self.courier.catch_up(own.authority()).await {
            return Err(NotCurrent);
        }
        Ok(has_record(&self.journal, &certificate))
    }

    /// The key of an earlier certificate of the device, which was in force at a time or could still be
    /// renewed then: a message that waited while the certificate was renewed is signed by the one
    /// before.
    pub fn signer(&self, device: EntityId, x5t: &[u8; 32], at_s: u64) -> Option<VerifyingKey> {
        let registration = EntityId::registration_of(device);
        let state = self.journal.state::<Registration>(registration).ok()?;
        let issued = state.issued.iter().find(|issued| issued.fingerprint == *x5t)?;
        if issued.revoked.is_some() && !is_planted(Mutant::RevocationIgnored) {
            return None;
        }
        let store = self.trust.store();
        // It may have expired before its holder had a connection again to renew it on.
        let grace = |kind| profile(kind).grace_s;
        let (der, usage) = (&issued.certificate, Usage::ClientAuth);
        let certificate = store.verify_lapsed(der, &[], usage, at_s, &grace).ok()?;
        VerifyingKey::from_sec1(&certificate.public_point).ok()
    }
}

/// Whether a replica of the authority's group has a record of a certificate.
pub fn has_record(authority: &ShardJournal, certificate: &Recorded) -> bool {
    let Recorded { registration: id, serial, issuer } = certificate;
    match authority.row(&RowKey::certificate(serial, issuer)) {
        Ok(row) => matches!(
            row,
            Some(IndexRow::Certificate { registration, .. }) if registration == *id
        ),
        Err(error) => {
            tracing::error!(%id, %error, "the register cannot be read");
            false
        }
    }
}

/// A serial number as DER has it, in 16 bytes; none for a longer one, which is none of ours.
pub fn serial(der: &[u8]) -> Option<[u8; 16]> {
    let start = der.iter().position(|byte| *byte != 0).unwrap_or(der.len());
    let digits = &der[start..];
    let mut serial = [0; 16];
    serial[16_usize.checked_sub(digits.len())?..].copy_from_slice(digits);
    Some(serial)
}
