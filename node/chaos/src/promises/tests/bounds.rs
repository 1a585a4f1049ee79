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

fn outbox(value: u64) -> What {
    What::Sample { node: 1, name: "outbox".into(), value, bound: 512 }
}

fn missing(node: u64, why: Option<&str>) -> What {
    What::Unsampled { node, name: "outbox".into(), why: why.map(str::to_owned) }
}

#[test]
fn a_sample_that_could_not_be_had_is_none_that_was_within_its_bound() {
    let late = || missing(1, Some("no answer"));
    let of = |told: Told| checked(Promise::Bounds, &told.whole());
    let one = of(Told::new().at(1, outbox(5)).at(2, late()).at(3, late()).at(4, outbox(5)));
    assert_eq!((one.verdict, one.checked), (Verdict::Kept, 2), "it did not grow meanwhile");
    let last = of(Told::new().at(1, outbox(5)).at(2, late()));
    assert_eq!(last.verdict, Verdict::Unknown);
    assert!(last.why.contains("outbox") && last.why.contains("no answer"), "{}", last.why);
    let gap = (2..5).fold(Told::new().at(1, outbox(5)), |told, ms| told.at(ms, late()));
    assert_eq!(of(gap.at(5, outbox(5))).verdict, Verdict::Unknown, "three in a row");
    let by_turns = (2..9).fold(Told::new().at(1, outbox(5)), |told, ms| {
        told.at(ms, if ms % 2 == 0 { outbox(5) } else { missing(2, Some("no answer")) })
    });
    assert_eq!(of(by_turns).verdict, Verdict::Unknown, "three in a row of node 2");
    assert_eq!(of(Told::new().at(1, late()).at(2, outbox(513))).verdict, Verdict::Broken);
}

#[test]
fn what_a_release_of_before_does_not_show_is_named_and_nothing_else() {
    let resident = What::Sample { node: 1, name: RESIDENT.into(), value: 1, bound: 2 };
    let older = Told::new().at(1, resident.clone()).at(1, missing(1, None));
    let older = older.whole();
    let finding = checked(Promise::Bounds, &older);
    assert_eq!(
        (finding.verdict, finding.why.as_str()),
        (Verdict::Kept, crate::promises::bounds::NOT_SHOWN)
    );
    let verdicts: Vec<(String, Verdict)> =
        bounded(&older).into_iter().map(|one| (one.name, one.verdict)).collect();
    let wanted = [("outbox", Verdict::Unknown), (RESIDENT, Verdict::Kept)];
    assert_eq!(verdicts, wanted.map(|(name, verdict)| (name.to_owned(), verdict)));
    assert_eq!(
        verdict(Promise::Bounds, &Told::new().at(1, missing(1, None)).whole()),
        Verdict::Unknown
    );
    let all = Told::new().at(1, resident).at(1, outbox(1)).whole();
    assert_eq!(checked(Promise::Bounds, &all).why, "", "all of it was looked at");
    let elsewhere = checked(Promise::Bounds, &Told::new().at(1, outbox(1)).whole());
    assert_eq!(elsewhere.verdict, Verdict::Kept);
    assert!(elsewhere.why.contains("memory and open files"), "{}", elsewhere.why);
}

#[test]
fn of_each_figure_the_sample_that_came_nearest_to_its_bound_is_shown() {
    let of = |node, value, bound| What::Sample { node, name: "outbox".into(), value, bound };
    let told = Told::new().at(1, of(1, 90, 100)).at(2, of(2, 95, 200)).at(3, of(1, 80, 100));
    let all = bounded(&told.whole());
    let [one] = &all[..] else { panic!("{all:?}") };
    assert_eq!(one.most, Some(Most { node: 1, value: 90, bound: 100, at_ms: 1 }));
    assert_eq!((one.verdict, one.samples, one.missed), (Verdict::Kept, 3, 0));
    let cut = bounded(&Told::new().at(1, of(1, 1, 2)).cut());
    assert_eq!(cut[0].verdict, Verdict::Unknown, "what came later is not known");
}
