//! What each kind of certificate says, how long it lives, and how its holder gets the next one.
//!
//! **Invariants:** there is one profile for each kind, and nothing else decides a certificate's
//! content; certificates made in one second neither end nor renew in one second. **Not here:** the
//! encoding ([`crate::IssuingCa`]), who approved what.

use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};

use crate::{KeyKind, Kind};

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;
/// Every certificate is valid from a little before it is made: devices' clocks lag.
pub(crate) const BACKDATE_S: u64 = 600;
/// The end of a life is spread over its last twentieth.
const END_SPREAD_DIVISOR: u64 = 20;
/// The start of renewal is spread over this part of what is left then.
const RENEWAL_SPREAD_DIVISOR: u64 = 4;

/// Who must agree before a certificate is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// A valid token is enough.
    None,
    /// One operator, for an identity's first certificate.
    FirstEnrollment,
    /// One operator, for each enrollment; renewal by re-enrollment needs none.
    EachEnrollment,
    /// Two operators, each time.
    TwoPersons,
}

/// From when to when a certificate is valid; Unix seconds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    pub not_before_s: u64,
    pub not_after_s: u64,
}

/// The content of a certificate, except for the name, and the rules of its renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    pub kind: Kind,
    /// Its name in EST paths and commands.
    pub label: &'static str,
    pub lifetime_s: u64,
    /// Part of the life after which it may be renewed by re-enrollment; 0: it may not.
    pub renew_after_percent: u8,
    /// For how long after its end it still proves who asks for the next one.
    pub grace_s: u64,
    pub needs_approval: Approval,
    pub key_kinds: &'static [KeyKind],
    /// nonRepudiation beside digitalSignature: the holder signs messages with it.
    pub signs_messages: bool,
    pub client_auth: bool,
    pub server_auth: bool,
    /// Signs OCSP responses, and is itself not looked up (RFC 6960 §4.2.2.2).
    pub ocsp_signing: bool,
}

const NODE: Profile = Profile {
    kind: Kind::Node,
    label: "node",
    lifetime_s: 7 * DAY_S,
    renew_after_percent: 50,
    grace_s: 30 * DAY_S,
    needs_approval: Approval::None,
    key_kinds: &[KeyKind::P256],
    signs_messages: false,
    client_auth: true,
    server_auth: true,
    ocsp_signing: false,
};

const GATEWAY: Profile = Profile {
    kind: Kind::Gateway,
    label: "gateway",
    needs_approval: Approval::EachEnrollment,
    ..NODE
};

const CUSTOMER: Profile = Profile {
    kind: Kind::Customer,
    label: "customer-device",
    lifetime_s: 90 * DAY_S,
    renew_after_percent: 66,
    grace_s: 180 * DAY_S,
    needs_approval: Approval::None,
    key_kinds: &[KeyKind::P256, KeyKind::P384, KeyKind::Ed25519],
    signs_messages: true,
    client_auth: true,
    server_auth: false,
    ocsp_signing: false,
};

const TECHNICIAN: Profile = Profile {
    kind: Kind::Technician,
    label: "technician-device",
    lifetime_s: 30 * DAY_S,
    needs_approval: Approval::FirstEnrollment,
    ..CUSTOMER
};

const OPERATOR: Profile = Profile {
    kind: Kind::Operator,
    label: "operator",
    lifetime_s: 12 * HOUR_S,
    renew_after_percent: 0,
    grace_s: 0,
    needs_approval: Approval::TwoPersons,
    key_kinds: &[KeyKind::P256, KeyKind::P384],
    signs_messages: false,
    client_auth: true,
    server_auth: false,
    ocsp_signing: false,
};

const SERVICE: Profile = Profile {
    kind: Kind::Service,
    label: "service",
    lifetime_s: 7 * DAY_S,
    renew_after_percent: 50,
    grace_s: 0,
    needs_approval: Approval::None,
    key_kinds: &[KeyKind::P256],
    signs_messages: true,
    client_auth: false,
    server_auth: false,
    ocsp_signing: false,
};

const OCSP_SIGNER: Profile = Profile {
    kind: Kind::OcspSigner,
    label: "ocsp-signer",
    signs_messages: false,
    ocsp_signing: true,
    ..SERVICE
};

impl Profile {
    /// Each profile once.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        Kind::ALL.into_iter().map(profile)
    }

    /// The profile with a label.
    pub fn by_label(label: &str) -> Option<&'static Self> {
        Self::all().find(|profile| profile.label == label)
    }

    /// The life of a certificate made now; `jitter` is a random byte that takes up to a twentieth
    /// from its end.
    pub fn life(&self, now_s: u64, jitter: u8) -> Life {
        let spread = self.lifetime_s / END_SPREAD_DIVISOR;
        let lifetime_s = self.lifetime_s - spread * u64::from(jitter) / u64::from(u8::MAX);
        Life {
            not_before_s: now_s.saturating_sub(BACKDATE_S),
            not_after_s: now_s.saturating_add(lifetime_s),
        }
    }

    /// From when a certificate is renewed by re-enrollment, and by when it must be; `None` where it
    /// is not renewed so. `jitter` is the certificate's own (such as bytes of its serial), so that
    /// each side computes the same.
    pub fn renewal_window(
        &self,
        not_before_s: u64,
        not_after_s: u64,
        jitter: u32,
    ) -> Option<(u64, u64)> {
        if self.renew_after_percent == 0 {
            return None;
        }
        let life_s = not_after_s.saturating_sub(not_before_s);
        let after_s = life_s / 100 * u64::from(self.renew_after_percent);
        let spread_s = (life_s - after_s) / RENEWAL_SPREAD_DIVISOR;
        let part = u128::from(spread_s) * u128::from(jitter) / u128::from(u32::MAX);
        let late_s = u64::try_from(part).unwrap_or(spread_s);
        Some((not_before_s + after_s + late_s, not_after_s))
    }

    pub(crate) fn key_usages(&self) -> Vec<KeyUsagePurpose> {
        let mut usages = vec![KeyUsagePurpose::DigitalSignature];
        if self.signs_messages {
            usages.push(KeyUsagePurpose::ContentCommitment);
        }
        usages
    }

    pub(crate) fn extended_key_usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        let server = self.server_auth.then_some(ExtendedKeyUsagePurpose::ServerAuth);
        let client = self.client_auth.then_some(ExtendedKeyUsagePurpose::ClientAuth);
        let ocsp = self.ocsp_signing.then_some(ExtendedKeyUsagePurpose::OcspSigning);
        server.into_iter().chain(client).chain(ocsp).collect()
    }
}

/// The profile of a kind.
pub fn profile(kind: Kind) -> &'static Profile {
    match kind {
        Kind::Node => &NODE,
        Kind::Customer => &CUSTOMER,
        Kind::Technician => &TECHNICIAN,
        Kind::Operator => &OPERATOR,
        Kind::Service => &SERVICE,
        Kind::Gateway => &GATEWAY,
        Kind::OcspSigner => &OCSP_SIGNER,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_has_its_profile_and_each_label_its_kind() {
        let labels: BTreeSet<&str> = Profile::all().map(|profile| profile.label).collect();
        let wanted = [
            "customer-device",
            "gateway",
            "node",
            "ocsp-signer",
            "operator",
            "service",
            "technician-device",
        ];
        assert_eq!(labels.into_iter().collect::<Vec<_>>(), wanted);
        for found in Profile::all() {
            assert_eq!(profile(found.kind), found);
            assert_eq!(Profile::by_label(found.label), Some(found));
            assert!(!found.key_kinds.is_empty());
        }
        assert_eq!(Profile::by_label("root"), None);
        assert_eq!(Profile::by_label("Node"), None);
    }

    #[test]
    fn certificates_of_one_second_are_renewed_in_different_ones() {
        let node = profile(Kind::Node);
        let life = node.life(1_000_000_000, 0);
        let starts: BTreeSet<u64> = (0..1000_u32)
            .map(|at| {
                let jitter = at * 4_294_967;
                node.renewal_window(life.not_before_s, life.not_after_s, jitter).unwrap().0
            })
            .collect();
        assert_eq!(starts.len(), 1000);
        assert_eq!(profile(Kind::Operator).renewal_window(0, 1000, 7), None);
    }

    proptest! {
        #[test]
        fn a_life_loses_at_most_a_twentieth(now_s in 600_u64..1 << 40, jitter: u8) {
            for profile in Profile::all() {
                let life = profile.life(now_s, jitter);
                let length = life.not_after_s - now_s;
                prop_assert_eq!(life.not_before_s, now_s - BACKDATE_S);
                prop_assert!(length <= profile.lifetime_s);
                prop_assert!(length * 100 >= profile.lifetime_s * 95);
            }
        }

        #[test]
        fn renewal_starts_after_its_part_and_well_before_the_end(
            now_s in 600_u64..1 << 40, jitter: u8, spread: u32,
        ) {
            for profile in Profile::all().filter(|profile| profile.renew_after_percent > 0) {
                let life = profile.life(now_s, jitter);
                let (from, by) = profile
                    .renewal_window(life.not_before_s, life.not_after_s, spread)
                    .unwrap();
                let whole = life.not_after_s - life.not_before_s;
                let percent = u64::from(profile.renew_after_percent);
                prop_assert_eq!(by, life.not_after_s);
                prop_assert!(from - life.not_before_s + 100 >= whole * percent / 100);
                // A fifth of the life is left for retries.
                prop_assert!((by - from) * 5 >= whole, "{} s of {whole}", by - from);
            }
        }

        #[test]
        fn no_window_overflows(from: u64, until: u64, jitter: u32) {
            for profile in Profile::all() {
                profile.renewal_window(from, until, jitter);
                profile.life(from, 0);
            }
        }
    }
}
