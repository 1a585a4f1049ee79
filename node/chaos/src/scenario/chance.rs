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
    span::span,
};

/// What chance may choose, with what it then is.
const POOL: &[&str] = &[
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
    "clock",
    "drift",
    "actor.fail",
    "actor.slow",
    "actor.stall",
    "cpu",
    "herd",
];

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
            let meant = meant(kind, POOL.iter().copied());
            let (kind, known) = (kind.escape_debug(), POOL.join(", "));
            let text = format!("chance does not choose `{kind}`{meant}; it may choose of {known}");
            fields.error(findings, at.start, text);
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
    let quiet = number(&fields, findings, "quiet", 25, (0, 90));
    let from_ms = span(&fields, findings, "from", Some(0), whole)?;
    let until_ms = span(&fields, findings, "until", Some(head.duration_ms), whole)?;
    if from_ms + shift_ms > until_ms {
        let text = "no `shift` fits between `from` and `until`; change one of them";
        fields.error(findings, fields.place(), text.to_owned());
    }
    let quiet_percent = u32::try_from(quiet).unwrap_or(25);
    Some(Random { pool, quiet_percent, shift_ms, from_ms, until_ms, inside })
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
                assert_eq!(by_chance(kind, dice).name(), *kind, "{dice}");
            }
        }
    }
}
