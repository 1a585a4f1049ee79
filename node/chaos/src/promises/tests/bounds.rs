//! I10 by samples of a node that is as it was, and of one that leaks.

use super::*;

const MIB: u64 = 1 << 20;

fn scenario(more: &str) -> crate::Scenario {
    let text = format!(
        "name = \"x\"\nduration = \"60s\"\nworkload = {{ rate = 30, reads = 10, writes = 5 }}\n\
         fault = [{{ kind = \"kill\", at = \"10s\", for = \"1s\", pick = \"node:1\" }}{more}]\n"
    );
    read_scenario(&text).unwrap().value
}

/// A minute of samples, by their seconds, of a node that began with 80 MiB and 96 files.
fn sampled(limits: Limits, held: impl Fn(u64) -> (u64, u64)) -> Verdict {
    let told = (0..60).fold(Told::new(), |told, second| {
        let (resident, files) = held(second);
        let sample = |name: &str, value, bound| What::Sample {
            node: 1,
            name: name.to_owned(),
            value,
            bound,
        };
        let told = told.at(second * 1_000, sample("open_files", files, limits.open_files));
        let resident = sample("resident_bytes", resident, limits.resident_bytes);
        told.at(second * 1_000, resident)
    });
    verdict(Promise::Bounds, &told.whole())
}

#[test]
fn what_leaks_is_found_within_a_minute_and_what_fills_is_not() {
    let limits = Limits::of(&scenario(""), (80 * MIB, 96));
    let fills = |second: u64| ((80 + 4 * second.min(50)) * MIB, 96 + second % 10);
    assert_eq!(sampled(limits, fills), Verdict::Kept);
    let leaks = |second: u64| ((80 + 10 * second) * MIB, 96);
    assert_eq!(sampled(limits, leaks), Verdict::Broken, "ten megabytes a second");
    // One of each request, of which a third is a node's.
    let open = |second: u64| (80 * MIB, 96 + 10 * second);
    assert_eq!(sampled(limits, open), Verdict::Broken);
    // Every read and write is stuck at one node until it is given up.
    let stuck = |second: u64| (80 * MIB, 96 + 15 * second.min(20));
    assert_eq!(sampled(limits, stuck), Verdict::Kept);
}

#[test]
fn what_a_scenario_has_a_node_hold_is_not_its_own() {
    let memory =
        ", { kind = \"memory\", at = \"20s\", for = \"9s\", pick = \"leader\", mib = 512 }";
    let (usual, more) = (scenario(""), scenario(memory));
    let begun = (80 * MIB, 96);
    let (usual, more) = (Limits::of(&usual, begun), Limits::of(&more, begun));
    assert_eq!(more.resident_bytes, usual.resident_bytes + 512 * MIB);
    assert_eq!(more.open_files, usual.open_files);
}

#[test]
fn however_it_began_there_is_a_bound() {
    let of = |begun| Limits::of(&scenario(""), begun);
    assert_eq!(of((0, 0)), Limits { resident_bytes: 1 << 30, open_files: 65_536 });
    assert_eq!(of((u64::MAX, u64::MAX)), Limits { resident_bytes: 1 << 30, open_files: 65_536 });
}
