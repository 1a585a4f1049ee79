//! Messages of a ticket, each as the one that it is.
//!
//! The messages in a ticket's history have an order, and each write has an interval in which it took effect. Both can
//! be so exactly where no write that ended before another began stands behind it, and a read saw whatever was
//! acknowledged before it began and nothing that was begun after it ended. **Invariant:** a write without an outcome may
//! be there once or not. **Not here:** that reads are of that history, and do not go back (the module above).

use std::collections::BTreeMap;

use super::{MESSAGE, Read, Ticket};
use crate::{
    history::{Operation, Position},
    promises::{Fate, Found, operations::Operated},
};

/// A message in the end, and the write that it is of.
struct Written<'a> {
    /// Among the events, from 0.
    at: u64,
    write: &'a Operated<'a>,
}

impl Written<'_> {
    fn is_acknowledged_before(&self, at_us: u64) -> bool {
        matches!(self.write.fate, Fate::Ok(_)) && self.write.done_us < at_us
    }

    /// With its position in a log, where that is known.
    fn placed(&self) -> Option<(&Self, Position)> {
        Some((self, self.write.at?))
    }
}

impl<'a> Ticket<'a> {
    /// Its messages in their order, each with its place among the events; none where one of them, or of what was
    /// written, is not told apart from others.
    pub(super) fn messages(&self) -> Option<Vec<(u64, &'a str)>> {
        let are_marked = self.writes().all(|write| mark(write).is_some());
        let events = (0..).zip(self.events).filter(|(_, event)| event.event == MESSAGE);
        let messages = events.map(|(at, event)| Some((at, event.message.as_deref()?)));
        messages.collect::<Option<Vec<_>>>().filter(|_| are_marked)
    }

    pub(super) fn check_written(
        &self,
        messages: &[(u64, &str)],
        reads: &[Read<'_>],
        found: &mut Found,
    ) {
        let written = self.written(messages, found);
        self.are_all_there(&written, found);
        self.are_in_order(&written, found);
        for read in reads {
            self.saw(read, &written, found);
        }
    }

    /// Messages with their writes; what is there without one, or again, is told.
    fn written(&self, messages: &[(u64, &str)], found: &mut Found) -> Vec<Written<'_>> {
        let writes: BTreeMap<&str, &Operated<'_>> =
            self.writes().filter_map(|write| Some((mark(write)?, *write))).collect();
        let mut written: BTreeMap<&str, Written<'_>> = BTreeMap::new();
        for &(at, message) in messages {
            let write = writes.get(message).copied();
            let entries = write.map(Operated::entries).unwrap_or_default().into_iter();
            let broken = |how: &str| {
                let text = format!("{}: message {message} {how}", self.name);
                (entries.chain(self.at).collect::<Vec<_>>(), text)
            };
            let (entries, text) = match write {
                None => broken("is there, and nobody wrote it"),
                Some(_) if written.contains_key(message) => broken("is there twice"),
                Some(write) if write.fate == Fate::Refused => broken("was refused, and is there"),
                Some(write) => {
                    written.insert(message, Written { at, write });
                    continue;
                }
            };
            found.broken(entries, text);
        }
        let mut written: Vec<Written<'_>> = written.into_values().collect();
        written.sort_by_key(|one| one.at);
        written
    }

    fn are_all_there(&self, written: &[Written<'_>], found: &mut Found) {
        let there: Vec<usize> = written.iter().map(|one| one.write.entry).collect();
        for write in self.writes() {
            found.see();
            if matches!(write.fate, Fate::Ok(_)) && !there.contains(&write.entry) {
                let message = mark(write).unwrap_or_default();
                let text =
                    format!("{}: message {message} was acknowledged, and is not there", self.name);
                found.broken(write.entries().into_iter().chain(self.at).collect(), text);
            }
        }
    }

    /// None stands before one that was acknowledged before it began.
    fn are_in_order(&self, written: &[Written<'_>], found: &mut Found) {
        // Of those before, the one that was begun last.
        let mut last: Option<&Written<'_>> = None;
        for one in written {
            if let Some(last) = last
                && one.is_acknowledged_before(last.write.invoked_us)
            {
                let text = format!(
                    "{}: a message stands behind one that was begun after it was acknowledged",
                    self.name
                );
                let entries = [one.write.entries(), last.write.entries()].concat();
                found.broken(entries.into_iter().chain(self.at).collect(), text);
            }
            if last.is_none_or(|last| last.write.invoked_us < one.write.invoked_us) {
                last = Some(one);
            }
        }
    }

    fn saw(&self, read: &Read<'_>, written: &[Written<'_>], found: &mut Found) {
        let Operated { invoked_us, done_us, .. } = *read.operated;
        let mut broken = |one: &Written<'_>, how: &str| {
            let text = format!("{}: a read of {} events {how}", self.name, read.events);
            let entries = [one.write.entries(), read.operated.entries()].concat();
            found.broken(entries.into_iter().chain(self.at).collect(), text);
        };
        let missing =
            |one: &&Written<'_>| one.at >= read.events && one.is_acknowledged_before(invoked_us);
        if let Some(one) = written.iter().find(missing) {
            broken(one, "has not a message that was acknowledged before it began");
        }
        let early = |one: &&Written<'_>| one.at < read.events && one.write.invoked_us > done_us;
        if let Some(one) = written.iter().find(early) {
            broken(one, "has a message that was begun after it ended");
        }
        let Some(here) = read.operated.at else { return };
        let unseen = written.iter().filter(|one| one.at >= read.events);
        if let Some((one, at)) =
            unseen.filter_map(Written::placed).find(|(_, at)| at.is_seen_by(here))
        {
            broken(one, &format!("by {here} has not a message that is {at}"));
        }
    }
}

fn mark<'a>(write: &Operated<'a>) -> Option<&'a str> {
    match write.operation {
        Operation::Write { message, .. } => message.as_deref(),
        _ => None,
    }
}
