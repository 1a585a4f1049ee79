//! Groups whose states ended at different moments are made fit: nothing is given twice, nothing is waited for
//! in vain, and what is still kept arrives.
//!
//! Two groups and the placement group tell each other things in any order; each of the two is then cut back to
//! some moment of its history. **Not here:** what entities make of what is lost (`domain`).
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_domain::placement::PLACEMENT;
use fieldmesh_node::{
    backup::{
        cut::{Edges, misfits},
        promotion::{End, Promotion},
    },
    os::SystemEntropy,
    sealing::Key,
    store::{
        Batch, Engine, Role, Table,
        keys::state,
        rows::{self, Cursor, Take},
        simulated::Disk,
    },
};
use proptest::{collection::vec, prelude::*};

const GROUPS: [u32; 3] = [PLACEMENT, 1, 2];

/// What groups do: two of the three by their places, and which of the rows under way.
#[derive(Debug, Clone, Copy)]
enum Act {
    Tell(usize, usize),
    Take(usize, usize, usize),
    Forget(usize, usize, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let pair = || (0_usize..3, 1_usize..3).prop_map(|(from, further)| (from, (from + further) % 3));
    prop_oneof![
        3 => pair().prop_map(|(from, to)| Act::Tell(from, to)),
        3 => (pair(), any::<usize>()).prop_map(|((from, to), nth)| Act::Take(from, to, nth)),
        2 => (pair(), any::<usize>()).prop_map(|((from, to), nth)| Act::Forget(from, to, nth)),
    ]
}

/// A group: what it tells others next, what it keeps for them, what it took from them.
#[derive(Debug, Clone, Default)]
struct Group {
    next: BTreeMap<u32, u64>,
    kept: BTreeMap<u32, BTreeSet<u64>>,
    taken: BTreeMap<u32, Cursor>,
}

fn took(cursor: Option<&Cursor>, number: u64) -> bool {
    cursor.is_some_and(|taken| number <= taken.low || taken.above.contains(&number))
}

fn advance(groups: &mut [Group; 3], act: Act) {
    let nth = |all: Vec<u64>, nth: usize| all.get(nth % all.len().max(1)).copied();
    match act {
        Act::Tell(from, to) => {
            let next = groups[from].next.entry(GROUPS[to]).or_insert(1);
            let number = *next;
            *next += 1;
            groups[from].kept.entry(GROUPS[to]).or_default().insert(number);
        }
        Act::Take(from, to, which) => {
            let kept = groups[from].kept.get(&GROUPS[to]).into_iter().flatten().copied();
            let taken = groups[to].taken.get(&GROUPS[from]);
            let open = kept.filter(|number| !took(taken, *number)).collect();
            if let Some(number) = nth(open, which) {
                let cursor = groups[to].taken.entry(GROUPS[from]).or_default();
                assert_eq!(cursor.take(number), Take::Fresh);
            }
        }
        Act::Forget(from, to, which) => {
            let taken = groups[to].taken.get(&GROUPS[from]).cloned();
            let kept = groups[from].kept.entry(GROUPS[to]).or_default();
            let done = kept.iter().copied().filter(|number| took(taken.as_ref(), *number));
            if let Some(number) = nth(done.collect(), which) {
                kept.remove(&number);
            }
        }
    }
}

fn rows_of(group: &Group) -> Vec<(Vec<u8>, Vec<u8>)> {
    let next =
        group.next.iter().map(|(to, next)| (state::outbox_next(*to), next.to_be_bytes().to_vec()));
    let kept = group.kept.iter().flat_map(|(to, kept)| kept.iter().map(|one| (*to, *one)));
    // Nobody looks into them here.
    let kept = kept.map(|(to, number)| (state::outbox(to, number), vec![7]));
    let taken =
        group.taken.iter().map(|(from, cursor)| (state::cursor(*from), rows::encode(cursor)));
    next.chain(kept).chain(taken).collect()
}

fn filled(disk: &Disk, name: &str, group: &Group) -> std::sync::Arc<dyn Table> {
    let table = disk.open(name, Role::State).unwrap();
    let mut batch = Batch::default();
    rows_of(group).into_iter().for_each(|(key, value)| batch.put(key, value));
    table.write(batch).unwrap();
    table
}

/// What a receiver makes of all that is still on its way, and of what is given next.
fn arrives(from: &Group, to_number: u32, cursor: &mut Cursor) {
    let next = from.next.get(&to_number).copied().unwrap_or(1);
    let kept = from.kept.get(&to_number).into_iter().flatten();
    let open: Vec<u64> = kept.copied().filter(|number| !took(Some(cursor), *number)).collect();
    for number in open.into_iter().chain([next]) {
        assert_eq!(cursor.take(number), Take::Fresh, "row {number}");
    }
    assert_eq!((cursor.low, cursor.above.as_slice()), (next, &[][..]), "nothing is waited for");
}

/// A group as its table has it.
fn read(table: &dyn Table) -> Group {
    let mut group = Group::default();
    for other in GROUPS {
        if let Some(next) = rows::read_u64(table, &state::outbox_next(other)).unwrap() {
            group.next.insert(other, next);
        }
        if let Some(cursor) = rows::read(table, &state::cursor(other)).unwrap() {
            group.taken.insert(other, cursor);
        }
        let (from, until) = (state::outbox(other, 0), state::outbox(other, u64::MAX));
        let kept = table.scan(&from, &until, 4096).unwrap();
        let numbers = kept
            .iter()
            .map(|(key, _)| u64::from_be_bytes(key[key.len() - 8..].try_into().unwrap()));
        group.kept.insert(other, numbers.collect());
    }
    group
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn states_of_any_moments_are_made_fit(acts in vec(act(), 0..120), back in [0_usize..120, 0..120]) {
        let (mut now, mut moments) = (<[Group; 3]>::default(), vec![<[Group; 3]>::default()]);
        for act in acts {
            advance(&mut now, act);
            moments.push(now.clone());
        }
        let at = |which: usize| {
            let moment = moments.len().saturating_sub(1 + back[which]);
            moments[moment][which + 1].clone()
        };
        let disk = Disk::default();
        let placement = filled(&disk, "placement", &now[0]);
        let mut promotion = Promotion::new("eu1".parse().unwrap());
        for which in [0, 1] {
            let end = End { term: 3, last: 9 };
            let filling = promotion.begin(&disk, GROUPS[which + 1], end).unwrap();
            filling.put(rows_of(&at(which))).unwrap();
        }
        let edges = Edges::of(PLACEMENT, &*placement).unwrap();
        let entropy = SystemEntropy::default();
        let key = Key::generate(&entropy);
        promotion.mend(&edges, &key, &entropy).unwrap();

        let tables = [1, 2].map(|group| disk.open(&format!("state-{group}"), Role::State).unwrap());
        let found = [1, 2].map(|group: u32| {
            Edges::of(group, &*tables[group as usize - 1]).unwrap()
        });
        prop_assert_eq!(misfits(&[found[0].clone(), found[1].clone(), edges]), Vec::<String>::new());
        let groups = [now[0].clone(), read(&*tables[0]), read(&*tables[1])];
        for (from, to) in [(0, 1), (0, 2), (1, 0), (2, 0), (1, 2), (2, 1)] {
            let cursor = groups[to].taken.get(&GROUPS[from]).cloned();
            arrives(&groups[from], GROUPS[to], &mut cursor.unwrap_or_default());
        }
        // What fits already is left as it is.
        let before: Vec<_> = tables.iter().map(|table| table.scan(&[], &[0xff], 4096).unwrap()).collect();
        let again = promotion.mend(&Edges::of(PLACEMENT, &*placement).unwrap(), &key, &entropy);
        let again = again.unwrap();
        prop_assert_eq!((again.lost, again.forgotten), (0, 0));
        let after: Vec<_> = tables.iter().map(|table| table.scan(&[], &[0xff], 4096).unwrap()).collect();
        prop_assert_eq!(before, after);
    }
}
