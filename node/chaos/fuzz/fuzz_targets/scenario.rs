//! Arbitrary scenarios: none panics, and what is taken is laid out the same for the same seed, in order,
//! within its time, and with no more nodes out than it allows.

#![no_main]

use fieldmesh_chaos::{Scenario, Timeline, read_scenario};
use fieldmesh_chaos_fuzz::text;
use libfuzzer_sys::fuzz_target;

/// Strikes of a timeline that is looked at: what looks at it goes through all of it for each of them.
const STRIKES_MAX: usize = 1000;

fuzz_target!(|data: &[u8]| {
    match read_scenario(text(data)) {
        Ok(read) => {
            let mut scenario = read.value;
            laid_out(&scenario);
            scenario.seed = u64::MAX;
            laid_out(&scenario);
        }
        Err(refused) => assert!(!refused.0.is_empty(), "nobody is told why"),
    }
});

fn laid_out(scenario: &Scenario) {
    let Ok(timeline) = Timeline::of(scenario, scenario.nodes) else { return };
    let Timeline(strikes) = &timeline;
    assert!(strikes.is_sorted_by_key(|strike| strike.at_ms));
    assert!(strikes.iter().zip(0..).all(|(strike, number)| strike.number == number));
    assert!(strikes.iter().all(|strike| strike.at_ms <= strike.until_ms));
    assert!(timeline.end_ms() <= scenario.duration_ms);
    if strikes.len() <= STRIKES_MAX {
        assert!(timeline.most_out(scenario.nodes).0 <= scenario.max_nodes);
        assert_eq!(Timeline::of(scenario, scenario.nodes).as_ref(), Ok(&timeline));
    }
}
