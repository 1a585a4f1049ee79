//! What a registration's past proves, and what its events must lead to, told once more without its
//! state.

use fieldmesh_domain::{
    Command, Effect, EntityId, EntityKind, IndexRow,
    authority::Deed,
    customer, placement,
    registration::{Approval, Decision, Event, Issued, Proof, Registration, Standing},
    technician,
    time::Millis,
};

use crate::registering::{Happened, id};

/// The token was the last one given, waits to be spent, and needs nobody's approval.
pub(crate) fn is_enough(past: &[Happened], hash: [u8; 32], now: Millis) -> bool {
    let last = past.iter().rev().find_map(|happened| match &happened.event {
        Event::Invited(token) => {
            let is_alone = token.approval == Approval::None;
            Some(token.hash == hash && token.expires > now && is_alone)
        }
        Event::Requested { .. } | Event::Banned { .. } => Some(false),
        Event::Enrolled { issued, .. } if issued.proof == Proof::Token(hash) => Some(false),
        _ => None,
    });
    last == Some(true)
}

/// This operator approved the last request, which was with this token and key, and may do so.
pub(crate) fn is_approved(past: &[Happened], hash: [u8; 32], issued: &Issued, by: &str) -> bool {
    let is_asked = |event: &Event| matches!(event, Event::Requested { .. });
    let Some(at) = past.iter().rposition(|happened| is_asked(&happened.event)) else {
        return false;
    };
    let Event::Requested { request, .. } = &past[at].event else { return false };
    let since = past[at + 1..].iter().map(|happened| &happened.event);
    let decisions = since.filter(|event| match event {
        Event::Approved { .. } | Event::Denied { .. } | Event::Lapsed | Event::Banned { .. } => {
            true
        }
        Event::Enrolled { issued, .. } => issued.proof == Proof::Token(hash),
        _ => false,
    });
    let approved = Event::Approved { by: by.to_owned() };
    let token = past[..at].iter().rev().find_map(|happened| match &happened.event {
        Event::Invited(token) => Some(token),
        _ => None,
    });
    let is_minted = token.is_some_and(|token| {
        let may_approve = token.approval != Approval::SecondPerson || token.by != by;
        token.hash == hash && may_approve && request.asked_at < token.expires
    });
    is_minted
        && (request.token_hash, request.public_key_hash) == (hash, issued.public_key_hash)
        && decisions.eq([&approved])
}

/// The identity got the certificate, and nobody revoked it.
pub(crate) fn is_believed(past: &[Happened], serial: [u8; 16]) -> bool {
    let is_issued = past.iter().any(|happened| match &happened.event {
        Event::Enrolled { issued, .. } => issued.serial == serial,
        _ => false,
    });
    let is_revoked = past.iter().any(|happened| match &happened.event {
        Event::Revoked { serials, .. } => serials.iter().any(|revoked| **revoked == serial),
        _ => false,
    });
    is_issued && !is_revoked
}

pub(crate) fn waits(registration: &Registration) -> bool {
    registration.request.as_ref().is_some_and(|request| match request.decision {
        Decision::Pending | Decision::Approved(_) => true,
        Decision::Denied { .. } => false,
    })
}

pub(crate) fn stands(registration: &Registration) -> Standing {
    let Registration { profile, banned, request, issued, .. } = registration;
    let is_pending = request.as_ref().is_some_and(|request| request.decision == Decision::Pending);
    let in_force = issued.iter().filter(|issued| issued.revoked.is_none()).count();
    match (profile, banned, is_pending, issued.len(), in_force) {
        (None, ..) => Standing::Unknown,
        (_, true, ..) => Standing::Banned,
        (_, _, true, ..) => Standing::Pending,
        (_, _, _, 0, _) => Standing::Registered,
        (_, _, _, _, 0) => Standing::Revoked,
        _ => Standing::Active,
    }
}

/// What the ledger must say, and who did it.
pub(crate) fn deeds(happened: &Happened) -> Vec<(&str, Deed)> {
    let profile = || happened.after.profile.unwrap();
    let deed = match &happened.event {
        Event::Registered { profile, by, .. } => (by.as_str(), Deed::Registered(*profile)),
        Event::Invited(token) => {
            let (expires, approval) = (token.expires, token.approval);
            (
                token.by.as_str(),
                Deed::TokenMinted { expires, approval, token: token.hash, profile: profile() },
            )
        }
        Event::Requested { request, .. } => {
            let (key, token) = (request.public_key_hash, request.token_hash);
            ("", Deed::Requested { key, token, profile: profile() })
        }
        Event::Approved { by } => (by.as_str(), Deed::Approved),
        Event::Denied { by, why } => (by.as_str(), Deed::Denied { why: why.clone() }),
        Event::Lapsed => ("", Deed::Lapsed),
        Event::Enrolled { issued, approved_by, .. } => {
            let renews = match issued.proof {
                Proof::Token(_) => None,
                Proof::Certificate(serial) => Some(serial.into()),
            };
            let deed = Deed::Issued {
                profile: happened.before.profile.unwrap(),
                issuer: issued.issuer,
                serial: issued.serial,
                not_after: issued.not_after,
                key: issued.public_key_hash,
                signed_part: issued.signed_part,
                approved_by: approved_by.clone(),
                renews,
            };
            ("", deed)
        }
        Event::Revoked { serials, revocation, by } => {
            let deed = |serial: [u8; 16]| Deed::Revoked {
                issuer: happened.before.by_serial(&serial).unwrap().issuer,
                serial,
                reason: revocation.reason,
            };
            return serials.iter().map(|serial| (by.as_str(), deed(**serial))).collect();
        }
        Event::Banned { why, by } => (by.as_str(), Deed::Banned { why: why.clone() }),
        Event::Readmitted { by } => (by.as_str(), Deed::Readmitted),
    };
    vec![deed]
}

pub(crate) fn told_to_placement(effects: &[Effect]) -> Vec<placement::Command> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Tell { to, command: Command::Placement(command) } => {
            assert_eq!(*to, EntityId::placement());
            Some(command.clone())
        }
        _ => None,
    });
    told.collect()
}

pub(crate) fn certificate_rows(effects: &[Effect]) -> Vec<IndexRow> {
    let rows = effects.iter().filter_map(|effect| match effect {
        Effect::Index(row @ IndexRow::Certificate { .. }) => Some(row.clone()),
        _ => None,
    });
    rows.collect()
}

pub(crate) fn certificate_row(issued: &Issued) -> IndexRow {
    IndexRow::Certificate {
        issuer: issued.issuer,
        serial: issued.serial,
        registration: id(),
        not_after: issued.not_after,
        revoked: issued.revoked,
    }
}

/// Who is told that its device is lost.
pub(crate) fn losers(effects: &[Effect]) -> Vec<EntityId> {
    let lost = effects.iter().filter_map(|effect| match effect {
        Effect::Tell { to, command: Command::Customer(customer::Command::LoseDevice) } => {
            assert_eq!(to.kind(), EntityKind::Customer);
            Some(*to)
        }
        Effect::Tell { to, command: Command::Technician(technician::Command::LoseDevice) } => {
            assert_eq!(to.kind(), EntityKind::Technician);
            Some(*to)
        }
        _ => None,
    });
    lost.collect()
}
