//! Whether the states of several groups fit together.
//!
//! A group numbers what it tells another one, keeps each row until the other has taken it, and the other
//! remembers which numbers it took. So of states of one moment two things are true of each pair:
//!
//! * no number was taken that its sender has not given: or it would give the number to something else,
//!   which the receiver would not take;
//! * each number that was given is either still kept or was taken: or it is lost.
//!
//! States of different moments can be made fit ([`Edges::mend`]): what was taken is not given again, and what
//! is lost is not waited for. **Not here:** how states of one moment come about (`consensus::freeze`), what
//! the entities make of what is lost (`domain`).

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::store::{
    StoreError, Table,
    keys::state,
    rows::{self, Cursor},
};

/// Rows read at once, and about their bytes.
const PAGE: usize = 1024;
const PAGE_BYTES: usize = 1 << 20;

/// What a group told others, and took from them.
#[derive(Debug, Clone, Default, Encode, Decode)]
pub struct Edges {
    #[n(0)]
    pub group: u32,
    /// The next number towards each group.
    #[n(1)]
    next: BTreeMap<u32, u64>,
    /// Numbers that are kept for each group: a bounded outbox is small.
    #[n(2)]
    kept: BTreeMap<u32, BTreeSet<u64>>,
    #[n(3)]
    taken: BTreeMap<u32, Cursor>,
}

/// What makes a pair of groups fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mend {
    /// The sender gives this number next.
    pub next: Option<u64>,
    /// The receiver has taken these.
    pub cursor: Option<Cursor>,
    /// Numbers that the receiver waits for and nobody will give.
    pub lost: Vec<u64>,
    /// How many the receiver has taken of which the sender does not know.
    pub forgotten: u64,
}

/// Shows each row of a range.
///
/// # Errors
/// A failed read; what `take` says.
pub(super) fn each_row(
    table: &dyn Table,
    (mut from, until): (Vec<u8>, Vec<u8>),
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    loop {
        let page = table.page(&from, &until, PAGE, PAGE_BYTES)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from.clone_from(last);
        from.push(0);
        page.iter().try_for_each(|(key, value)| take(key, value))?;
    }
}

fn damaged(key: &[u8]) -> StoreError {
    let fact = "the key is not of its kind's length".to_owned();
    StoreError::Corrupt { table: "state".into(), record: rows::name(key), fact }
}

/// The numbers behind a prefix of so many bytes: a group's, and what is behind it.
fn numbers(key: &[u8], prefix: usize) -> Result<(u32, &[u8]), StoreError> {
    let split = key.get(prefix..).and_then(<[u8]>::split_first_chunk::<4>);
    split.map(|(group, rest)| (u32::from_be_bytes(*group), rest)).ok_or_else(|| damaged(key))
}

fn number(key: &[u8], bytes: &[u8]) -> Result<u64, StoreError> {
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| damaged(key))?))
}

impl Edges {
    /// Reads them from a group's state.
    ///
    /// # Errors
    /// Rows that cannot be read.
    pub fn of(group: u32, table: &dyn Table) -> Result<Self, StoreError> {
        let mut edges = Self { group, ..Self::default() };
        each_row(table, state::outbox_next_range(), |key, value| {
            edges.next.insert(numbers(key, 2)?.0, number(key, value)?);
            Ok(())
        })?;
        each_row(table, state::outbox_range(), |key, _| {
            let (to, rest) = numbers(key, 1)?;
            edges.kept.entry(to).or_default().insert(number(key, rest)?);
            Ok(())
        })?;
        each_row(table, state::cursor_range(), |key, value| {
            edges.taken.insert(numbers(key, 1)?.0, rows::decode(key, value)?);
            Ok(())
        })?;
        Ok(edges)
    }

    /// Rows that wait.
    pub fn waiting(&self) -> usize {
        self.kept.values().map(BTreeSet::len).sum()
    }

    /// Rows that wait for other groups than one.
    pub fn waiting_but_for(&self, group: u32) -> usize {
        let others = self.kept.iter().filter(|(to, _)| **to != group);
        others.map(|(_, kept)| kept.len()).sum()
    }

    /// The same with regard to some groups alone.
    pub fn towards(mut self, groups: &BTreeSet<u32>) -> Self {
        self.next.retain(|group, _| groups.contains(group));
        self.kept.retain(|group, _| groups.contains(group));
        self.taken.retain(|group, _| groups.contains(group));
        self
    }

    /// What makes this group fit one that it tells things; nothing where both fit.
    pub fn mend(&self, to: &Self) -> Mend {
        let taken = to.taken.get(&self.group).cloned().unwrap_or_default();
        let had = self.next.get(&to.group).copied().unwrap_or(1);
        let last = taken.above.last().copied().unwrap_or(taken.low);
        let next = had.max(last + 1);
        let kept = self.kept.get(&to.group).into_iter().flatten().copied();
        let is_open =
            |number: &u64| *number > taken.low && taken.above.binary_search(number).is_err();
        let open: BTreeSet<u64> = kept.filter(is_open).collect();
        let is_lost = |number: &u64| is_open(number) && !open.contains(number);
        let lost = (taken.low + 1..next).filter(is_lost).collect();
        let low = open.first().map_or(next - 1, |first| first - 1);
        let above = (low + 1..next).filter(|number| !open.contains(number)).collect();
        let cursor = Some(Cursor { low, above }).filter(|cursor| *cursor != taken);
        let forgotten = next - had;
        Mend { next: (forgotten > 0).then_some(next), cursor, lost, forgotten }
    }

    /// What does not fit between this group and one that it tells things.
    fn misfit(&self, to: &Self) -> Option<String> {
        let nobody = Cursor::default();
        let taken = to.taken.get(&self.group).unwrap_or(&nobody);
        let next = self.next.get(&to.group).copied().unwrap_or(1);
        let (source, receiver) = (self.group, to.group);
        let last = taken.above.last().copied().unwrap_or(taken.low);
        if last >= next {
            return Some(format!(
                "group {receiver} has taken row {last} of group {source}, which gives {next} next"
            ));
        }
        let given = next - 1 - taken.low - taken.above.len() as u64;
        let is_open = |number: &&u64| {
            **number > taken.low && **number < next && !taken.above.contains(number)
        };
        let kept = self.kept.get(&receiver).map_or(0, |kept| kept.iter().filter(is_open).count());
        let lost = given.saturating_sub(kept as u64);
        (lost > 0).then(|| {
            format!("group {source} has forgotten {lost} rows that group {receiver} did not take")
        })
    }
}

/// What does not fit between any two of these.
pub fn misfits(groups: &[Edges]) -> Vec<String> {
    let pairs = groups.iter().flat_map(|from| groups.iter().map(move |to| (from, to)));
    // What a group tells itself it forgets in the step that takes it.
    let pairs = pairs.filter(|(from, to)| from.group != to.group);
    pairs.filter_map(|(from, to)| from.misfit(to)).collect()
}
