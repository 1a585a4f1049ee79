//! Links that are cut, as nodes that are out.
//!
//! Where two nodes do not hear each other, a group decides as long as it could without one of the two; so the links
//! that are cut count as the fewest nodes which all of them are of: one for one link, one for all links of a node, two
//! for a ring of three. **Not here:** which links are cut (`timeline`).

use std::collections::{BTreeMap, BTreeSet};

/// Two nodes, the lower number first.
type Links = BTreeSet<(u64, u64)>;

/// The fewest nodes without which no link is cut, `most` where there are more.
pub(super) fn fewest(cut: &Links, most: u64) -> u64 {
    let mut links_of: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for (one, other) in cut {
        links_of.entry(*one).or_default().insert(*other);
        links_of.entry(*other).or_default().insert(*one);
    }
    let Some((node, others)) = links_of.iter().max_by_key(|(_, others)| others.len()) else {
        return 0;
    };
    if most == 0 || others.len() == 1 {
        return most.min(cut.len() as u64);
    }
    let without = |gone: &dyn Fn(u64) -> bool| -> Links {
        cut.iter().filter(|(one, other)| !gone(*one) && !gone(*other)).copied().collect()
    };
    // Either that node is one of them, or all those are that it does not hear.
    let with_it = 1 + fewest(&without(&|one| one == *node), most - 1);
    let count = others.len() as u64;
    let with_them = match most.checked_sub(count) {
        Some(left) => count + fewest(&without(&|one| others.contains(&one)), left),
        None => most,
    };
    with_it.min(with_them)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_count_as_the_fewest_nodes_that_all_of_them_are_of() {
        for (cut, fewest_nodes) in [
            (&[][..], 0),
            (&[(1, 2)], 1),
            // All links of node 2, whoever cuts them.
            (&[(1, 2), (2, 3)], 1),
            (&[(1, 2), (1, 3), (1, 4), (1, 5)], 1),
            // A ring, and two links with nothing to do with each other.
            (&[(1, 2), (1, 3), (2, 3)], 2),
            (&[(1, 2), (3, 4)], 2),
            // Two and three that do not hear each other.
            (&[(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)], 2),
            (&[(1, 2), (2, 3), (3, 4), (4, 5), (1, 5)], 3),
            (&[(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)], 3),
        ] {
            let cut: Links = cut.iter().copied().collect();
            assert_eq!(fewest(&cut, 7), fewest_nodes, "{cut:?}");
            assert_eq!(fewest(&cut, 1), fewest_nodes.min(1), "{cut:?}");
        }
    }

    #[test]
    fn many_links_are_looked_at_no_longer_than_there_are_nodes() {
        let row: Links = (0..1_000).map(|node| (node, node + 1)).collect();
        assert_eq!(fewest(&row, 7), 7);
    }
}
