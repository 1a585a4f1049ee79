//! Who let an operator in, by what the authority recorded: what a machine's operator may not do alone, two
//! machines' may not do together.
//!
//! A node registers its machine's operator in the authority's own name, which no operator can: by that the two
//! are told apart. **Invariant:** whoever is not known to be a person is none. **Not here:** what takes two
//! persons (`domain::placement`), whether the certificate is in force (`web::operator`).

use fieldmesh_actors::seams::JournalError;
use fieldmesh_domain::{
    EntityId,
    registration::{Event, Issued, Proof},
};
use fieldmesh_pki::{Identity, Kind};

use crate::{
    issuer::registration_of,
    journal::{HistoryEntry, ShardJournal},
    own, register,
};

/// The persons of those two who agreed to the certificate of this serial number: who minted its token and who
/// approved it. None where nobody had to approve it, as of a machine's operator and of the first person.
///
/// # Errors
/// Records that cannot be read.
pub fn by_persons(
    authority: &ShardJournal,
    id: EntityId,
    serial: &[u8],
) -> Result<Option<Vec<String>>, JournalError> {
    let Some(serial) = register::serial(serial) else { return Ok(None) };
    let Some(two) = let_in_by(&events(&authority.history_from(id, 0)?)?, &serial) else {
        return Ok(None);
    };
    let mut persons = Vec::new();
    for name in two {
        if is_person(authority, &name)? {
            persons.push(name);
        }
    }
    Ok(Some(persons))
}

fn events(history: &[HistoryEntry]) -> Result<Vec<Event>, JournalError> {
    let events = history.iter().flat_map(|entry| &entry.record.events);
    let failed = |error| JournalError::Failed(format!("an event of a registration: {error}"));
    events.map(|bytes| minicbor::decode(bytes).map_err(failed)).collect()
}

/// Who minted the token that a certificate was issued for, and who approved it.
fn let_in_by(events: &[Event], serial: &[u8; 16]) -> Option<[String; 2]> {
    if is_machines(events) {
        return None;
    }
    let (issued, approved_by) = events.iter().find_map(|event| match event {
        Event::Enrolled { issued, approved_by, .. } if issued.serial == *serial => {
            Some((issued, approved_by.clone()?))
        }
        _ => None,
    })?;
    let Issued { proof: Proof::Token(hash), .. } = issued else { return None };
    let minted_by = events.iter().find_map(|event| match event {
        Event::Invited(token) if token.hash == *hash => Some(token.by.clone()),
        _ => None,
    })?;
    Some([minted_by, approved_by])
}

fn is_machines(events: &[Event]) -> bool {
    matches!(events.first(), Some(Event::Registered { by, .. }) if by == own::BY)
}

/// Whether a name is of an operator whom an operator registered with this authority.
fn is_person(authority: &ShardJournal, name: &str) -> Result<bool, JournalError> {
    let identity = name.parse::<Identity>().ok().filter(|named| named.kind == Kind::Operator);
    let Some(id) = identity.as_ref().and_then(registration_of) else { return Ok(false) };
    let first = events(&authority.history_page(id, 0, 1)?)?;
    Ok(!first.is_empty() && !is_machines(&first))
}

#[cfg(test)]
mod tests {
    use fieldmesh_domain::{
        registration::{Approval, Profile, Token},
        time::Millis,
    };

    use super::*;

    const SERIAL: [u8; 16] = [7; 16];

    fn registered(by: &str) -> Event {
        let (profile, label, by) = (Profile::Operator, "duty".to_owned(), by.to_owned());
        Event::Registered { profile, device: None, label, by }
    }

    fn minted(hash: u8, by: &str) -> Event {
        let (expires, by, approval) = (Millis(9), by.to_owned(), Approval::SecondPerson);
        Event::Invited(Token { hash: [hash; 32], expires, by, approval })
    }

    fn enrolled(hash: u8, serial: [u8; 16], approved_by: Option<&str>) -> Event {
        let issued = Issued {
            proof: Proof::Token([hash; 32]),
            public_key_hash: [0; 32],
            issuer: [0; 32],
            serial,
            not_before: 0,
            not_after: 1,
            certificate: Vec::new(),
            revoked: None,
            fingerprint: [0; 32],
            signed_part: [0; 32],
        };
        Event::Enrolled { issued, forgotten: 0, approved_by: approved_by.map(str::to_owned) }
    }

    #[test]
    fn an_operator_was_let_in_by_whoever_minted_and_approved_that_certificate() {
        // The certificates before and behind it were others' doing.
        let whole = [
            registered("ann"),
            minted(1, "ann"),
            enrolled(1, [6; 16], None),
            minted(2, "bob"),
            enrolled(2, SERIAL, Some("cid")),
            minted(3, "dan"),
            enrolled(3, [8; 16], Some("eve")),
        ];
        let two = ["bob".to_owned(), "cid".to_owned()];
        assert_eq!(let_in_by(&whole, &SERIAL), Some(two));
        assert_eq!(let_in_by(&whole, &[6; 16]), None, "nobody approved it");
        assert_eq!(let_in_by(&whole, &[9; 16]), None, "no such certificate");
    }

    #[test]
    fn a_machines_operator_was_let_in_by_nobody_whatever_operators_did_later() {
        let whole = [
            registered(own::BY),
            minted(1, own::BY),
            enrolled(1, [6; 16], None),
            minted(2, "bob"),
            enrolled(2, SERIAL, Some("cid")),
        ];
        assert_eq!(let_in_by(&whole, &SERIAL), None);
        assert!(is_machines(&whole) && !is_machines(&[registered("ann")]) && !is_machines(&[]));
    }
}
