//! What a scenario says, and what is refused of it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::fault::{Direction, Fault, KINDS, Network, Pick};

const WHOLE: &str = r#"
name = "leader-loss"
hypothesis = "Every shard answers again."
seed = 42
duration = "60s"
target = "lab"
nodes = 5
shards = 4

[workload]
profile = "dispatch"
rate = 40
customers = 10
technicians = 5
keys = "zipf:0.99"
reads = 0
writes = 1

[[steady]]
id = "receipts"
query = "request.p99"
op = "<"
value = "800ms"
window = "10s"
mode = "continuous"
grace = "3s"

[[steady]]
id = "available"
query = "availability"
op = ">="
value = 0.99
mode = "edge"

[[fault]]
kind = "partition"
at = "10s"
for = "5s"
pick = "leader:3"
direction = "in"
flap = "500ms"

[[fault]]
kind = "clock"
at = "30s"
for = "5s"
pick = "random"
behind = "5m"

[abort]
when = ["availability < 0.5 for 20s", "leaderless for 10s", "promise.broken"]
max_nodes = 2

[check]
promises = ["I1", "once"]
recover_within = "5s"
"#;

fn refused(text: &str) -> String {
    match read_scenario(text) {
        Ok(read) => panic!("it was taken: {:?}", read.value),
        Err(refused) => refused.to_string(),
    }
}

#[test]
fn a_scenario_says_what_it_says() {
    let Read { value: scenario, warnings } = read_scenario(WHOLE).unwrap();
    assert_eq!(warnings, []);
    assert_eq!((scenario.nodes, scenario.shards, scenario.max_nodes), (5, 4, 2));
    assert_eq!(scenario.workload.keys, Keys::Zipf(0.99));
    assert_eq!((scenario.workload.reads, scenario.workload.writes), (0, 1));
    let probe = &scenario.steady[0];
    assert_eq!(
        (probe.query, probe.mode, probe.value),
        (Query::Request(99), Mode::Continuous, 800.0)
    );
    assert_eq!((probe.window_ms, probe.grace_ms), (10_000, Some(3_000)));
    assert_eq!(scenario.steady[1].comparison, Comparison::AtLeast);
    let partition = Network {
        direction: Direction::In,
        loss_percent: 100,
        flap_ms: Some(500),
        ..Network::default()
    };
    let [first, second] = scenario.faults.as_slice() else { panic!("{:?}", scenario.faults) };
    assert_eq!((first.fault, first.pick), (Fault::Network(partition), Pick::Leader(Some(3))));
    assert_eq!((second.fault, second.pick), (Fault::Clock { offset_ms: -300_000 }, Pick::Random));
    assert_eq!(scenario.promises, [Promise::Acknowledged, Promise::Once]);
    assert_eq!(scenario.aborts.len(), 3);
    // What is written into a history is read again as the same.
    let json = serde_json::to_string(&scenario).unwrap();
    assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), scenario);
}

#[test]
fn every_mistake_is_told_with_its_place_and_remedy() {
    for (from, to, told) in [
        ("seed = 42", "sead = 42", "`sead`"),
        ("duration = \"60s\"", "duration = \"60\"", "is no span"),
        ("duration = \"60s\"", "duration = \"7h\"", "out of range"),
        ("duration = \"60s\"", "", "lacks `duration`"),
        ("target = \"lab\"", "target = \"prod\"", "lab, staging or production"),
        ("nodes = 5", "nodes = 2", "not 3 to 7"),
        ("rate = 40", "rate = 0", "not 1 to"),
        ("zipf:0.99", "zipf:9", "`keys`"),
        ("dispatch", "tpcc", "`profile`"),
        ("request.p99", "request.p98", "nothing is measured as"),
        ("value = \"800ms\"", "value = 800", "a span"),
        ("value = 0.99", "value = \"1s\"", "a number"),
        ("op = \"<\"", "op = \"!=\"", "`op`"),
        ("mode = \"edge\"", "mode = \"ever\"", "`mode`"),
        ("id = \"available\"", "id = \"receipts\"", "another probe"),
        ("kind = \"partition\"", "kind = \"partitoin\"", "partition"),
        ("at = \"10s\"", "at = \"58s\"", "ends after the run"),
        ("at = \"10s\"", "every = \"2s\"", "before it is over"),
        ("at = \"10s\"", "at = \"10s\"\nevery = \"20s\"", "do not go together"),
        ("at = \"10s\"", "at = \"10s\"\nuntil = \"20s\"", "`until`"),
        ("pick = \"leader:3\"", "pick = \"leader:5\"", "no shard 5"),
        ("pick = \"leader:3\"", "pick = \"leader:0\"", "no shard 0"),
        ("value = 0.99", "value = nan", "a number"),
        ("window = \"10s\"", "window = \"2m\"", "longer than the run"),
        ("leaderless for 10s", "leaderless for 18446744073709551615ms", "no condition"),
        ("promises = [\"I1\", \"once\"]", "promises = []", "is empty"),
        ("\"once\"", "\"I5\"", "I5 `revoke`"),
        ("at = \"10s\"", "every = \"20s\"\nfrom = \"58s\"", "not over by `until`"),
        ("pick = \"leader:3\"", "pick = \"node:6\"", "no node 6"),
        ("pick = \"leader:3\"", "pick = \"somebody\"", "`pick`"),
        ("direction = \"in\"", "direction = \"up\"", "`direction`"),
        ("direction = \"in\"", "with = \"node:6\"", "no node 6"),
        ("direction = \"in\"", "with = \"leader:5\"", "no shard 5"),
        ("direction = \"in\"", "with = \"leader:3\"", "is the node of `pick` itself"),
        ("direction = \"in\"", "with = \"all\"", "leave it out"),
        ("direction = \"in\"", "with = \"node:1\"\nbetween = \"regions\"", "do not go together"),
        ("direction = \"in\"", "with = \"node:1\"\nlink = \"devices\"", "between nodes"),
        ("direction = \"in\"", "link = \"wifi\"", "mesh or devices"),
        ("behind = \"5m\"", "behind = \"5m\"\nwith = \"node:1\"", "no field `with`"),
        ("flap = \"500ms\"", "percent = 5", "`percent`"),
        ("behind = \"5m\"", "", "ahead"),
        ("behind = \"5m\"", "behind = \"5m\"\nahead = \"1s\"", "one of them"),
        ("leaderless for 10s", "leaderless", "no condition"),
        ("availability < 0.5", "availability < 5", "no condition"),
        ("\"once\"", "\"onse\"", "once"),
        ("\"I1\"", "\"I11\"", "I11"),
        ("recover_within = \"5s\"", "recover_within = \"5d\"", "is no span"),
    ] {
        assert!(WHOLE.contains(from), "{from}");
        let refused = refused(&WHOLE.replacen(from, to, 1));
        assert!(refused.contains(told), "{from} as {to}: {refused}");
        let line = refused.lines().nth(1).unwrap();
        let place: Vec<&str> = line.splitn(3, ':').collect();
        assert!(place[0].parse::<u32>().is_ok() && place[1].parse::<u32>().is_ok(), "{line}");
    }
}

#[test]
fn a_cluster_in_use_is_not_asked_for_what_it_cannot_have() {
    let at = |target: &str, kind: &str| {
        format!(
            "name = \"x\"\nduration = \"60s\"\ntarget = \"{target}\"\nworkload = {{ rate = 1 }}\n\
             fault = [{{ kind = \"{kind}\", at = \"1s\", for = \"5s\", pick = \"random\", {} }}]\n",
            if kind == "clock" { "ahead = \"5m\"" } else { "" },
        )
    };
    for (target, kind, told) in [
        ("staging", "kill", "whoever runs the nodes"),
        ("staging", "disk.lost", "whoever runs the nodes"),
        ("staging", "disk.flip", "whoever runs the nodes"),
        ("production", "pause", "whoever runs the nodes"),
        ("production", "clock", "serves customers"),
        ("production", "expire", "serves customers"),
        ("production", "drain", "no lease"),
    ] {
        assert!(refused(&at(target, kind)).contains(told), "{target} {kind}");
    }
    for (target, kind) in
        [("staging", "clock"), ("staging", "drain"), ("production", "partition"), ("lab", "kill")]
    {
        assert!(read_scenario(&at(target, kind)).is_ok(), "{target} {kind}");
    }
    let many = at("production", "partition") + "[abort]\nmax_nodes = 2\n";
    assert!(refused(&many).contains("leaves no quorum"));
}

#[test]
fn each_kind_of_fault_is_read_with_its_own_fields_and_in_its_range() {
    let read = |fields: &str| {
        let head = "name = \"x\"\nduration = \"60s\"\nworkload = { rate = 1 }\n";
        read_scenario(&format!("{head}fault = [{{ at = \"1s\", {fields} }}]\n"))
    };
    let lasting = "for = \"5s\", pick = \"all\"";
    for (fields, fault) in [
        ("kind = \"disk.broken\"", Fault::BrokenDisk),
        ("kind = \"disk.lost\"", Fault::PowerCut),
        ("kind = \"disk.flip\"", Fault::FlippedBits { bits: 1 }),
        ("kind = \"disk.flip\", bits = 64", Fault::FlippedBits { bits: 64 }),
        ("kind = \"drift\", ppm = -50000", Fault::Drift { ppm: -50_000 }),
        ("kind = \"actor.fail\", percent = 7", Fault::FailingActors { percent: 7 }),
        ("kind = \"actor.stall\", percent = 100", Fault::StalledActors { percent: 100 }),
        (
            "kind = \"actor.slow\", percent = 1, delay = \"2s\"",
            Fault::SlowActors { percent: 1, delay_ms: 2_000 },
        ),
        ("kind = \"cpu\", threads = 2", Fault::BusyProcessor { threads: 2 }),
        ("kind = \"memory\", mib = 512", Fault::HeldMemory { mib: 512 }),
    ] {
        let scenario = read(&format!("{fields}, {lasting}")).unwrap().value;
        assert_eq!(scenario.faults[0].fault, fault);
        assert!(fault.is_in_range());
        // Whom it befalls is to be said.
        assert!(read(&format!("{fields}, for = \"5s\"")).is_err(), "{fields}");
    }
    for fault in [Fault::Join, Fault::Rotate] {
        let kind = format!("kind = \"{}\"", fault.name());
        let planned = read(&kind).unwrap().value.faults[0];
        assert_eq!((planned.fault, planned.pick, planned.for_ms), (fault, Pick::Nobody, 0));
        assert!(read(&format!("{kind}, pick = \"all\"")).is_err(), "{kind}");
    }
    // Whose certificate ends goes on without one for a while.
    let expire = read("kind = \"expire\", for = \"5s\", devices = 2").unwrap().value;
    let planned = expire.faults[0];
    assert_eq!(planned.fault, Fault::Expire { devices: 2 });
    assert_eq!((planned.pick, planned.for_ms), (Pick::Nobody, 5_000));
    assert!(expire.promises.contains(&Promise::Revoked));
    assert!(read("kind = \"expire\"").is_err(), "how long is to be said");
    for fields in [
        "kind = \"drift\", ppm = 100001",
        "kind = \"drift\", ppm = 0",
        "kind = \"actor.fail\", percent = 0",
        "kind = \"actor.slow\", percent = 5",
        "kind = \"cpu\", threads = 65",
        "kind = \"memory\", mib = 16385",
        "kind = \"disk.flip\", bits = 0",
        "kind = \"disk.flip\", bits = 65",
        "kind = \"disk.lost\", bits = 1",
    ] {
        assert!(read(&format!("{fields}, {lasting}")).is_err(), "{fields}");
    }
}

#[test]
fn a_drift_of_nothing_is_refused_with_its_line_and_reason() {
    let text = "name = \"x\"\nduration = \"60s\"\nworkload = { rate = 1 }\n\
                [[fault]]\nkind = \"drift\"\nat = \"1s\"\nfor = \"5s\"\npick = \"all\"\nppm = 0\n";
    let refused = refused(text);
    assert!(refused.lines().any(|line| line.starts_with("9:")), "{refused}");
    assert!(refused.contains("does not drift"), "{refused}");
}

#[test]
fn a_fault_of_the_network_is_of_all_links_of_one_or_of_those_to_devices() {
    let read = |fields: &str| {
        let head = "name = \"x\"\nduration = \"60s\"\nworkload = { rate = 1 }\n";
        let when = "at = \"1s\", for = \"5s\"";
        read_scenario(&format!("{head}fault = [{{ {when}, {fields} }}]\n"))
    };
    let (one_way, cut) = (Direction::Out, Network { loss_percent: 100, ..Network::default() });
    let late = Network { delay_ms: 200, jitter_ms: 50, direction: one_way, ..Network::default() };
    let partition = "kind = \"partition\", pick = \"node:1\"";
    let delay = "kind = \"delay\", delay = \"200ms\", jitter = \"50ms\", direction = \"out\"";
    for (fields, fault) in [
        (partition.to_owned(), Fault::Network(cut)),
        (format!("{partition}, link = \"mesh\", between = \"nodes\""), Fault::Network(cut)),
        (
            format!("{partition}, with = \"node:2\""),
            Fault::Link { with: Pick::Node(2), network: cut },
        ),
        (
            format!("{partition}, with = \"leader:2\", link = \"mesh\""),
            Fault::Link { with: Pick::Leader(Some(2)), network: cut },
        ),
        (
            format!("{delay}, pick = \"leader\", with = \"leader\""),
            Fault::Link { with: Pick::Leader(None), network: late },
        ),
        (format!("{delay}, pick = \"all\", link = \"devices\""), Fault::Devices(late)),
    ] {
        let scenario = read(&fields).unwrap_or_else(|error| panic!("{fields}: {error}")).value;
        assert_eq!(scenario.faults[0].fault, fault, "{fields}");
        let json = serde_json::to_string(&scenario).unwrap();
        assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), scenario, "{fields}");
    }
    assert!(read(&format!("{partition}, with = \"node:1\"")).is_err(), "with itself");
}

#[test]
fn a_scenario_that_breaks_nothing_is_warned_of_and_one_without_load_is_refused() {
    let read =
        read_scenario("name = \"x\"\nduration = \"60s\"\nworkload = { rate = 1 }\n").unwrap();
    assert!(read.warnings[0].text.contains("nothing is broken"));
    assert!(refused("name = \"x\"\nduration = \"60s\"\n").contains("there is no [workload]"));
    assert!(refused(&"#".repeat(SCENARIO_BYTES_MAX + 1)).contains("shorten it"));
}

#[test]
fn a_scenario_that_leaves_a_shard_without_customers_is_warned_of() {
    let warnings = |customers: u32, check: &str| {
        let text = format!(
            "name = \"x\"\nduration = \"60s\"\nshards = 4\n\
             workload = {{ rate = 1, customers = {customers} }}\n\
             fault = [{{ kind = \"revoke\", at = \"10s\", devices = 2 }}]\n{check}"
        );
        read_scenario(&text).unwrap().warnings
    };
    assert_eq!(warnings(6, ""), []);
    assert!(warnings(5, "")[0].text.contains("I8 will not be known"));
    assert_eq!(warnings(5, "[check]\npromises = [\"I1\"]\n"), []);
}

#[test]
fn a_node_that_is_cut_off_has_to_fall_silent_long_before_it_hears_of_a_revocation() {
    let day = include_str!("../../../../tests/scenarios/revoked-in-a-partition.toml");
    let scenario = read_scenario(day).unwrap().value;
    let strikes = crate::Timeline::of(&scenario, scenario.nodes).unwrap().0;
    let of = |kind: &str| strikes.iter().find(|one| one.fault.name() == kind).unwrap();
    let (cut, revoked) = (of("partition"), of("revoke"));
    let settings = include_str!("../../../../cluster.toml");
    let silent = settings.lines().find_map(|line| line.strip_prefix("cut_off_after_s = "));
    let silent_ms = cut.at_ms + silent.unwrap().parse::<u64>().unwrap() * 1_000;
    let bound_ms = revoked.at_ms + scenario.revoked_within_ms;
    assert!(cut.at_ms < revoked.at_ms, "it does not hear of it");
    assert!(silent_ms + 10_000 < bound_ms, "there is time to notice it");
    assert!(bound_ms + 10_000 < cut.until_ms, "there is time to be caught");
}

#[test]
fn what_whoever_runs_it_cannot_do_is_refused_unless_the_node_is_to_do_it_to_itself() {
    let document = |more: &str| {
        format!(
            "name = \"x\"\nduration = \"60s\"\nworkload = {{ rate = 1 }}\n[[fault]]\nkind = \"delay\"\n\
             at = \"1s\"\nfor = \"5s\"\npick = \"all\"\ndelay = \"20ms\"\n{more}"
        )
    };
    let refuses = |fault: &Fault| (fault.name() == "delay").then(|| "no netem".to_owned());
    let read = |text: &str| read_scenario_where(text, &refuses);
    let refused = read(&document("")).unwrap_err().to_string();
    for word in ["\n5:", "`delay`", "no netem", "plane = \"inside\""] {
        assert!(refused.contains(word), "{word}: {refused}");
    }
    // Whoever can do everything is asked for the same.
    assert!(!read_scenario(&document("")).unwrap().value.faults[0].inside);
    let inside = read(&document("plane = \"inside\"\n")).unwrap().value;
    assert!(inside.faults[0].inside);
    let json = serde_json::to_string(&inside).unwrap();
    assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), inside);
    assert!(read(&document("plane = \"kernel\"\n")).unwrap_err().to_string().contains("`plane`"));

    let chance = |plane: &str| {
        format!(
            "name = \"x\"\nduration = \"60s\"\nworkload = {{ rate = 1 }}\n[random]\n\
             pool = [\"kill\", \"delay\"]\n{plane}"
        )
    };
    assert!(read(&chance("")).unwrap_err().to_string().contains("\n5:"));
    let random = read(&chance("plane = \"inside\"\n")).unwrap().value.random;
    assert!(random.unwrap().inside);
    let text = document("").replacen("delay\"", "kill\"", 1).replacen("delay = \"20ms\"\n", "", 1);
    assert!(read(&text).is_ok());
    // What ends its process is done by whoever started it.
    assert!(read(&format!("{text}plane = \"inside\"\n")).is_err());
}

#[test]
fn chance_says_what_it_does_not_choose_and_how_long_a_disk_takes() {
    let chance = |head: &str, rest: &str| {
        format!(
            "name = \"x\"\nduration = \"60s\"\n{head}workload = {{ rate = 1 }}\n[random]\n{rest}\n"
        )
    };
    for kind in ["expire", "revoke"] {
        let text = refused(&chance("", &format!("pool = [\"{kind}\"]")));
        for word in [kind, "uses devices up", "[[fault]]", "disk.flip"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
    assert!(refused(&chance("", "pool = [\"kil\"]")).contains("kill"));
    for kind in ["disk.lost", "disk.flip"] {
        let pool = format!("pool = [\"delay\", \"{kind}\"]");
        assert!(read_scenario(&chance("", &pool)).is_ok(), "{kind}");
        assert!(read_scenario(&chance("", &format!("{pool}\nshift = \"10s\""))).is_ok(), "{kind}");
        let short = refused(&chance("", &format!("{pool}\nshift = \"9s\"")));
        assert!(short.contains(kind) && short.contains("`shift` of 10s"), "{short}");
        let there = refused(&chance("target = \"staging\"\n", &pool));
        assert!(there.contains(kind) && there.contains("processes"), "{there}");
    }
}

#[test]
fn chance_is_told_of_which_links_faults_of_the_network_may_be() {
    let chance = |pool: &str, links: &str| {
        format!(
            "name = \"x\"\nduration = \"60s\"\nworkload = {{ rate = 1 }}\n[random]\n\
             pool = [{pool}]\nlinks = [{links}]\n"
        )
    };
    let all = read_scenario(&chance("\"kill\", \"loss\"", "\"nodes\", \"devices\"")).unwrap().value;
    assert_eq!(all.random.as_ref().unwrap().links, ["nodes", "devices"]);
    let json = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), all);
    for (pool, links, told) in [
        ("\"partition\"", "\"devices\"", "nodes or with"),
        ("\"loss\"", "\"with\"", "nodes or devices"),
        ("\"loss\"", "\"mesh\"", "nodes, with, devices"),
        ("\"loss\"", "", "`links` is empty"),
    ] {
        let text = refused(&chance(pool, links));
        assert!(text.contains(told), "{told}: {text}");
    }
    // Whoever runs it may be able to do one of them and not the other.
    let refuses = |fault: &Fault| {
        let is_far = matches!(fault, Fault::Devices(_));
        is_far.then(|| "devices are elsewhere".to_owned())
    };
    let read = |links: &str| read_scenario_where(&chance("\"loss\"", links), &refuses);
    assert!(read("\"nodes\"").is_ok());
    assert!(read("\"nodes\", \"devices\"").unwrap_err().to_string().contains("elsewhere"));
}

/// What a kind of fault needs besides when and whom.
fn own_fields(kind: &str) -> &'static str {
    match kind {
        "delay" | "disk.slow" => "delay = \"50ms\"\n",
        "loss" | "duplicate" | "reorder" | "corrupt" | "actor.fail" | "actor.stall" => {
            "percent = 10\n"
        }
        "actor.slow" => "percent = 10\ndelay = \"50ms\"\n",
        "bandwidth" => "rate_kbit = 2000\n",
        "disk.flip" => "bits = 4\n",
        "clock" => "ahead = \"5m\"\n",
        "drift" => "ppm = 1000\n",
        "cpu" => "threads = 2\n",
        "memory" => "mib = 64\n",
        "revoke" | "expire" => "devices = 4\n",
        _ => "",
    }
}

/// One fault of a kind; it begins in line 6, and its kind is in line 7.
fn with_one(kind: &str) -> String {
    let at_once = ["restart", "upgrade", "herd", "revoke", "join", "rotate"].contains(&kind);
    let nobodys = ["revoke", "expire", "join", "rotate"].contains(&kind);
    let lasts = if at_once { "" } else { "for = \"5s\"\n" };
    let pick = if nobodys { "" } else { "pick = \"node:2\"\n" };
    format!(
        "name = \"x\"\nduration = \"60s\"\n[workload]\nrate = 1\ncustomers = 4\n[[fault]]\n\
         kind = \"{kind}\"\nat = \"1s\"\n{lasts}{pick}{}",
        own_fields(kind)
    )
}

#[test]
fn whatever_is_wrong_with_a_fault_is_told_with_its_line_for_each_kind() {
    for (kind, _) in KINDS {
        let whole = with_one(kind);
        let read = read_scenario(&whole);
        let read = read.unwrap_or_else(|refused| panic!("{kind}: {refused}")).value;
        assert_eq!((read.faults.len(), read.faults[0].line), (1, 7), "{kind}");
        let last = whole.lines().count();
        let is_told = |text: &str, told: &str, lines: std::ops::RangeInclusive<usize>| {
            let refused = refused(text);
            let line = refused.lines().nth(1).and_then(|first| first.split(':').next());
            let line: usize = line.unwrap().parse().unwrap();
            assert!(refused.contains(told) && lines.contains(&line), "{kind}: {refused}");
        };
        let unknown = format!("{whole}colour = 1\n");
        is_told(&unknown, "`colour`", last + 1..=last + 1);
        let late = whole.replacen("at = \"1s\"", "at = \"61s\"", 1);
        is_told(&late, "out of range", 8..=8);
        if whole.contains("for = ") {
            let long = whole.replacen("at = \"1s\"", "at = \"58s\"", 1);
            is_told(&long, "ends after the run", 6..=last);
        }
        match *kind {
            "revoke" | "expire" => {
                let more = whole.replacen("devices = 4", "devices = 5", 1);
                is_told(&more, "5 devices", last..=last);
                // One with another.
                let again = format!("{whole}{}", &whole[whole.find("[[fault]]").unwrap()..]);
                let twice = last + (last - 5);
                is_told(&again, "8 devices", twice..=twice);
            }
            "join" | "rotate" => {
                let whom = format!("{whole}pick = \"node:1\"\n");
                is_told(&whom, "leave out `pick`", 6..=last + 1);
            }
            _ => {
                let pick = whole.lines().position(|line| line.starts_with("pick")).unwrap() + 1;
                let nobody = whole.replacen("node:2", "node:9", 1);
                is_told(&nobody, "no node 9", pick..=pick);
                let shard = whole.replacen("node:2", "leader:99", 1);
                is_told(&shard, "no shard 99", pick..=pick);
            }
        }
        // Whoever runs it lacks what it takes.
        let cannot = read_scenario_where(&whole, &|_| Some("this machine lacks it".to_owned()));
        let cannot = cannot.unwrap_err().to_string();
        assert!(cannot.contains("\n7:") && cannot.contains("this machine lacks it"), "{cannot}");
    }
}
