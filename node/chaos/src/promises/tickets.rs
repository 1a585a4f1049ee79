//! What one ticket's history, or its customer, may not show: I2, I4, I9.

use std::collections::BTreeMap;

use super::{Found, Operations, operations::Operated};
use crate::history::{Happened, History, Operation, What};

/// Events after which nobody has the ticket.
pub(super) const LETS_GO: [&str; 9] = [
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

/// Events by which somebody may come to have the ticket, or has it.
pub(super) const GIVES: [&str; 4] = ["offered", "assigned", "accepted", "adopted"];

/// Events by which somebody has the ticket.
pub(super) const TAKES: [&str; 2] = ["accepted", "adopted"];

/// I2. Whoever comes to have a ticket is the only one, the offers' epochs grow, each is accepted once and while it is the
/// last one, and whom a customer was told of had it.
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

/// Who has a ticket, and who may come to have it, event by event.
#[derive(Default)]
struct Hands<'a> {
    has: Option<&'a str>,
    /// The epoch of the last offer.
    last: Option<u32>,
    /// To whom that was made.
    to: Vec<&'a str>,
    /// It was made to others, too, whom this history does not tell: it is of an earlier release.
    is_to_others: bool,
    /// Nobody has accepted it, and nothing has ended it.
    is_open: bool,
}

impl<'a> Hands<'a> {
    /// What is wrong with an event.
    fn see(&mut self, happened: &'a Happened) -> Option<String> {
        let Happened { event, technician, epoch, .. } = happened;
        let (event, technician) = (event.as_str(), technician.as_deref());
        match event {
            "offered" | "assigned" => return self.offered(technician, *epoch),
            "also_offered" => self.is_to_others |= epoch.is_none(),
            _ => {}
        }
        if LETS_GO.contains(&event) {
            self.has = None;
            // Where one of several does not want it, the others have the offer still.
            self.is_open &= event == "offer_refused";
        }
        let technician = technician.filter(|_| TAKES.contains(&event))?;
        if let Some(other) = self.has.filter(|other| *other != technician) {
            return Some(format!("{technician} accepts it while {other} has it"));
        }
        match event {
            "accepted" => self.accepted(technician, *epoch),
            _ => {
                self.adopted(technician, *epoch);
                None
            }
        }
    }

    fn offered(&mut self, technician: Option<&'a str>, epoch: Option<u32>) -> Option<String> {
        if let (Some(last), Some(epoch)) = (self.last, epoch)
            && epoch <= last
        {
            return Some(format!("offer {epoch} comes after offer {last}"));
        }
        self.last = epoch.or(self.last);
        self.to = technician.into_iter().collect();
        (self.is_to_others, self.is_open) = (false, true);
        None
    }

    /// An acceptance is of the last offer, and the only one of it.
    fn accepted(&mut self, technician: &'a str, epoch: Option<u32>) -> Option<String> {
        let is_stale = match epoch {
            Some(_) => epoch != self.last,
            None => !self.is_to_others && !self.to.contains(&technician),
        };
        if is_stale {
            let last = self.last.map_or("none".to_owned(), |last| last.to_string());
            let of = epoch.map_or("no offer".to_owned(), |epoch| format!("offer {epoch}"));
            return Some(format!("{technician} accepts {of}, and the last offer is {last}"));
        }
        if !self.is_open {
            return Some(match self.has {
                Some(_) => format!("{technician} accepts one offer twice"),
                None => format!("{technician} accepts an offer that is over"),
            });
        }
        self.is_open = false;
        self.has = Some(technician);
        None
    }

    /// Somebody has it by an offer that is lost, and whose acceptance is told only now; or has it still.
    fn adopted(&mut self, technician: &'a str, epoch: Option<u32>) {
        self.is_open |= self.has.is_none();
        self.last = epoch.or(self.last);
        self.to.push(technician);
        self.has = Some(technician);
    }
}

fn two_at_once(events: &[Happened]) -> Option<String> {
    let mut hands = Hands::default();
    events.iter().find_map(|happened| hands.see(happened))
}

/// I4. No customer is told twice of the same dispatch, or twice that its work is done; nor of a ticket that another one
/// asked for.
pub(super) fn once(history: &History, operations: &Operations<'_>) -> Found {
    let mut found = Found::default();
    told_who_asked(history, operations, &mut found);
    let mut told: BTreeMap<(&str, u8), usize> = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Confirmed { ticket, number: number @ (2 | 4), .. } = &entry.what else {
            continue;
        };
        found.see();
        if let Some(before) = told.insert((ticket, *number), at) {
            let what = if *number == 2 { "was confirmed" } else { "was said to be done" };
            found.broken(vec![before, at], format!("{ticket} {what} twice"));
        }
    }
    found
}

/// A ticket is of one customer, whoever else hears of it. Where the history does not have who asked for it, nobody knows
/// whose it is: its request may have been sent and not noted.
fn told_who_asked(history: &History, operations: &Operations<'_>, found: &mut Found) {
    let mut asked: BTreeMap<&str, Vec<&Operated<'_>>> = BTreeMap::new();
    for one in operations.0.values() {
        if let Operation::Request { ticket, .. } = one.operation {
            asked.entry(ticket).or_default().push(one);
        }
    }
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Confirmed { by, ticket, .. } = &entry.what else { continue };
        let Some(asked) = asked.get(ticket.as_str()) else { continue };
        if let Some(first) = asked.first()
            && asked.iter().all(|one| one.by != by)
        {
            let text = format!("{ticket}: {by} was told of it, and {} asked for it", first.by);
            found.broken(vec![first.entry, at], text);
        }
    }
}

/// I9. Numbers of confirmations of a ticket do not go back. One that did not come for seconds its device tells behind those
/// that waited for it: by its place it was said before them.
pub(super) fn order(history: &History) -> Found {
    let mut found = Found::default();
    let mut last: BTreeMap<&str, (u8, Option<u64>, usize)> = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Confirmed { ticket, number, position, .. } = &entry.what else { continue };
        found.see();
        let was_late = |before: Option<u64>| before.zip(*position).is_some_and(|(b, p)| p < b);
        if last
            .get(ticket.as_str())
            .is_some_and(|(before, place, _)| before > number && was_late(*place))
        {
            continue;
        }
        if let Some((before, _, before_at)) = last.insert(ticket, (*number, *position, at))
            && before > *number
        {
            let text = format!("{ticket}: confirmation {number} came after {before}");
            found.broken(vec![before_at, at], text);
        }
    }
    found
}
