//! I3: a ticket is an append-only history, and everybody sees the same one.
//!
//! For such an object linearizability (Herlihy and Wing, 1990) can be decided without a search, because the
//! object itself has its order: a read returns a prefix of the history as it is in the end, reads that
//! follow each other in time do not go back, and messages are told apart by what each write gave its own
//! (`written`). In histories of before that they were counted: one that is lost and one that is doubled may hide
//! each other there. **Not here:** other objects; they would need the search.

mod written;

use std::collections::BTreeMap;

use super::{Fate, Found, Operations, operations::Operated, positions};
use crate::history::{Happened, History, Operation, What};

/// The event that an operator's message leaves.
const MESSAGE: &str = "message";

pub(super) fn one_history(history: &History, operations: &Operations<'_>) -> Found {
    let mut found = Found::default();
    let mut tickets: BTreeMap<&str, (usize, &[Happened])> = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        if let What::Ticket { ticket, events, .. } = &entry.what {
            tickets.insert(ticket, (at, events));
        }
    }
    let mut by_ticket: BTreeMap<&str, Vec<&Operated<'_>>> = BTreeMap::new();
    let mut requests: BTreeMap<&str, &Operated<'_>> = BTreeMap::new();
    for operated in operations.0.values() {
        match operated.operation {
            Operation::Read { ticket } | Operation::Write { ticket, .. } => {
                by_ticket.entry(ticket).or_default().push(operated);
            }
            Operation::Request { ticket, .. } => {
                requests.insert(ticket, operated);
            }
            Operation::Answer { .. } => {}
        }
    }
    if tickets.is_empty() {
        found.unknown("the tickets were not read in the end");
        return found;
    }
    for (ticket, operated) in by_ticket {
        // All were read: one that is not among them is not there, and nobody may have seen anything of it.
        let read = tickets.get(ticket).copied();
        let (at, events) = read.map_or((None, &[][..]), |(at, events)| (Some(at), events));
        let all = operated.iter().copied().chain(requests.get(ticket).copied());
        positions::are_in_order(ticket, all, &mut found);
        Ticket { name: ticket, at, events, operated }.check(&mut found);
    }
    found
}

struct Ticket<'a> {
    name: &'a str,
    /// Where the history has it as it is in the end; none where it is not there.
    at: Option<usize>,
    events: &'a [Happened],
    operated: Vec<&'a Operated<'a>>,
}

/// A read that came out well: how many events it saw.
struct Read<'a> {
    operated: &'a Operated<'a>,
    events: u64,
}

impl Ticket<'_> {
    fn check(&self, found: &mut Found) {
        let reads = self.reads(found);
        self.go_forward(&reads, found);
        match self.messages() {
            Some(messages) => self.check_written(&messages, &reads, found),
            None => {
                found.not_shown("whose message is whose is not in this history: they were counted");
                self.have_what_was_written(&reads, found);
                self.writes_in_the_end(found);
            }
        }
    }

    /// Reads whose prefix is one of the history in the end; the others are told.
    fn reads(&self, found: &mut Found) -> Vec<Read<'_>> {
        let mut reads = Vec::new();
        for operated in &self.operated {
            let (Operation::Read { .. }, Fate::Ok(Some(prefix))) =
                (operated.operation, &operated.fate)
            else {
                continue;
            };
            found.see();
            if prefix.events == 0 {
                // It was not there yet: only whoever saw it before says otherwise.
                reads.push(Read { operated, events: 0 });
                continue;
            }
            let at = usize::try_from(prefix.events).ok().and_then(|events| events.checked_sub(1));
            let same = at.and_then(|at| self.events.get(at)).map(|event| &event.digest);
            if same == Some(&prefix.digest) {
                reads.push(Read { operated, events: prefix.events });
            } else {
                let text = format!(
                    "{}: a read saw {} events that are not the first ones of its history",
                    self.name, prefix.events
                );
                let entries = operated.entries().into_iter().chain(self.at);
                found.broken(entries.collect(), text);
            }
        }
        reads
    }

    fn go_forward(&self, reads: &[Read<'_>], found: &mut Found) {
        let mut by_end: Vec<&Read<'_>> = reads.iter().collect();
        by_end.sort_by_key(|read| read.operated.done_us);
        let mut by_begin: Vec<&Read<'_>> = reads.iter().collect();
        by_begin.sort_by_key(|read| read.operated.invoked_us);
        let (mut ended, mut longest) = (by_end.into_iter().peekable(), None::<&Read<'_>>);
        for read in by_begin {
            while let Some(before) =
                ended.next_if(|before| before.operated.done_us < read.operated.invoked_us)
            {
                if longest.is_none_or(|longest| longest.events < before.events) {
                    longest = Some(before);
                }
            }
            if let Some(longest) = longest
                && read.events < longest.events
            {
                let text = format!(
                    "{}: a read saw {} events, and one that had ended before saw {}",
                    self.name, read.events, longest.events
                );
                let entries = [longest.operated.entries(), read.operated.entries()].concat();
                found.broken(entries, text);
            }
        }
    }

    fn writes(&self) -> impl Iterator<Item = &&Operated<'_>> {
        self.operated.iter().filter(|one| matches!(one.operation, Operation::Write { .. }))
    }

    fn have_what_was_written(&self, reads: &[Read<'_>], found: &mut Found) {
        let mut messages = vec![0_usize];
        for event in self.events {
            let so_far = messages.last().copied().unwrap_or(0);
            messages.push(so_far + usize::from(event.event == MESSAGE));
        }
        for read in reads {
            let Operated { invoked_us, done_us, .. } = *read.operated;
            let seen = usize::try_from(read.events).ok().and_then(|events| messages.get(events));
            let seen = seen.copied().unwrap_or(0);
            let before: Vec<_> = self
                .writes()
                .filter(|write| matches!(write.fate, Fate::Ok(_)) && write.done_us < invoked_us)
                .collect();
            let begun = self
                .writes()
                .filter(|write| write.fate != Fate::Refused && write.invoked_us < done_us);
            let begun = begun.count();
            if seen < before.len() || seen > begun {
                let text = format!(
                    "{}: a read saw {seen} messages, when {} were acknowledged before it and {begun} begun",
                    self.name,
                    before.len()
                );
                let writes = before.iter().flat_map(|write| write.entries());
                found.broken(writes.chain(read.operated.entries()).collect(), text);
            }
        }
    }

    /// Every message that was acknowledged is there once.
    fn writes_in_the_end(&self, found: &mut Found) {
        let there = self.events.iter().filter(|event| event.event == MESSAGE).count();
        let certain = self.writes().filter(|write| matches!(write.fate, Fate::Ok(_))).count();
        let possible = self.writes().filter(|write| write.fate != Fate::Refused).count();
        if possible > 0 {
            found.see();
        }
        if there < certain || there > possible {
            let text = format!(
                "{}: there are {there} messages, when {certain} were acknowledged and {possible} sent",
                self.name
            );
            let writes = self.writes().flat_map(|write| write.entries());
            found.broken(writes.chain(self.at).collect(), text);
        }
    }
}
