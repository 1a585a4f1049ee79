//! The known name that a wrong one was probably meant to be.
//!
//! **Invariants:** the same answer for the same names in the same order. **Not here:** what is
//! known.

/// Longer names are not compared: the table grows with both lengths.
const NAME_BYTES_MAX: usize = 64;

/// Letters to insert, leave out or replace to make `one` of `other`.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, mine) in one.chars().enumerate() {
        let mut before = line;
        let mut last = line + 1;
        row[0] = last;
        for (column, theirs) in other.iter().enumerate() {
            let replaced = before + usize::from(mine != *theirs);
            before = row[column + 1];
            last = replaced.min(before + 1).min(last + 1);
            row[column + 1] = last;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// None where every known name differs in more than half its letters.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let rated = known.into_iter().map(|one| (distance(name, one), one));
    let (letters, best) = rated.min_by_key(|(letters, _)| *letters)?;
    (letters * 2 <= best.len().max(name.len())).then_some(best)
}

/// `; did you mean `x`?`, or nothing.
pub fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|best| format!("; did you mean `{best}`?")).unwrap_or_default()
}
