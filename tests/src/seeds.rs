//! Where a sweep's seeds begin, whether a seed gives the same run twice, and whether a sweep has what it is for.
//!
//! Each commit has seeds of its own: `scripts/test` takes `FIELDMESH_BASE` from the commit's hash. Without it a sweep
//! begins where it always did. **Invariant:** whatever the base, at each place of a sweep is the same kind of run: how
//! many nodes there are, how fast their disks are and what befalls them follows from remainders, which the base does not
//! change. **Not here:** what a run is like (the plans of the worlds).

/// Where sweeps begin unless told otherwise.
const FIRST: u64 = 1000;
/// What plans take remainders by (5, 8, 12, 15, 24, 32) divides it.
const KINDS: u64 = 480;
/// Bases that differ: what is reckoned from seeds does not overflow.
const BASES: u64 = 1 << 32;

/// A number of the environment.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The first seed of a sweep.
pub fn first() -> u64 {
    behind(number("FIELDMESH_BASE").unwrap_or(0))
}

fn behind(base: u64) -> u64 {
    FIRST + base % BASES * KINDS
}

/// How a failing seed of a test is run again alone.
pub fn again(test: &str, seed: u64) -> String {
    format!("FIELDMESH_SEED={seed} cargo test -p fieldmesh-tests --test {test} one_seed")
}

/// Runs a seed twice; its trace.
///
/// # Panics
/// Where the traces differ, with the first line that does.
pub fn same_trace(seed: u64, run: impl Fn(u64) -> Vec<String>) -> Vec<String> {
    same_trace_in(2, seed, run)
}

/// Runs a seed until it has given a trace twice, so many times at most; that trace.
///
/// # Panics
/// Where no trace comes twice, with the first line in which two of them differ.
pub fn same_trace_in(runs_max: usize, seed: u64, run: impl Fn(u64) -> Vec<String>) -> Vec<String> {
    let mut traces = Vec::new();
    while traces.len() < runs_max {
        let trace = run(seed);
        if traces.contains(&trace) {
            return trace;
        }
        traces.push(trace);
    }
    let at = parting(&traces[0], &traces[1]).unwrap_or_default();
    let [one, other] = [0, 1].map(|number: usize| traces[number].get(at));
    panic!("seed {seed} gave no trace twice: line {at} is {one:?} in one, {other:?} in another")
}

/// What is to happen in a sweep: its name, how often it did in a run, and how often it has to in a hundred runs. That is about
/// a tenth of what plans have of it by chance: less means that it does not happen any more, and that laws are judged
/// without it.
pub type Least<S> = (&'static str, fn(&S) -> usize, usize);

/// Of fewer runs nobody can tell.
const RUNS_MIN: usize = 20;

/// Whether a sweep has what it is for.
///
/// # Panics
/// Where something has happened too rarely in enough runs.
pub fn expect_happened<S>(runs: &[S], least: &[Least<S>]) {
    if runs.len() < RUNS_MIN {
        return;
    }
    for (what, count, of_a_hundred) in least {
        let happened: usize = runs.iter().map(count).sum();
        let wanted = of_a_hundred * runs.len() / 100;
        assert!(happened >= wanted, "{what}: {happened} in {} runs, {wanted} wanted", runs.len());
    }
}

/// The first line in which two traces differ.
fn parting(one: &[String], other: &[String]) -> Option<usize> {
    let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    (at < one.len().max(other.len())).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_base_a_place_has_the_same_kind_of_run() {
        for base in [0, 1, 7, 0xffff_ffff, u64::MAX] {
            let first = behind(base);
            for kinds in [5, 8, 12, 15, 24, 32] {
                assert_eq!(first % kinds, FIRST % kinds, "base {base}");
            }
            assert!((first + FIRST).checked_mul(1_000_000).is_some());
        }
        assert_eq!(behind(0), FIRST);
        assert_ne!(behind(1), behind(2));
    }

    #[test]
    fn traces_that_differ_are_told_where() {
        let trace =
            |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let one = trace(&["same", "one"]);
        assert_eq!(parting(&one, &one), None);
        assert_eq!(parting(&one, &trace(&["same", "another"])), Some(1));
        assert_eq!(parting(&one, &trace(&["same"])), Some(1));
        assert_eq!(parting(&one, &trace(&["same", "one", "more"])), Some(2));
    }

    const LEAST: [Least<usize>; 2] = [("cuts", |cuts| *cuts, 40), ("rare things", |_| 0, 0)];

    #[test]
    fn a_sweep_with_enough_of_each_is_believed_and_so_is_a_short_one() {
        expect_happened(&[1; 36], &LEAST);
        // A tenth of 430 cuts in a hundred runs, all in a few of them.
        expect_happened(&[&[5; 3][..], &[0; 33]].concat(), &LEAST);
        expect_happened(&[0; RUNS_MIN - 1], &LEAST);
    }

    #[test]
    #[should_panic(expected = "cuts: 13 in 36 runs, 14 wanted")]
    fn a_sweep_in_which_something_does_not_happen_any_more_is_refused() {
        expect_happened(&[&[1; 13][..], &[0; 23]].concat(), &LEAST);
    }
}
