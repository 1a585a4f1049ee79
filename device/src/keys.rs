//! A device's keys: the identity that signs and connects, and the HPKE keys that open messages.

use std::{fmt, sync::Arc};

use fieldmesh_envelope::{
    HpkePrivateKey, HpkePublicKey, KeyBundle, KeyError, KeyRing, SignError, Signer, sign_bundle,
};

/// A device offers a new HPKE key after this.
pub const HPKE_OFFERED_S: u64 = 24 * 3600;
/// Messages to an old key open for this long: as long as messages live.
pub const HPKE_ACCEPTED_S: u64 = 7 * 24 * 3600;

/// An HPKE key with its age.
#[derive(Clone)]
pub struct DeviceHpke {
    pub private: Arc<HpkePrivateKey>,
    pub public: HpkePublicKey,
    /// Unix seconds.
    pub made_s: u64,
}

/// The keys in use. The signer is a seam: a hardware key store implements it.
#[derive(Clone)]
pub struct DeviceKeys {
    pub signer: Arc<dyn Signer>,
    pub hpke: Vec<DeviceHpke>,
}

impl fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKeys({} HPKE keys)", self.hpke.len())
    }
}

impl DeviceKeys {
    /// Drops HPKE keys past their life and adds a new one where the newest is a day old; true where
    /// something changed.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn rotate(&mut self, now_s: u64) -> Result<bool, KeyError> {
        let before = self.hpke.len();
        self.hpke.retain(|key| key.made_s + HPKE_ACCEPTED_S > now_s);
        let newest = self.hpke.iter().map(|key| key.made_s).max();
        if newest.is_some_and(|made_s| made_s + HPKE_OFFERED_S > now_s) {
            return Ok(self.hpke.len() != before);
        }
        let (private, public) = HpkePrivateKey::generate()?;
        self.hpke.push(DeviceHpke { private: Arc::new(private), public, made_s: now_s });
        Ok(true)
    }

    pub(crate) fn ring(&self) -> KeyRing {
        let mut ring = KeyRing::default();
        for key in &self.hpke {
            if ring
                .insert(Arc::clone(&key.private), key.made_s, key.made_s + HPKE_ACCEPTED_S)
                .is_err()
            {
                // Rotation keeps at most seven keys and one new, which the ring has room for.
                tracing::error!("a device holds more HPKE keys than it may");
            }
        }
        ring
    }

    pub(crate) fn bundle(&self, owner: &str) -> Result<Vec<u8>, SignError> {
        let newest = self.hpke.iter().max_by_key(|key| key.made_s).ok_or(SignError::Key)?;
        let bundle = KeyBundle {
            owner: owner.to_owned(),
            serial: newest.made_s,
            not_before: newest.made_s,
            not_after: newest.made_s + HPKE_ACCEPTED_S,
            keys: vec![newest.public.clone()],
        };
        sign_bundle(&bundle, &*self.signer)
    }
}
