//! Where operations stand in the logs of their groups: its part of I1, I3 and I9.
//!
//! A log has one order, and whoever waits for an answer before asking again has another, which it must agree with: an
//! operation that was begun after another was answered stands behind it. A read stands where the replica was that
//! answered. Of two that were under way together either may be first, and logs of two groups have no order in common.
//! **Invariant:** what has no position is judged as if nobody knew of any. **Not here:** whether a ticket's history has
//! what stands in the log (`linear`).

use std::collections::BTreeMap;

use super::{Fate, Found, Operations, operations::Operated};
use crate::history::{History, Operation, Position, What};

/// I1. What was acknowledged stands in a log that goes as far in the end.
pub(super) fn were_applied(history: &History, operations: &Operations<'_>, found: &mut Found) {
    // By group: where the history has the replica that goes furthest, and how far.
    let mut ends: BTreeMap<u32, (usize, u64)> = BTreeMap::new();
    for (entry, happened) in history.entries.iter().enumerate() {
        let What::Replica { group, applied, .. } = happened.what else { continue };
        let end = ends.entry(group).or_insert((entry, applied));
        if applied > end.1 {
            *end = (entry, applied);
        }
    }
    for one in operations.0.values().filter(|one| matches!(one.fate, Fate::Ok(_))) {
        let Some(at) = one.at else { continue };
        let Some((entry, end)) = ends.get(&at.group).filter(|(_, end)| *end < at.index) else {
            continue;
        };
        let group = at.group;
        let text = format!("{} was answered by {at}, and group {group} ends with {end}", one.by);
        found.broken([one.entries(), vec![*entry]].concat(), text);
    }
}

/// I3, of a ticket's operations, and I9, of a device's: what was begun after another was answered stands behind it.
pub(super) fn are_in_order<'a>(
    whose: &str,
    operated: impl Iterator<Item = &'a Operated<'a>>,
    found: &mut Found,
) {
    let mut groups: BTreeMap<u32, Vec<(&Operated<'_>, Position)>> = BTreeMap::new();
    for one in operated.filter(|one| one.fate != Fate::Refused) {
        if let Some(at) = one.at {
            groups.entry(at.group).or_default().push((one, at));
        }
    }
    for mut by_begin in groups.into_values() {
        by_begin.sort_by_key(|(one, _)| one.invoked_us);
        let mut by_end = by_begin.clone();
        by_end.sort_by_key(|(one, _)| one.done_us);
        let (mut ended, mut last) = (by_end.into_iter().peekable(), None::<(&Operated<'_>, _)>);
        for (one, at) in by_begin {
            while let Some((before, its)) =
                ended.next_if(|(before, _)| before.done_us < one.invoked_us)
            {
                if last.is_none_or(|(_, last)| is_behind(its, last)) {
                    last = Some((before, its));
                }
            }
            let Some((before, its)) = last else { continue };
            let is_read = matches!(one.operation, Operation::Read { .. });
            if is_behind(its, at) || (its.index == at.index && !is_read) {
                let text = format!("{whose}: {at} was begun after {its} was answered");
                found.broken([before.entries(), one.entries()].concat(), text);
            }
        }
    }
}

/// Of two positions in one log.
fn is_behind(one: Position, other: Position) -> bool {
    one.index > other.index || one.term > other.term
}

/// I9. The log has what a device said one after the other in this order; and what it is told of a ticket in that of its
/// mailbox.
pub(super) fn of_devices_are_in_order(
    history: &History,
    operations: &Operations<'_>,
    found: &mut Found,
) {
    let mut devices: BTreeMap<&str, Vec<&Operated<'_>>> = BTreeMap::new();
    for one in operations.0.values() {
        if let Operation::Request { .. } | Operation::Answer { .. } = one.operation {
            devices.entry(one.by).or_default().push(one);
        }
    }
    for (device, operated) in devices {
        are_in_order(device, operated.into_iter(), found);
    }
    is_told_in_order(history, found);
}

fn is_told_in_order(history: &History, found: &mut Found) {
    let mut logged: BTreeMap<(&str, u64), (usize, Position)> = BTreeMap::new();
    let mut told: BTreeMap<(&str, &str), BTreeMap<u64, usize>> = BTreeMap::new();
    for (entry, happened) in history.entries.iter().enumerate() {
        match &happened.what {
            What::MailLogged { to, number, at } => {
                logged.insert((to.as_str(), *number), (entry, *at));
            }
            What::Confirmed { by, ticket, position: Some(number), .. }
            | What::Alerted { by, ticket, position: Some(number), .. } => {
                let told = told.entry((by.as_str(), ticket.as_str())).or_default();
                told.entry(*number).or_insert(entry);
            }
            _ => {}
        }
    }
    for ((device, ticket), told) in told {
        // By group: its last one in the order of the mailbox.
        let mut last: BTreeMap<u32, (usize, usize, Position)> = BTreeMap::new();
        for (number, entry) in told {
            let Some((place, at)) = logged.get(&(device, number)).copied() else { continue };
            if let Some((before, its_place, its)) = last.insert(at.group, (entry, place, at))
                && is_behind(its, at)
            {
                let text = format!("{ticket}: {device} is told {at} after {its}");
                found.broken(vec![before, its_place, entry, place], text);
            }
        }
    }
}

/// How many operations were answered of which nobody knows where they stand, for the report; none where that is known
/// of all.
pub(crate) fn unplaced(operations: &Operations<'_>) -> Option<String> {
    let answered = operations.0.values().filter(|one| match &one.fate {
        // Of what was not there yet there is no log to be in.
        Fate::Ok(read) => read.as_ref().is_none_or(|read| read.events > 0),
        Fate::Refused | Fate::Unknown => false,
    });
    let (mut all, mut unplaced) = (0_u64, 0_u64);
    for one in answered {
        all += 1;
        unplaced += u64::from(one.at.is_none());
    }
    (unplaced > 0)
        .then(|| format!("the position of {unplaced} of {all} operations that were answered"))
}
