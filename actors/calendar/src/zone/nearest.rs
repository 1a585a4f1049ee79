//! Which zone was meant by a name that does not exist.
//!
//! **Invariants:** the same name gets the same suggestion; work is bounded by the length of a name
//! times that of the database. **Not here:** acting on a suggestion; people do.

use super::{NAME_BYTES_MAX, names};

/// Letters that may differ: more, and the suggestion surprises.
const DISTANCE_MAX: usize = 3;

/// The city alone is enough; otherwise the name that differs in the fewest letters.
pub(super) fn nearest(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let wanted = name.trim().replace(' ', "_").to_ascii_lowercase();
    let known = names();
    let city =
        |name: &str| name.rsplit('/').next().is_some_and(|c| c.eq_ignore_ascii_case(&wanted));
    if let Some(found) = known.iter().find(|name| city(name)) {
        return Some(found.clone());
    }
    let distances = known.into_iter().map(|name| {
        let distance = distance(wanted.as_bytes(), name.to_ascii_lowercase().as_bytes());
        (distance, name)
    });
    distances.filter(|(distance, _)| *distance <= DISTANCE_MAX).min().map(|(_, name)| name)
}

/// How many letters have to be changed, added or left out (Levenshtein).
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, a) in one.iter().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, b) in other.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
