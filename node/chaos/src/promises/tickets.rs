//! What one ticket's history, or its customer, may not show: I2, I4, I9.

use std::collections::BTreeMap;

use super::Found;
use crate::history::{Happened, History, What};

/// Events after which nobody has the ticket.
const LETS_GO: [&str; 9] = [
    "matching",
    "unfilled",
    "taken_back",
    "reopened",
    "held",
    "cancelled",
    "closed",
    "offer_expired",
    "offer_refused",
];

/// Events by which somebody has the ticket.
const TAKES: [&str; 2] = ["accepted", "adopted"];

/// I2. Whoever comes to have a ticket is the only one, the offers' epochs grow, and whom a customer was told
/// of had it.
pub(super) fn one_technician(history: &History) -> Found {
    let mut found = Found::default();
    told_of_whom_had_it(history, &mut found);
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Ticket { ticket, events, .. } = &entry.what else { continue };
        found.see();
        if let Some(wrong) = two_at_once(events) {
            found.broken(vec![at], format!("{ticket}: {wrong}"));
        }
    }
    found
}

fn told_of_whom_had_it(history: &History, found: &mut Found) {
    let mut tickets = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        if let What::Ticket { ticket, events, .. } = &entry.what {
            tickets.insert(ticket.as_str(), (at, events));
        }
    }
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Confirmed { ticket, number: 2, technician: Some(told), .. } = &entry.what else {
            continue;
        };
        let Some((ticket_at, events)) = tickets.get(ticket.as_str()) else { continue };
        let had = |one: &Happened| {
            TAKES.contains(&one.event.as_str()) && one.technician.as_ref() == Some(told)
        };
        if !events.iter().any(had) {
            let text = format!("{ticket}: its customer was told of {told}, who never had it");
            found.broken(vec![at, *ticket_at], text);
        }
    }
}

fn two_at_once(events: &[Happened]) -> Option<String> {
    let (mut has, mut last): (Option<&str>, Option<u32>) = (None, None);
    for happened in events {
        let Happened { event, technician, epoch, .. } = happened;
        if event == "offered" {
            if let (Some(last), Some(epoch)) = (last, epoch)
                && *epoch <= last
            {
                return Some(format!("offer {epoch} comes after offer {last}"));
            }
            last = (*epoch).or(last);
        }
        if LETS_GO.contains(&event.as_str()) {
            has = None;
        }
        if TAKES.contains(&event.as_str())
            && let Some(technician) = technician
        {
            if let Some(other) = has
                && other != technician
            {
                return Some(format!("{technician} accepts it while {other} has it"));
            }
            has = Some(technician);
        }
    }
    None
}

/// I4. No customer is told twice of the same dispatch.
pub(super) fn once(history: &History) -> Found {
    let mut found = Found::default();
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Confirmed { ticket, number: 2, .. } = &entry.what else { continue };
        found.see();
        if let Some(before) = told.insert(ticket, at) {
            found.broken(vec![before, at], format!("{ticket} was confirmed twice"));
        }
    }
    found
}

/// I9. Numbers of confirmations of a ticket do not go back.
pub(super) fn order(history: &History) -> Found {
    let mut found = Found::default();
    let mut last: BTreeMap<&str, (u8, usize)> = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Confirmed { ticket, number, .. } = &entry.what else { continue };
        found.see();
        if let Some((before, before_at)) = last.insert(ticket, (*number, at))
            && before > *number
        {
            let text = format!("{ticket}: confirmation {number} came after {before}");
            found.broken(vec![before_at, at], text);
        }
    }
    found
}
