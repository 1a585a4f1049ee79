//! What is compared with how things are in the end: I1, I5, I6, I7.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{Fate, Found, Operations, operations::Operated, recovery, renewed, revoked};
use crate::{
    fault::Fault,
    history::{History, Operation, Phase, What},
};

/// I1. A request that was acknowledged is a ticket in the end, and its customer was told who comes, unless
/// the customer's device was revoked meanwhile, and not renewed: mail waits. One that was refused is none.
pub(super) fn acknowledged(history: &History, operations: &Operations<'_>) -> Found {
    let mut found = Found::default();
    let (revoked, renewed) = (revoked(history), renewed(history));
    let is_out = |by: &str| revoked.contains_key(by) && !renewed.contains_key(by);
    let mut tickets = BTreeMap::new();
    let mut confirmed = BTreeSet::new();
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.what {
            What::Ticket { ticket, state, .. } => {
                tickets.insert(ticket.as_str(), (at, state.as_str()));
            }
            What::Confirmed { by, ticket, number: 2, .. } => {
                confirmed.insert((ticket.as_str(), by.as_str()));
            }
            _ => {}
        }
    }
    if tickets.is_empty() {
        found.unknown("the tickets were not read in the end");
        return found;
    }
    let is_parked = recovery::failures(history) >= recovery::PARKED_BY;
    for operated in operations.0.values() {
        let Operation::Request { ticket, .. } = operated.operation else { continue };
        // What somebody else was told this customer did not hear.
        let is_told = confirmed.contains(&(ticket.as_str(), operated.by)) || is_out(operated.by);
        let (text, entries) = match (&operated.fate, tickets.get(ticket.as_str())) {
            (Fate::Unknown, _) => continue,
            (Fate::Ok(_), None) => ("was acknowledged, and there is no such ticket".into(), None),
            (Fate::Ok(_), Some((_, state))) if !is_told && is_parked => {
                found.unknown(format!(
                    "the customer of {ticket} heard of nobody; it is {state}, and whoever fails {} times is \
                     parked for ten minutes",
                    recovery::PARKED_BY
                ));
                continue;
            }
            (Fate::Ok(_), Some((at, state))) if !is_told => {
                let text =
                    format!("was acknowledged, and its customer heard of nobody; it is {state}");
                (text, Some(*at))
            }
            (Fate::Refused, Some((at, _))) => {
                ("was refused, and there is a ticket".to_owned(), Some(*at))
            }
            _ => {
                found.see();
                continue;
            }
        };
        found.see();
        let entries = operated.entries().into_iter().chain(entries).collect();
        found.broken(entries, format!("the request of {ticket} {text}"));
    }
    found
}

/// A device that was turned away tries again so much later at most, seldom as that is.
const PAUSE_US: u64 = 10_000_000;

/// I5. From the bound on nothing of a revoked device is answered and nothing is told to it; one that goes on asking is
/// turned away by then, also by a node that does not hear of it; one that was renewed is served again.
pub(super) fn revoked_are_refused(history: &History, operations: &Operations<'_>) -> Found {
    let mut found = Found::default();
    let within_us =
        history.scenario().map_or(0, |scenario| scenario.revoked_within_ms.saturating_mul(1000));
    let (revoked, renewed) = (revoked(history), renewed(history));
    let until = |by: &str| {
        revoked.get(by).map(|(at, since_us)| (*at, *since_us, since_us.saturating_add(within_us)))
    };
    let is_out = |by: &str, at_us: u64| renewed.get(by).is_none_or(|(_, again)| at_us < *again);
    for operated in operations.0.values() {
        let Some((at, since_us, until_us)) = until(operated.by) else { continue };
        let is_late = operated.done_us > until_us && is_out(operated.by, operated.done_us);
        // A receipt that says no is an answer, too: whoever is turned away hears none.
        if operated.fate != Fate::Unknown && is_late {
            let ms = (operated.done_us - since_us) / 1000;
            let text = format!("{} was answered {ms} ms after it was revoked", operated.by);
            found.broken([vec![at], operated.entries()].concat(), text);
        }
    }
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Confirmed { by, ticket, .. } = &entry.what else { continue };
        if let Some((since, since_us, until_us)) = until(by)
            && entry.at_us > until_us
            && is_out(by, entry.at_us)
        {
            let ms = (entry.at_us - since_us) / 1000;
            let text = format!("{by} was told of {ticket} {ms} ms after it was revoked");
            found.broken(vec![since, at], text);
        }
    }
    let turned = turned_away(history, operations, &revoked);
    let end_us = history.entries.last().map_or(0, |entry| entry.at_us);
    for (device, (since, since_us)) in &revoked {
        let until_us = since_us.saturating_add(within_us);
        let asked = |one: &&Operated<'_>| {
            one.by == *device && (*since_us..=until_us).contains(&one.invoked_us)
        };
        match (turned.get(device), operations.0.values().find(asked)) {
            (Some((_, turned_us)), _) if *turned_us <= until_us => found.see(),
            (_, Some(_)) if lost_its_node(history, *since_us..until_us) => {
                found.unknown(format!("{device} may have had no node to be turned away by"));
            }
            // Whoever serves it on is a node, even where it only lets it ask.
            (turned, Some(asked)) if end_us > until_us && is_out(device, until_us) => {
                let ms = within_us / 1000;
                let text = format!("{device} asked on, and was not turned away within {ms} ms");
                let turned = turned.map(|(at, _)| *at);
                found.broken([*since, asked.entry].into_iter().chain(turned).collect(), text);
            }
            (Some(_), _) => found.see(),
            (None, _) => found.unknown(format!("{device} was not seen to be turned away")),
        }
    }
    served_again(renewed, operations, &mut found);
    found
}

/// When each was turned away first because of it: from then on, or before it was noted, where it was not to try again
/// before and nobody served it since. What a node refused long before that, whose clock was ahead, it refused by mistake.
fn turned_away<'a>(
    history: &'a History,
    operations: &Operations<'_>,
    revoked: &BTreeMap<&str, (usize, u64)>,
) -> BTreeMap<&'a str, (usize, u64)> {
    let mut turned = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        let What::TurnedAway { device } = &entry.what else { continue };
        let (device, at_us) = (device.as_str(), entry.at_us);
        let Some((_, since_us)) = revoked.get(device).filter(|_| !turned.contains_key(device))
        else {
            continue;
        };
        let was_served = || {
            let mut own = operations.0.values().filter(|one| one.by == device);
            own.any(|one| one.fate != Fate::Unknown && (at_us..*since_us).contains(&one.done_us))
        };
        if at_us.saturating_add(PAUSE_US) >= *since_us && !was_served() {
            turned.insert(device, (at, at_us));
        }
    }
    turned
}

/// Who was renewed is to be served again.
fn served_again(
    renewed: BTreeMap<&str, (usize, u64)>,
    operations: &Operations<'_>,
    found: &mut Found,
) {
    for (device, (at, again_us)) in renewed {
        let asked = operations.0.values().filter(|one| one.by == device);
        let mut asked = asked.filter(|one| one.invoked_us >= again_us).peekable();
        if asked.peek().is_none() {
            found.unknown(format!("{device} was renewed, and did not ask again"));
        } else if asked.any(|one| matches!(one.fate, Fate::Ok(_))) {
            found.see();
        } else {
            found.broken(vec![at], format!("{device} was renewed, and was not served again"));
        }
    }
}

/// A device finds that its node is gone when it asks, or hears nothing for seconds; then it looks for another one.
const LOOKS_US: u64 = 10_000_000;

/// Whether devices may have lost their nodes: they look for others for longer than a revocation may take, also for one
/// that went shortly before. Who is cut off has not lost its devices, unless it is from them, and for as long as that
/// lasts.
fn lost_its_node(history: &History, meanwhile: Range<u64>) -> bool {
    let mut unheard = BTreeSet::new();
    let gone = meanwhile.start.saturating_sub(LOOKS_US)..meanwhile.end;
    for entry in &history.entries {
        let What::Fault { strike, fault, node, phase, .. } = &entry.what else { continue };
        if entry.at_us >= meanwhile.start && !unheard.is_empty() {
            return true;
        }
        let (lasts, may_be) = match fault {
            Fault::Devices(_) => (entry.at_us < meanwhile.start, &meanwhile),
            _ => (false, &gone),
        };
        match phase {
            Phase::Installed if !fault.ends_connections() => {}
            Phase::Installed if may_be.contains(&entry.at_us) => return true,
            Phase::Installed if lasts => {
                unheard.insert((*strike, *node));
            }
            Phase::Ended => {
                unheard.remove(&(*strike, *node));
            }
            _ => {}
        }
    }
    !unheard.is_empty()
}

/// I6. What the run exported of the ledger was verified, and has what the run asked for.
pub(super) fn ledger(history: &History) -> Found {
    let mut found = Found::default();
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Ledger { holds, entries, wanted, why } = &entry.what else { continue };
        found.see();
        if !holds {
            found.broken(vec![at], format!("the ledger does not verify: {why}"));
        } else if entries < wanted {
            let text = format!("the ledger has {entries} entries, and at least {wanted} were made");
            found.broken(vec![at], text);
        }
    }
    found
}

/// A replica in the end: where the history has it, its node, what it has applied, and its digest.
type Replica<'a> = (usize, u64, u64, &'a str);

/// I7. Replicas of a group that have applied the same have the same digest.
pub(super) fn replicas(history: &History) -> Found {
    let mut found = Found::default();
    let mut groups: BTreeMap<u32, Vec<Replica<'_>>> = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        if let What::Replica { group, node, applied, digest } = &entry.what {
            groups.entry(*group).or_default().push((at, *node, *applied, digest));
        }
    }
    for (group, replicas) in &groups {
        let mut by_index: BTreeMap<u64, Replica<'_>> = BTreeMap::new();
        for &replica in replicas {
            let (at, node, applied, digest) = replica;
            let &mut (first_at, first, _, other) = by_index.entry(applied).or_insert(replica);
            if other != digest {
                let text =
                    format!("group {group} differs on nodes {first} and {node} at index {applied}");
                found.broken(vec![first_at, at], text);
            }
        }
        if by_index.len() > 1 {
            found.unknown(format!("replicas of group {group} had not applied the same in the end"));
        } else if replicas.len() > 1 {
            found.see();
        } else {
            found.unknown(format!("group {group} had one replica"));
        }
    }
    found
}
