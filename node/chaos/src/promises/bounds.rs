//! I10: what was sampled stays within its bound.

use super::Found;
use crate::history::{History, What};

pub(super) fn bounds(history: &History) -> Found {
    let mut found = Found::default();
    for (at, entry) in history.entries.iter().enumerate() {
        let What::Sample { node, name, value, bound } = &entry.what else { continue };
        found.see();
        if value > bound {
            found.broken(vec![at], format!("node {node}: {name} is {value}, more than {bound}"));
        }
    }
    found
}
