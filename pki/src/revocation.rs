//! What is revoked and why, and the set that every handshake asks.
//!
//! **Invariants:** a serial is a number: leading zero bytes do not make another one of it. An entry
//! leaves the set only after the time its caller named. The order of the set's entries is never
//! seen. **Not here:** CRLs and OCSP answers, which are for others than ourselves: [`crate::crl()`],
//! [`crate::ocsp`]; who may revoke, and how the set reaches each node.

use core::{fmt, hash::BuildHasherDefault, str::FromStr};
use std::{collections::BTreeMap, hash::DefaultHasher};

/// Why a certificate was revoked (RFC 5280 §5.3.1). What is not here is not for our certificates:
/// no CA is listed in its own CRL, and nothing is put on hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
}

/// Why a text is not a reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a reason: use unspecified, keyCompromise, affiliationChanged, superseded or \
     cessationOfOperation"
)]
pub struct ReasonError(String);

impl Reason {
    const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// The name in the RFC.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
        }
    }

    /// The number of CRLReason.
    pub fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }

    /// The reason with this number, if it is one of ours.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.number() == number)
    }

    /// The number to write: an unspecified reason is left out, in CRLs (RFC 5280 §5.3.1) and for
    /// the same reason in OCSP answers.
    pub(crate) fn code(self) -> Option<i64> {
        (self != Self::Unspecified).then_some(i64::from(self.number()))
    }
}

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, ReasonError> {
        let found = Self::ALL.into_iter().find(|reason| reason.name() == text);
        found.ok_or_else(|| ReasonError(text.to_owned()))
    }
}

/// A revoked certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    pub serial: [u8; 16],
    /// Unix seconds.
    pub at_s: u64,
    pub reason: Reason,
}

/// A serial as a number of 16 bytes; `None` where it is longer, as none of ours is.
pub(crate) fn serial_16(bytes: &[u8]) -> Option<[u8; 16]> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    let mut serial = [0; 16];
    serial[16_usize.checked_sub(digits.len())?..].copy_from_slice(digits);
    Some(serial)
}

/// Serials with the second until which each is kept. The hasher's key is fixed, so that nodes
/// replay alike. That is safe: what is put in are our own random serials.
#[expect(
    clippy::disallowed_types,
    reason = "its order is never seen: it is asked and thinned only"
)]
type Serials = std::collections::HashMap<[u8; 16], u64, BuildHasherDefault<DefaultHasher>>;

#[derive(Clone, Default)]
struct Issuer {
    is_revoked: bool,
    serials: Serials,
}

/// Which (issuer, serial) pairs are revoked, and which issuers altogether.
///
/// An issuer is the SHA-256 of its name, as in [`crate::PeerCertificate::issuer_hash`]. A question
/// costs one walk over a handful of issuers and one hash, whatever the number of serials.
///
/// Memory: 25 bytes for each place of a table between 44 % and 88 % full, so 29 to 57 bytes for a
/// serial; 100,000 serials take 3.3 MB, and a clone copies that in one piece.
#[derive(Clone, Default)]
pub struct RevocationSet {
    issuers: BTreeMap<[u8; 32], Issuer>,
}

impl fmt::Debug for RevocationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationSet")
            .field("issuers", &self.issuers.len())
            .field("serials", &self.len())
            .finish()
    }
}

impl RevocationSet {
    /// Adds a certificate, to be kept at least until the given second: until nobody believes the
    /// certificate any more. That is its end **plus the grace for renewing after it**, not its end.
    pub fn revoke(&mut self, issuer_hash: [u8; 32], serial: [u8; 16], keep_until_s: u64) {
        let kept = self.issuers.entry(issuer_hash).or_default().serials.entry(serial).or_default();
        *kept = (*kept).max(keep_until_s);
    }

    /// Adds an issuer: every certificate under its name is revoked from now on.
    pub fn revoke_issuer(&mut self, issuer_hash: [u8; 32]) {
        self.issuers.entry(issuer_hash).or_default().is_revoked = true;
    }

    /// Whether a certificate is revoked, by its own serial or with its issuer. The serial is as in
    /// the certificate, with or without leading zero bytes.
    pub fn contains(&self, issuer_hash: &[u8; 32], serial: &[u8]) -> bool {
        self.issuers.get(issuer_hash).is_some_and(|issuer| {
            issuer.is_revoked
                || serial_16(serial).is_some_and(|serial| issuer.serials.contains_key(&serial))
        })
    }

    /// Drops the serials whose time is over and tells how many. It looks at each of them: to be
    /// done now and then, not at every change.
    pub fn drop_expired(&mut self, now_s: u64) -> usize {
        let before = self.len();
        for issuer in self.issuers.values_mut() {
            issuer.serials.retain(|_, keep_until_s| *keep_until_s >= now_s);
            issuer.serials.shrink_to(2 * issuer.serials.len());
        }
        self.issuers.retain(|_, issuer| issuer.is_revoked || !issuer.serials.is_empty());
        before - self.len()
    }

    /// Serials, revoked issuers not counted.
    pub fn len(&self) -> usize {
        self.issuers.values().map(|issuer| issuer.serials.len()).sum()
    }

    /// Whether nothing is revoked, no issuer either.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const A: [u8; 32] = [1; 32];
    const B: [u8; 32] = [2; 32];

    #[test]
    fn reasons_have_the_names_and_numbers_of_the_rfc() {
        let numbers = [0, 1, 3, 4, 5];
        for (reason, number) in Reason::ALL.into_iter().zip(numbers) {
            assert_eq!(reason.number(), number);
            assert_eq!(Reason::from_number(number), Some(reason));
            assert_eq!(reason.name().parse(), Ok(reason));
        }
        for number in [2, 6, 7, 8, 9, 10, 255] {
            assert_eq!(Reason::from_number(number), None);
        }
        assert!("certificateHold".parse::<Reason>().is_err());
        assert!("KeyCompromise".parse::<Reason>().is_err());
    }

    #[test]
    fn serials_are_numbers() {
        let mut set = RevocationSet::default();
        let mut serial = [0; 16];
        serial[14..].copy_from_slice(&[0x80, 7]);
        set.revoke(A, serial, 100);
        set.revoke(A, [0xff; 16], 100);
        assert!(set.contains(&A, &[0x80, 7]));
        assert!(set.contains(&A, &[0, 0x80, 7]));
        assert!(set.contains(&A, &serial));
        assert!(set.contains(&A, &[&[0][..], &[0xff; 16]].concat()));
        assert!(!set.contains(&A, &[0x80, 7, 0]));
        assert!(!set.contains(&A, &[&[1][..], &[0xff; 16]].concat()));
        assert!(!set.contains(&A, &[0; 17]));
        assert!(!set.contains(&A, &[]));
        assert!(!set.contains(&B, &serial));
    }

    #[test]
    fn an_issuer_takes_all_its_certificates_along_and_stays() {
        let mut set = RevocationSet::default();
        set.revoke(A, [1; 16], 100);
        set.revoke_issuer(A);
        assert!(set.contains(&A, &[9; 16]));
        assert!(set.contains(&A, &[9; 20]));
        assert!(!set.contains(&B, &[9; 16]));
        assert_eq!(set.drop_expired(101), 1);
        assert!(set.contains(&A, &[9; 16]));
        assert!(!set.is_empty());
    }

    #[test]
    fn an_entry_is_kept_through_its_last_second_and_the_longer_time_wins() {
        let mut set = RevocationSet::default();
        set.revoke(A, [1; 16], 200);
        set.revoke(A, [1; 16], 100);
        assert_eq!(set.drop_expired(200), 0);
        assert!(set.contains(&A, &[1; 16]));
        assert_eq!(set.drop_expired(201), 1);
        assert!(!set.contains(&A, &[1; 16]));
        assert!(set.is_empty());
    }

    #[test]
    fn its_description_does_not_show_an_order() {
        let mut set = RevocationSet::default();
        set.revoke(A, [1; 16], 200);
        assert_eq!(format!("{set:?}"), "RevocationSet { issuers: 1, serials: 1 }");
    }

    proptest! {
        #[test]
        fn it_answers_as_an_ordered_set(
            entries in prop::collection::vec((0_u8..3, any::<u8>(), 0_u64..20), 0..200),
            now in 0_u64..20,
        ) {
            let mut set = RevocationSet::default();
            for (issuer, serial, until) in &entries {
                set.revoke([*issuer; 32], [*serial; 16], *until);
            }
            set.drop_expired(now);
            let expected: BTreeSet<_> = entries
                .iter()
                .filter(|(_, _, until)| *until >= now)
                .map(|(issuer, serial, _)| (*issuer, *serial))
                .collect();
            prop_assert_eq!(set.len(), expected.len());
            for issuer in 0..3 {
                for serial in 0..=255 {
                    prop_assert_eq!(
                        set.contains(&[issuer; 32], &[serial; 16]),
                        expected.contains(&(issuer, serial))
                    );
                }
            }
        }
    }
}
