//! What chance may break: `[random]`.
//!
//! **Invariant:** what chance chose is in range, and the same for the same number. **Not here:** when it comes
//! (`timeline`).

use fieldmesh_rules::reading::{Fields, Findings, meant};

use super::{
    LIST_MAX,
    faults::{Refuses, allowed, is_inside, refused},
    head::{Head, Random, number, table},
};
use crate::{
    fault::{Direction, Fault, Network},
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
    fields.only(findings, &["pool", "quiet", "shift", "from", "until", "plane"]);
    let inside = is_inside(&fields, findings)?;
    let mut pool = Vec::new();
    for value in fields.list(findings, "pool", LIST_MAX)? {
        let Some((at, kind)) = fields.as_string(findings, value, "pool") else { continue };
        if !POOL.contains(&kind) {
            fields.error(findings, at.start, not_chosen(kind));
            continue;
        }
        let sample = by_chance(kind, 0);
        let why = if inside { None } else { refuses(&sample) };
        allowed(&sample, at.start, &fields, findings, head);
        refused(&sample, why, at.start, &fields, findings);
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
    Some(Random { pool, quiet_percent, shift_ms, from_ms, until_ms, inside, line })
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
    matches!(by_chance(kind, 0), Fault::PowerCut | Fault::FlippedBits { .. })
}

/// What a fault that chance chose is; `dice` makes it harder or softer.
pub(crate) fn by_chance(kind: &str, dice: u64) -> Fault {
    let network = Network {
        direction: [Direction::Both, Direction::In, Direction::Out][(dice % 3) as usize],
        ..Network::default()
    };
    let percent = 1 + dice % 20;
    match kind {
        "partition" => Fault::Network(Network {
            loss_percent: 100,
            flap_ms: dice.is_multiple_of(4).then_some(700),
            ..network
        }),
        "delay" => {
            let delay_ms = 10 + dice % 190;
            Fault::Network(Network { delay_ms, jitter_ms: delay_ms / 4, ..network })
        }
        "loss" => Fault::Network(Network { loss_percent: percent, ..network }),
        "duplicate" => Fault::Network(Network { duplicate_percent: percent, ..network }),
        "reorder" => Fault::Network(Network { delay_ms: 20, reorder_percent: percent, ..network }),
        "corrupt" => Fault::Network(Network { corrupt_percent: percent, ..network }),
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
        for kind in POOL {
            for dice in 0..1_000 {
                let fault = by_chance(kind, dice);
                assert_eq!(fault.name(), *kind, "{dice}");
                assert!(fault.is_in_range(), "{fault:?}");
            }
        }
    }
}
