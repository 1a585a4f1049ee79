//! What technicians' devices were told to be noted: its part of I1.
//!
//! Whoever is answered with yes is answered by the technician's entity, which tells the ticket, which tells the customer.
//! Both take as long as what is broken lasts, and as it may take behind that. **Invariants:** only what was answered is
//! asked for; what may be under way is not known. **Not here:** who may have a ticket (`technicians`, `tickets`), that the
//! customer was told who comes (`finals`).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Fate, Found, Operations, operations::Operated, recovery, renewed, revoked, technicians, tickets,
};
use crate::history::{Answer, Happened, History, Offer, Operation, What};

/// How a ticket is whose work is done.
const DONE: [&str; 3] = ["completed", "confirmed", "closed"];

/// What technicians said so and were answered with yes.
fn answered<'a>(
    operations: &'a Operations<'a>,
    said: Answer,
) -> impl Iterator<Item = (&'a Operated<'a>, &'a str, Offer)> {
    operations.0.values().filter_map(move |one| match (one.operation, &one.fate) {
        (Operation::Answer { ticket, offer, answer }, Fate::Ok(_)) if *answer == said => {
            Some((one, ticket.as_str(), *offer))
        }
        _ => None,
    })
}

/// How long what was noted may be under way.
struct Way {
    bound_us: u64,
    mended: Result<Option<(usize, u64)>, &'static str>,
    is_parked: bool,
}

impl Way {
    fn of(history: &History) -> Self {
        let within_ms = history.scenario().map_or(0, |scenario| scenario.recover_within_ms);
        let bound_us = within_ms.saturating_mul(1000);
        let is_parked = recovery::failures(history) >= recovery::PARKED_BY;
        Self { bound_us, mended: recovery::mended(history), is_parked }
    }

    /// Why what was noted then need not have arrived when its ticket was read; none where it must have.
    fn is_open(&self, noted_us: u64, read_us: u64) -> Option<&'static str> {
        let mended_us = match self.mended {
            Ok(mended) => mended.map_or(0, |(_, at_us)| at_us),
            Err(why) => return Some(why),
        };
        if self.is_parked {
            return Some("may be parked for ten minutes");
        }
        let is_early = mended_us.max(noted_us).saturating_add(self.bound_us) > read_us;
        is_early.then_some("was read when that may have been under way")
    }
}

impl Found {
    /// What did not arrive: it is lost, unless it may be under way.
    fn missing(&mut self, open: Option<&str>, entries: Vec<usize>, text: String) {
        match open {
            Some(why) => self.unknown(format!("{text}, and {why}")),
            None => self.broken(entries, text),
        }
    }
}

/// A ticket in the end: where and when the history has it.
struct Ended<'a> {
    at: usize,
    at_us: u64,
    state: &'a str,
    events: &'a [Happened],
}

fn in_the_end(history: &History) -> BTreeMap<&str, Ended<'_>> {
    let mut tickets = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        if let What::Ticket { ticket, state, events } = &entry.what {
            tickets.insert(ticket.as_str(), Ended { at, at_us: entry.at_us, state, events });
        }
    }
    tickets
}

/// I1. A ticket has each acceptance that was answered with yes, as one or as one that came too late, whatever became of it
/// then: its technician's entity tells it of each, and it notes each.
pub(super) fn acceptances_are_there(
    history: &History,
    operations: &Operations<'_>,
    found: &mut Found,
) {
    let (way, in_the_end) = (Way::of(history), in_the_end(history));
    // By device and ticket, by the epochs of the offers: what is said twice of one offer is noted once.
    let mut accepted: BTreeMap<(&str, &str), BTreeMap<u32, &Operated<'_>>> = BTreeMap::new();
    for (one, ticket, offer) in answered(operations, Answer::Accept) {
        accepted.entry((one.by, ticket)).or_default().entry(offer.epoch).or_insert(one);
    }
    for ((by, ticket), mut accepted) in accepted {
        // Each ticket has at least that it was opened: of one without events nobody told them.
        let Some(ended) = in_the_end.get(ticket).filter(|ended| !ended.events.is_empty()) else {
            continue;
        };
        accepted.values().for_each(|_| found.see());
        let mut late = 0;
        for Happened { event, technician, epoch, .. } in ended.events {
            let is_its = technician.as_deref() == Some(by);
            if is_its && tickets::TAKES.contains(&event.as_str()) {
                // An earlier release does not tell the epoch: it may be any of them.
                accepted.retain(|of, _| epoch.is_some_and(|epoch| epoch != *of));
            }
            late += usize::from(event == "late_accept_refused" && (is_its || technician.is_none()));
        }
        // Of which offer one came too late is not told, but so many did.
        for (epoch, one) in accepted.into_iter().skip(late) {
            let text = format!(
                "{ticket}: {by} was told that its acceptance of offer {epoch} is noted, and it is not there"
            );
            let entries = [one.entries(), vec![ended.at]].concat();
            found.missing(way.is_open(one.done_us, ended.at_us), entries, text);
        }
    }
}

/// I1. A ticket whose technician's device was told that its work is noted is done in the end, unless the ticket went from
/// it.
pub(super) fn completions_are_there(
    history: &History,
    operations: &Operations<'_>,
    found: &mut Found,
) {
    let (withdrawn, late) = (technicians::withdrawn(history), technicians::late(history));
    let (way, in_the_end) = (Way::of(history), in_the_end(history));
    for (one, ticket, offer) in answered(operations, Answer::Complete) {
        let Some(Ended { at, at_us, state, events }) = in_the_end.get(ticket) else { continue };
        found.see();
        let went = withdrawn.contains_key(&(one.by, ticket)) || late.contains(&(one.by, ticket));
        if DONE.contains(state) || went || went_from(one.by, offer, events) {
            continue;
        }
        let text = format!("{ticket}: {} was told that its work is noted; it is {state}", one.by);
        let entries = [one.entries(), vec![*at]].concat();
        found.missing(way.is_open(one.done_us, *at_us), entries, text);
    }
}

/// I1. The customer of a ticket that is done was told so, where its technician's device was told that its work is noted,
/// unless the ticket went from that one, or the customer's device was revoked and not renewed: mail waits.
pub(super) fn ends_are_told(history: &History, operations: &Operations<'_>, found: &mut Found) {
    let (withdrawn, late) = (technicians::withdrawn(history), technicians::late(history));
    let (revoked, renewed) = (revoked(history), renewed(history));
    let (way, in_the_end) = (Way::of(history), in_the_end(history));
    let customers = customers(operations);
    let heard = heard_the_end(history);
    let mut seen = BTreeSet::new();
    for (one, ticket, offer) in answered(operations, Answer::Complete) {
        // Whose ticket it is nobody knows where its request was not noted.
        let (Some(ended), Some(customer)) = (in_the_end.get(ticket), customers.get(ticket)) else {
            continue;
        };
        let again_us = renewed.get(customer).map(|(_, again_us)| *again_us);
        let is_out = revoked.contains_key(customer) && again_us.is_none();
        let went = withdrawn.contains_key(&(one.by, ticket)) || late.contains(&(one.by, ticket));
        let is_its_end =
            DONE.contains(&ended.state) && !went && !went_before(one.by, offer, ended.events);
        if is_out || !is_its_end || !seen.insert(ticket) {
            continue;
        }
        found.see();
        if heard.contains(&(ticket, customer)) {
            continue;
        }
        let Ended { at, at_us, state, .. } = ended;
        let text =
            format!("{ticket} is {state}, and {customer} was not told that its work is done");
        let since_us = one.done_us.max(again_us.unwrap_or_default());
        let entries = [one.entries(), vec![*at]].concat();
        found.missing(way.is_open(since_us, *at_us), entries, text);
    }
}

/// By ticket: who asked for it.
fn customers<'a>(operations: &'a Operations<'a>) -> BTreeMap<&'a str, &'a str> {
    let asked = operations.0.values().filter_map(|one| match one.operation {
        Operation::Request { ticket, .. } => Some((ticket.as_str(), one.by)),
        _ => None,
    });
    asked.collect()
}

/// Tickets with customers who were told that the work is done.
fn heard_the_end(history: &History) -> BTreeSet<(&str, &str)> {
    let heard = history.entries.iter().filter_map(|entry| match &entry.what {
        What::Confirmed { by, ticket, number: 4, .. } => Some((ticket.as_str(), by.as_str())),
        _ => None,
    });
    heard.collect()
}

/// What happened to a ticket behind the last event by which a technician had that offer.
fn behind<'a>(
    by: &str,
    offer: Offer,
    events: &'a [Happened],
) -> impl Iterator<Item = &'a str> + use<'a> {
    let is_its = |one: &Happened| {
        one.technician.as_deref() == Some(by)
            && one.epoch == Some(offer.epoch)
            && tickets::GIVES.contains(&one.event.as_str())
    };
    let behind = events.iter().rposition(is_its).map_or(0, |at| at + 1);
    events.iter().skip(behind).map(|one| one.event.as_str())
}

/// Whether a ticket went from a technician who had that offer: what it said then may have come too late.
fn went_from(by: &str, offer: Offer, events: &[Happened]) -> bool {
    behind(by, offer, events).any(|event| tickets::LETS_GO.contains(&event))
}

/// The same of a ticket that is done: one that is closed was done before.
fn went_before(by: &str, offer: Offer, events: &[Happened]) -> bool {
    behind(by, offer, events).any(|event| event != "closed" && tickets::LETS_GO.contains(&event))
}
