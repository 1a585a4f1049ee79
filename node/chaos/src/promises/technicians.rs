//! What technicians' devices were told: their part of I2 and I9.
//!
//! A device has a ticket from the moment that its acceptance was answered with yes until it says that the work is done.
//! An acceptance that crosses the end of its offer is answered with yes, too, and taken back: what a device was told is
//! not its any more, it never had; nor what its ticket refused as too late, although the word of it may not have come
//! before the end. **Invariant:** only what was answered counts, whatever else the ticket's own history says. **Not
//! here:** that history (`tickets`), whether it has what they were told (`noted`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Fate, Found, Operations, operations::Operated};
use crate::history::{Answer, History, Offer, Operation, What};

/// A ticket that a technician's device was told to have.
struct Had<'a> {
    by: &'a str,
    offer: Offer,
    accept: &'a Operated<'a>,
    /// When it said that the work is done; for what it never said so of the end of all time.
    done_us: u64,
}

impl Had<'_> {
    /// Of two that had the same ticket, where this one's offer is not the newer one.
    fn is_beside(&self, newer: &Self) -> bool {
        self.by != newer.by
            && (self.offer.epoch == newer.offer.epoch || self.done_us > newer.accept.done_us)
    }
}

/// I2. No two devices were told that they have a ticket at the same time, or by offers of one epoch.
pub(super) fn one_was_told(history: &History, operations: &Operations<'_>, found: &mut Found) {
    were_said(history, operations, found);
    let tickets = had(history, operations);
    if tickets.is_empty() {
        found.not_shown("what technicians' devices were told is not in this history");
    }
    for (ticket, mut had) in tickets {
        had.sort_by_key(|one| (one.offer, one.accept.entry));
        for (at, newer) in had.iter().enumerate() {
            found.see();
            let Some(older) = had.iter().take(at).find(|older| older.is_beside(newer)) else {
                continue;
            };
            let text = format!(
                "{ticket}: {} was told that it has it by offer {}, and {} by offer {}",
                older.by, older.offer.epoch, newer.by, newer.offer.epoch
            );
            found.broken([older.accept.entries(), newer.accept.entries()].concat(), text);
        }
    }
}

/// What a ticket has as accepted its technician's device has said, of this very offer, where the device is one of the run: it
/// notes what it says before it is sent.
fn were_said(history: &History, operations: &Operations<'_>, found: &mut Found) {
    let (mut devices, mut said) = (BTreeSet::new(), BTreeSet::new());
    for one in operations.0.values() {
        if let Operation::Answer { ticket, offer, answer: Answer::Accept } = one.operation {
            devices.insert(one.by);
            said.insert((one.by, ticket.as_str(), offer.epoch));
        }
    }
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Ticket { ticket, events, .. } = &entry.what else { continue };
        for accepted in events.iter().filter(|one| one.event == "accepted") {
            let (Some(by), Some(epoch)) = (accepted.technician.as_deref(), accepted.epoch) else {
                continue;
            };
            if devices.contains(by) && !said.contains(&(by, ticket.as_str(), epoch)) {
                let text =
                    format!("{ticket}: {by} has offer {epoch}, and its device never took it");
                found.broken(vec![at], text);
            }
        }
    }
}

/// Whoever was told to have a ticket, by ticket.
fn had<'a>(
    history: &'a History,
    operations: &'a Operations<'a>,
) -> BTreeMap<&'a str, Vec<Had<'a>>> {
    let (withdrawn, late) = (withdrawn(history), late(history));
    // By device, ticket and offer: when it said that the work is done, and whether it was told that it is not its.
    let mut said: BTreeMap<(&str, &str, Offer), (u64, bool)> = BTreeMap::new();
    for one in operations.0.values() {
        if let Operation::Answer { ticket, offer, answer: Answer::Complete } = one.operation {
            let said = said.entry((one.by, ticket, *offer)).or_insert((u64::MAX, false));
            said.0 = said.0.min(one.invoked_us);
            said.1 |= one.fate == Fate::Refused;
        }
    }
    let mut tickets: BTreeMap<&str, Vec<Had<'_>>> = BTreeMap::new();
    for accept in operations.0.values() {
        let Operation::Answer { ticket, offer, answer: Answer::Accept } = accept.operation else {
            continue;
        };
        let (by, ticket, offer) = (accept.by, ticket.as_str(), *offer);
        let told = withdrawn.get(&(by, ticket));
        let (done_us, is_refused) =
            said.get(&(by, ticket, offer)).copied().unwrap_or((u64::MAX, false));
        // The word of it may come before the answer.
        let is_taken_back = told.is_some_and(|told_us| *told_us >= accept.invoked_us)
            || late.contains(&(by, ticket));
        if matches!(accept.fate, Fate::Ok(_)) && !is_refused && !is_taken_back {
            tickets.entry(ticket).or_default().push(Had { by, offer, accept, done_us });
        }
    }
    tickets
}

/// By device and ticket: when it was last told that the ticket is not its any more.
pub(super) fn withdrawn(history: &History) -> BTreeMap<(&str, &str), u64> {
    let mut withdrawn = BTreeMap::new();
    for entry in &history.entries {
        if let What::Withdrawn { by, ticket } = &entry.what {
            withdrawn.insert((by.as_str(), ticket.as_str()), entry.at_us);
        }
    }
    withdrawn
}

/// By device and ticket: what came too late, as the ticket has it in the end.
pub(super) fn late(history: &History) -> BTreeSet<(&str, &str)> {
    let mut late = BTreeSet::new();
    for entry in &history.entries {
        let What::Ticket { ticket, events, .. } = &entry.what else { continue };
        let refused = events.iter().filter(|one| one.event == "late_accept_refused");
        late.extend(refused.filter_map(|one| Some((one.technician.as_deref()?, ticket.as_str()))));
    }
    late
}

/// I9. Offers of a ticket to a device do not go back. One that did not come for seconds its device tells behind those
/// that waited for it: by its place it was said before them, and nobody is to have told it sooner.
pub(super) fn order(history: &History, found: &mut Found) {
    let mut last: BTreeMap<(&str, &str), (Offer, Option<u64>, usize)> = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Alerted { by, ticket, offer, position } = &entry.what else { continue };
        found.see();
        let of = (by.as_str(), ticket.as_str());
        let was_late = |before: Option<u64>| before.zip(*position).is_some_and(|(b, p)| p < b);
        if last.get(&of).is_some_and(|(before, place, _)| before > offer && was_late(*place)) {
            continue;
        }
        if let Some((before, _, before_at)) = last.insert(of, (*offer, *position, at))
            && before > *offer
        {
            let text = format!(
                "{ticket}: {by} was told of offer {} after offer {}",
                offer.epoch, before.epoch
            );
            found.broken(vec![before_at, at], text);
        }
    }
    if last.is_empty() {
        found.not_shown("what technicians' devices were told is not in this history");
    }
}
