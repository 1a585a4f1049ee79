//! Any value of the authority's records.
//!
//! Tokens, keys, certificates and operators come from small pools, so that they meet; certificates
//! expire while a schedule runs.

use fieldmesh_domain::{
    EntityId,
    authority::{Deed, Head, Note},
    placement::{Ca, Move, Node, Phase, Proposal, Role, Step},
    registration::{Approval, Decision, Issued, Profile, Proof, Request, Revocation, Token},
};
use proptest::{collection::vec, option, prelude::*};

use crate::{alone::HEAD_BYTES_MAX, arbitrary::millis, world};

/// Whoever acts: operators who may meet themselves.
pub(crate) fn by() -> impl Strategy<Value = String> {
    "[ab]"
}

/// Seconds in which certificates expire.
const LIFE_S: u64 = 600;

pub(crate) fn why() -> impl Strategy<Value = String> {
    "[a-z]{0,3}"
}

pub(crate) fn hash() -> impl Strategy<Value = [u8; 32]> {
    (0_u8..3).prop_map(|number| [number; 32])
}

pub(crate) fn key() -> impl Strategy<Value = [u8; 32]> {
    (10_u8..13).prop_map(|number| [number; 32])
}

pub(crate) fn serial() -> impl Strategy<Value = [u8; 16]> {
    (0_u8..8).prop_map(|number| [number; 16])
}

pub(crate) fn device() -> impl Strategy<Value = Option<EntityId>> {
    prop_oneof![
        Just(None),
        Just(Some(world::customer(0))),
        Just(Some(world::technician(0))),
        Just(Some(world::desk())),
    ]
}

pub(crate) fn profile() -> impl Strategy<Value = Profile> {
    prop_oneof![
        Just(Profile::Customer),
        Just(Profile::Technician),
        Just(Profile::Operator),
        Just(Profile::Node),
        Just(Profile::Gateway),
    ]
}

pub(crate) fn approval() -> impl Strategy<Value = Approval> {
    prop_oneof![Just(Approval::None), Just(Approval::One), Just(Approval::SecondPerson)]
}

pub(crate) fn token() -> impl Strategy<Value = Token> {
    (hash(), millis(), by(), approval()).prop_map(|(hash, expires, by, approval)| Token {
        hash,
        expires,
        by,
        approval,
    })
}

fn proof() -> impl Strategy<Value = Proof> {
    prop_oneof![hash().prop_map(Proof::Token), serial().prop_map(Proof::Certificate)]
}

pub(crate) fn revocation() -> impl Strategy<Value = Revocation> {
    (millis(), any::<u8>(), any::<bool>()).prop_map(|(at, reason, banned)| Revocation {
        at,
        reason,
        banned,
    })
}

/// A certificate as it is issued, before anybody revokes it.
pub(crate) fn issued() -> impl Strategy<Value = Issued> {
    let not_after = prop_oneof![3 => 0..LIFE_S, 1 => Just(u64::MAX)];
    let hashes = any::<[[u8; 32]; 3]>();
    (proof(), key(), serial(), not_after, hashes, vec(any::<u8>(), 0..4)).prop_map(
        |(proof, public_key_hash, serial, not_after, hashes, certificate)| {
            let [issuer, fingerprint, signed_part] = hashes;
            Issued {
                proof,
                public_key_hash,
                issuer,
                serial,
                not_before: 0,
                not_after,
                certificate,
                revoked: None,
                fingerprint,
                signed_part,
            }
        },
    )
}

fn decision() -> impl Strategy<Value = Decision> {
    prop_oneof![
        Just(Decision::Pending),
        by().prop_map(Decision::Approved),
        (by(), why()).prop_map(|(by, why)| Decision::Denied { by, why }),
    ]
}

pub(crate) fn asked() -> impl Strategy<Value = Request> {
    (hash(), key(), millis(), decision(), by(), approval()).prop_map(
        |(token_hash, public_key_hash, asked_at, decision, minted_by, approval)| Request {
            token_hash,
            public_key_hash,
            asked_at,
            decision,
            minted_by,
            approval,
        },
    )
}

fn deed() -> impl Strategy<Value = Deed> {
    let issued = (profile(), issued(), option::of(by()), option::of(serial())).prop_map(
        |(profile, issued, approved_by, renews)| Deed::Issued {
            profile,
            issuer: issued.issuer,
            serial: issued.serial,
            not_after: issued.not_after,
            key: issued.public_key_hash,
            signed_part: issued.signed_part,
            approved_by,
            renews: renews.map(Into::into),
        },
    );
    prop_oneof![
        profile().prop_map(Deed::Registered),
        (token(), profile()).prop_map(|(Token { hash, expires, approval, .. }, profile)| {
            Deed::TokenMinted { expires, approval, token: hash, profile }
        }),
        (key(), hash(), profile()).prop_map(|(key, token, profile)| Deed::Requested {
            key,
            token,
            profile
        }),
        Just(Deed::Approved),
        why().prop_map(|why| Deed::Denied { why }),
        Just(Deed::Lapsed),
        issued,
        (any::<[u8; 32]>(), serial(), any::<u8>())
            .prop_map(|(issuer, serial, reason)| Deed::Revoked { issuer, serial, reason }),
        why().prop_map(|why| Deed::Banned { why }),
        Just(Deed::Readmitted),
        (any::<u16>(), why(), any::<u32>()).prop_map(|(code, why, unlisted)| Deed::Refused {
            code,
            why,
            unlisted
        }),
        why().prop_map(|purpose| Deed::KeyUsed { purpose }),
        (by(), why(), hash(), any::<u64>(), why()).prop_map(
            |(run, scenario, document, seed, target)| Deed::ChaosBegun {
                run,
                scenario,
                document,
                seed,
                target,
            }
        ),
        (by(), any::<u8>()).prop_map(|(run, exit)| Deed::ChaosEnded { run, exit }),
        (key(), hash(), any::<u64>()).prop_map(|(issuer, certificate, not_after)| {
            Deed::CaIntroduced { issuer, certificate, not_after }
        }),
        (hash(), phase(), phase(), option::of(by()), any::<bool>()).prop_map(
            |(certificate, from, to, proposed_by, compromised)| Deed::CaMoved {
                certificate,
                from,
                to,
                proposed_by,
                compromised,
            }
        ),
    ]
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Introduced),
        Just(Phase::Active),
        Just(Phase::Superseded),
        Just(Phase::Retired),
        Just(Phase::Removed),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Activate),
        1 => Just(Step::ActivateCompromised),
        2 => Just(Step::Rollback),
        3 => Just(Step::Retire),
        3 => Just(Step::Remove),
        2 => Just(Step::Drop),
    ]
}

pub(crate) fn ca() -> impl Strategy<Value = Ca> {
    let role = prop_oneof![Just(Role::Root), Just(Role::Issuing)];
    let numbers = (any::<u64>(), 0_u64..4, millis());
    (hash(), key(), hash(), role, phase(), numbers, any::<bool>()).prop_map(
        |(fingerprint, name, signer, role, phase, (not_after, epoch, since), compromised)| Ca {
            fingerprint,
            certificate: fingerprint[..3].to_vec(),
            role,
            authority: EntityId::authority(world::desk().region()),
            name,
            signer,
            not_after,
            phase,
            since,
            epoch,
            compromised,
        },
    )
}

pub(crate) fn moved() -> impl Strategy<Value = Move> {
    (hash(), phase(), phase(), any::<bool>()).prop_map(|(fingerprint, from, to, compromised)| {
        Move { fingerprint, from, to, compromised }
    })
}

pub(crate) fn proposal() -> impl Strategy<Value = Proposal> {
    (hash(), step(), by(), millis()).prop_map(|(fingerprint, step, by, at)| Proposal {
        fingerprint,
        step,
        by,
        at,
    })
}

pub(crate) fn node() -> impl Strategy<Value = Node> {
    (0_u64..3, any::<u64>(), millis()).prop_map(|(number, epoch, at)| Node { number, epoch, at })
}

pub(crate) fn note() -> impl Strategy<Value = Note> {
    let registration = option::of(Just(EntityId::registration_of(world::customer(0))));
    (registration, by(), deed()).prop_map(|(registration, by, deed)| Note {
        registration,
        by,
        deed,
    })
}

/// Ahead of the log, behind the last one, and now and then too large.
pub(crate) fn head() -> impl Strategy<Value = Head> {
    let bytes = || prop_oneof![9 => vec(any::<u8>(), 0..4), 1 => Just(vec![0; HEAD_BYTES_MAX - 2])];
    (0_u64..30, millis(), bytes(), bytes(), any::<u64>()).prop_map(
        |(size, at, signed, frontier, version)| Head { size, at, signed, frontier, version },
    )
}
