//! What befalls a cluster while a load goes on: nodes killed and started again, nodes cut off from the others
//! and let back.
//!
//! When and whom is fixed by the length of the load, so that two runs of the same load meet the same.
//! **Invariants:** one after the other, and in the end every node runs and reaches every other. **Not here:**
//! how a node is killed or cut off (`fleet`), the load.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, time::sleep};

use super::{CliError, fleet::Fleet};

/// How long a node is cut off, in milliseconds: shorter and longer than an election takes, and than a node that
/// hears nothing of its region goes on serving devices (`cluster.cut_off_after_s`).
const CUT_MS: std::ops::Range<u64> = 200..15_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strike {
    Kill,
    Cut(Duration),
}

/// How often each befell the load.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Befell {
    pub(super) kills: usize,
    pub(super) cuts: usize,
}

/// Strikes to come, each before so many requests.
pub(super) struct Strikes(Vec<(usize, Strike)>);

impl Strikes {
    /// So many of each, spread over a load of so many requests.
    pub(super) fn over(requests: usize, kills: usize, cuts: usize) -> Self {
        let mut dice = StdRng::seed_from_u64(requests as u64);
        let mut strikes = Vec::with_capacity(kills + cuts);
        for number in 0..kills + cuts {
            let at = dice.random_range(1..requests.max(2));
            let lasts = Duration::from_millis(dice.random_range(CUT_MS));
            strikes.push((at, if number < kills { Strike::Kill } else { Strike::Cut(lasts) }));
        }
        strikes.sort_unstable_by_key(|(at, _)| *at);
        Self(strikes)
    }

    /// Strikes as the load goes on, one node after the other; how often, once all are mended.
    ///
    /// # Errors
    /// A node that does not start again, or cannot be cut off.
    pub(super) async fn befall(
        self,
        fleet: &mut Fleet,
        mut requests: watch::Receiver<usize>,
    ) -> Result<Befell, CliError> {
        let mut befell = Befell::default();
        for (turn, (at, strike)) in self.0.into_iter().enumerate() {
            // What comes when the load is over would befall nobody.
            let is_due = requests.wait_for(|made| *made >= at).await.is_ok();
            if !is_due || requests.has_changed().is_err() {
                break;
            }
            let number = (turn % fleet.len()) as u64 + 1;
            match strike {
                Strike::Kill => {
                    fleet.kill(number).await?;
                    fleet.restart(number).await?;
                    befell.kills += 1;
                }
                Strike::Cut(lasts) => {
                    fleet.cut_off(number)?;
                    sleep(lasts).await;
                    fleet.let_back(number)?;
                    befell.cuts += 1;
                }
            }
        }
        Ok(befell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_wanted_and_within_the_load() {
        let Strikes(strikes) = Strikes::over(1000, 7, 5);
        assert!(strikes.is_sorted_by_key(|(at, _)| *at));
        assert!(strikes.iter().all(|(at, _)| (1..1000).contains(at)));
        let kills = strikes.iter().filter(|(_, strike)| *strike == Strike::Kill).count();
        assert_eq!((kills, strikes.len()), (7, 12));
        assert_eq!(Strikes::over(1, 1, 0).0.len(), 1, "a load of one request");
    }
}
