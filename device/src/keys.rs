//! A device's keys: the identity that signs and connects, and the HPKE keys that open messages.

use std::{fmt, sync::Arc};

use fieldmesh_envelope::{
    HpkePrivateKey, HpkePublicKey, KeyBundle, KeyError, KeyRing, SignError, Signer, sign_bundle,
};

/// A device offers a new HPKE key after this.
pub const HPKE_OFFERED_S: u64 = 24 * 3600;
/// Messages to an old key open for this long: as long as messages live.
pub const HPKE_ACCEPTED_S: u64 = 7 * 24 * 3600;

/// The service takes bundles from a clock that is this far ahead of its own, and no further.
const CLOCK_AHEAD_S: u64 = 300;

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
    /// something changed. Keys from the future, which a wrong clock made, are dropped too: the
    /// service takes no bundle with them.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn rotate(&mut self, now_s: u64) -> Result<bool, KeyError> {
        let before = self.hpke.len();
        self.hpke.retain(|key| {
            key.made_s + HPKE_ACCEPTED_S > now_s && key.made_s <= now_s + CLOCK_AHEAD_S
        });
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_envelope::{SoftwareSigner, VerifyingKey, verify_bundle};
    use fieldmesh_pki::KeyMaterial;

    use super::*;

    const DAY_S: u64 = 24 * 3600;

    fn keys() -> (DeviceKeys, VerifyingKey) {
        let key = KeyMaterial::generate().unwrap();
        let signer = SoftwareSigner::from_pkcs8(key.pkcs8(), b"certificate").unwrap();
        let verifying = VerifyingKey::from_sec1(key.public_point()).unwrap();
        (DeviceKeys { signer: Arc::new(signer), hpke: Vec::new() }, verifying)
    }

    fn ages(keys: &DeviceKeys, now_s: u64) -> Vec<u64> {
        keys.hpke.iter().map(|key| (now_s - key.made_s) / DAY_S).collect()
    }

    #[test]
    fn a_key_is_offered_for_a_day_and_opens_for_a_week() {
        let ((mut keys, verifying), begin) = (keys(), 1_000 * DAY_S);
        assert!(keys.rotate(begin).unwrap());
        assert!(!keys.rotate(begin + DAY_S - 1).unwrap(), "the newest is not a day old");
        for day in 1..30 {
            let now_s = begin + day * DAY_S;
            assert!(keys.rotate(now_s).unwrap(), "day {day}");
            let expected: Vec<u64> = (0..=day.min(6)).rev().collect();
            assert_eq!(ages(&keys, now_s), expected, "day {day}");
            let newest = keys.hpke.last().unwrap().public.clone();
            let bundle = keys.bundle("cus_x").unwrap();
            let x5t = keys.signer.certificate_thumbprint();
            let bundle = verify_bundle(&bundle, &verifying, &x5t, "cus_x", now_s);
            assert_eq!(bundle.map(|bundle| bundle.keys), Ok(vec![newest]));
        }
        // A device that was off for a month has a new key at once, and no old one.
        assert!(keys.rotate(begin + 60 * DAY_S).unwrap());
        assert_eq!(ages(&keys, begin + 60 * DAY_S), [0]);
    }

    #[test]
    fn a_clock_that_was_wrong_once_does_not_lock_the_device_out() {
        let ((mut keys, _), now_s) = (keys(), 1_000 * DAY_S);
        keys.rotate(now_s + 400 * DAY_S).unwrap();
        assert!(keys.rotate(now_s).unwrap());
        assert_eq!(ages(&keys, now_s), [0]);
    }
}
