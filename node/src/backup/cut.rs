//! Whether the states of several groups fit together.
//!
//! A group numbers what it tells another one, keeps each row until the other has taken it, and the other
//! remembers which numbers it took. So of states of one moment two things are true of each pair:
//!
//! * no number was taken that its sender has not given: or it would give the number to something else,
//!   which the receiver would not take;
//! * each number that was given is either still kept or was taken: or it is lost.
//!
//! **Not here:** how states of one moment come about (`consensus::freeze`).

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{
    StoreError, Table,
    keys::state,
    rows::{self, Cursor},
};

/// Rows read at once, and about their bytes.
const PAGE: usize = 1024;
const PAGE_BYTES: usize = 1 << 20;

/// What a group told others, and took from them.
#[derive(Debug, Clone, Default)]
pub struct Edges {
    pub group: u32,
    /// The next number towards each group.
    next: BTreeMap<u32, u64>,
    /// Numbers that are kept for each group: a bounded outbox is small.
    kept: BTreeMap<u32, BTreeSet<u64>>,
    taken: BTreeMap<u32, Cursor>,
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
