//! What chance may break: `[random]`.
//!
//! **Invariant:** what chance chose is in range, and the same for the same number. **Not here:** when it comes
//! (`timeline`).

use fieldmesh_rules::reading::{Fields, Findings, meant};

use super::{
    LIST_MAX,
    faults::{Refuses, allowed, is_inside, refused},
    head::{Head, Random, number, table},
    links::Links,
};
use crate::{
    fault::{Direction, Fault, Network, Pick},
    span::{span, written},
};

/// What chance may choose, with what it then is.
pub(crate) const POOL: &[&str] = &[
    "partition",
    "delay",
    "loss",
    "duplicate",
    "reorder",
    "corrupt",
    "kill",
    "pause",
    "drain",
    "restart",
    "disk.slow",
    "disk.lost",
    "disk.flip",
    "clock",
    "drift",
    "actor.fail",
    "actor.slow",
    "actor.stall",
    "cpu",
    "herd",
];
/// Links that a fault of the network may be of, where a scenario lets chance choose among them.
const LINKS: &[&str] = &["nodes", "with", "devices"];
/// A shift in which a node is ended, is started with what its disk has left, maybe once more when that is whole again,
/// and catches up.
const STARTS_MS: u64 = 10_000;
/// Several files are met; of many more no node would start.
const BITS_BY_CHANCE: u64 = 16;

/// Faults by chance, where they are wanted.
pub(super) fn random(
    document: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    head: &Head,
    refuses: Refuses<'_>,
) -> Option<Random> {
    let fields = table(document, findings, "random")?;
    fields.only(findings, &["pool", "links", "quiet", "shift", "from", "until", "plane"]);
    let inside = is_inside(&fields, findings)?;
    let links = named_links(&fields, findings)?;
    let mut pool = Vec::new();
    for value in fields.list(findings, "pool", LIST_MAX)? {
        let Some((at, kind)) = fields.as_string(findings, value, "pool") else { continue };
        if !POOL.contains(&kind) {
            fields.error(findings, at.start, not_chosen(kind));
            continue;
        }
        let chosen = chosen_links(kind, &links).into_iter();
        let samples: Vec<Fault> = chosen.map(|links| fault(kind, links, 0)).collect();
        match samples.first() {
            // What a target may have does not hang on links.
            Some(sample) => allowed(sample, at.start, &fields, findings, head),
            None => fields.error(findings, at.start, no_links(kind)),
        }
        let first = samples.iter().filter(|_| !inside).find(|sample| refuses(sample).is_some());
        if let Some(sample) = first {
            refused(sample, refuses(sample), at.start, &fields, findings);
        }
        pool.push(kind.to_owned());
    }
    if pool.is_empty() {
        fields.error(findings, fields.place(), "`pool` is empty; name faults in it".into());
    }
    let whole = (0, head.duration_ms);
    let shift_ms = span(&fields, findings, "shift", Some(15_000), (2_000, 600_000))?;
    if let Some(kind) = pool.iter().find(|kind| shift_ms < STARTS_MS && is_of_a_disk(kind)) {
        let least = written(STARTS_MS);
        let text = format!("`{kind}` needs a `shift` of {least}: a node starts in it, and again");
        fields.error(findings, fields.place(), text);
    }
    let quiet = number(&fields, findings, "quiet", 25, (0, 90));
    let from_ms = span(&fields, findings, "from", Some(0), whole)?;
    let until_ms = span(&fields, findings, "until", Some(head.duration_ms), whole)?;
    if from_ms + shift_ms > until_ms {
        let text = "no `shift` fits between `from` and `until`; change one of them";
        fields.error(findings, fields.place(), text.to_owned());
    }
    let quiet_percent = u32::try_from(quiet).unwrap_or(25);
    let line = findings.place(fields.place()).line;
    Some(Random { pool, links, quiet_percent, shift_ms, from_ms, until_ms, inside, line })
}

/// Those that the scenario names; none where it does not say, and then they are those to all other nodes.
fn named_links(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    if fields.value("links").is_none() {
        return Some(Vec::new());
    }
    let mut links = Vec::new();
    for value in fields.list(findings, "links", LIST_MAX)? {
        let Some((at, name)) = fields.as_string(findings, value, "links") else { continue };
        if LINKS.contains(&name) {
            links.push(name.to_owned());
        } else {
            let (name, known) = (name.escape_debug(), LINKS.join(", "));
            let text = format!("no links are `{name}`; `links` has {known}");
            fields.error(findings, at.start, text);
        }
    }
    if links.is_empty() {
        let text = "`links` is empty; name some, or leave it out for those to all other nodes";
        fields.error(findings, fields.place(), text.to_owned());
    }
    Some(links)
}

/// The links that a fault of this kind may be of, among those that the scenario names.
///
/// One link may have as little as a datagram a second: what has something of each of them is felt there, a few of a
/// hundred may be none. Devices are wherever they happen to be, so that all links to devices are meant; and a node that
/// none of them reaches is out, so that these are not cut.
fn chosen_links(kind: &str, links: &[String]) -> Vec<Links> {
    let of = |name: &str| match (name, kind) {
        ("with", "partition" | "delay" | "reorder") => Some(Links::With(Pick::Random)),
        ("devices", "delay" | "loss" | "duplicate" | "reorder" | "corrupt") => Some(Links::Devices),
        ("nodes", _) => Some(Links::Nodes),
        _ => None,
    };
    if links.is_empty() || !matches!(by_chance(kind, &[], 0), Fault::Network(_)) {
        return vec![Links::Nodes];
    }
    links.iter().filter_map(|name| of(name)).collect()
}

fn no_links(kind: &str) -> String {
    let only = match kind {
        "partition" => "nodes or with",
        "delay" | "reorder" => "nodes, with or devices",
        _ => "nodes or devices",
    };
    format!("by chance `{kind}` is of {only}; add one of them to `links`, or leave the kind out")
}

/// Why it is not in the pool, and what to do.
fn not_chosen(kind: &str) -> String {
    let why = match kind {
        // Each takes a device of its own for good, and a run that has to look at refused devices and has none, or none
        // that asked meanwhile, says nothing.
        "expire" | "revoke" => {
            ": it uses devices up, and whether I5 has something to look at would hang on chance; \
             add it as a [[fault]]"
                .to_owned()
        }
        _ => meant(kind, POOL.iter().copied()),
    };
    let (kind, known) = (kind.escape_debug(), POOL.join(", "));
    format!("chance does not choose `{kind}`{why}; it may choose of {known}")
}

/// Whether a node that it befalls has to live with what is left of its disk.
fn is_of_a_disk(kind: &str) -> bool {
    matches!(by_chance(kind, &[], 0), Fault::PowerCut | Fault::FlippedBits { .. })
}

/// What a fault that chance chose is, of links that the scenario names; `dice` makes it harder or softer.
pub(crate) fn by_chance(kind: &str, links: &[String], dice: u64) -> Fault {
    if links.is_empty() {
        return fault(kind, Links::Nodes, dice);
    }
    let chosen = chosen_links(kind, links);
    // What the figures hang on is as often of each.
    let at = usize::try_from(dice / 60 % chosen.len().max(1) as u64).unwrap_or(0);
    fault(kind, chosen.get(at).copied().unwrap_or(Links::Nodes), dice)
}

fn fault(kind: &str, links: Links, dice: u64) -> Fault {
    let network = Network {
        direction: [Direction::Both, Direction::In, Direction::Out][(dice % 3) as usize],
        ..Network::default()
    };
    let percent = 1 + dice % 20;
    match kind {
        "partition" => links.of(Network {
            loss_percent: 100,
            flap_ms: dice.is_multiple_of(4).then_some(700),
            ..network
        }),
        "delay" => {
            let delay_ms = 10 + dice % 190;
            links.of(Network { delay_ms, jitter_ms: delay_ms / 4, ..network })
        }
        "loss" => links.of(Network { loss_percent: percent, ..network }),
        "duplicate" => links.of(Network { duplicate_percent: percent, ..network }),
        "reorder" => links.of(Network { delay_ms: 20, reorder_percent: percent, ..network }),
        "corrupt" => links.of(Network { corrupt_percent: percent, ..network }),
        "kill" => Fault::Kill,
        "pause" => Fault::Pause,
        "drain" => Fault::Drain,
        "restart" => Fault::Restart,
        "herd" => Fault::Herd,
        "disk.slow" => Fault::SlowDisk { delay_ms: 5 + dice % 100 },
        "disk.lost" => Fault::PowerCut,
        "disk.flip" => Fault::FlippedBits { bits: 1 + dice % BITS_BY_CHANCE },
        "drift" => {
            let ppm = 1_000 * (1 + dice % 50) as i64;
            Fault::Drift { ppm: if dice.is_multiple_of(2) { ppm } else { -ppm } }
        }
        "actor.fail" => Fault::FailingActors { percent },
        "actor.slow" => Fault::SlowActors { percent, delay_ms: 20 + dice % 200 },
        "actor.stall" => Fault::StalledActors { percent },
        "cpu" => Fault::BusyProcessor { threads: 1 + dice % 2 },
        _ => {
            let ms = 1_000 * (1 + dice % 600) as i64;
            Fault::Clock { offset_ms: if dice.is_multiple_of(2) { ms } else { -ms } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_makes_of_every_kind_that_kind() {
        let all = LINKS.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for links in [Vec::new(), all] {
            for (kind, dice) in POOL.iter().flat_map(|kind| (0..1_000).map(move |at| (kind, at))) {
                let fault = by_chance(kind, &links, dice);
                assert_eq!(fault.name(), *kind, "{dice}");
                assert!(fault.is_in_range(), "{fault:?}");
            }
        }
    }

    #[test]
    fn chance_takes_every_link_that_a_kind_may_be_of_and_no_other() {
        let named =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = named(LINKS);
        let links_of = |kind: &str, links: &[String]| {
            let name = |dice| match by_chance(kind, links, dice) {
                Fault::Network(_) => "nodes",
                Fault::Link { with: Pick::Random, .. } => "with",
                Fault::Devices(_) => "devices",
                other => panic!("{other:?}"),
            };
            let all: std::collections::BTreeSet<&str> = (0..1_000).map(name).collect();
            all.into_iter().collect::<Vec<_>>()
        };
        for (kind, wanted) in [
            ("partition", &["nodes", "with"][..]),
            ("delay", &["devices", "nodes", "with"]),
            ("loss", &["devices", "nodes"]),
            ("duplicate", &["devices", "nodes"]),
            ("reorder", &["devices", "nodes", "with"]),
            ("corrupt", &["devices", "nodes"]),
        ] {
            assert_eq!(links_of(kind, &all), wanted, "{kind}");
            assert_eq!(links_of(kind, &[]), ["nodes"], "{kind}: as before");
        }
        assert_eq!(links_of("partition", &named(&["with"])), ["with"]);
        for dice in 0..1_000 {
            assert_eq!(by_chance("kill", &all, dice), Fault::Kill);
        }
    }
}
