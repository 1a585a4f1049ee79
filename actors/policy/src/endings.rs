//! How a policy ends: never, and never without a person who is told.
//!
//! **Invariants:** a policy without errors has one repetition, which is its last step and tells a person
//! each time. **Not here:** what one step may say (`steps`).

use fieldmesh_domain::escalation::{Act, Step};
use fieldmesh_rules::reading::{Fields, Findings};

/// Everything that is wrong with the order of the steps; a step that has an error of its own is none.
pub(crate) fn check(
    policy: &Fields<'_, '_>,
    tables: &[Fields<'_, '_>],
    steps: &[Option<Step>],
    findings: &mut Findings<'_>,
) {
    let acts: Vec<Option<&Act>> =
        steps.iter().map(|step| step.as_ref().map(|step| &step.act)).collect();
    let place = |index: usize| tables.get(index).map_or(policy.place(), |fields| fields.place());
    let repeats = |act: &Option<&Act>| matches!(act, Some(Act::Repeat { .. }));
    match acts.iter().position(repeats) {
        Some(index) => {
            for unreachable in index + 1..acts.len() {
                let text = format!(
                    "step {} is never reached: step {} repeats before it; move the repetition to \
                     the end",
                    unreachable + 1,
                    index + 1
                );
                policy.error(findings, place(unreachable), text);
            }
            repetition(policy, &acts, index, place(index), findings);
        }
        None if acts.last().is_some_and(Option::is_some) => {
            let text = "the policy ends silently after its last step; add a step `repeat` that \
                        leads back to one that tells a person";
            policy.error(findings, place(acts.len() - 1), text.to_owned());
        }
        None => {}
    }
    distances(policy, &acts, &place, findings);
}

fn repetition(
    policy: &Fields<'_, '_>,
    acts: &[Option<&Act>],
    index: usize,
    at: usize,
    findings: &mut Findings<'_>,
) {
    let Some(Some(Act::Repeat { from })) = acts.get(index) else { return };
    let from = usize::from(*from);
    if from >= index {
        let text = format!(
            "step {} repeats from step {}, which is not before it; name one of the steps above",
            index + 1,
            from + 1
        );
        policy.error(findings, at, text);
        return;
    }
    let repeated = acts.get(from..index).unwrap_or_default();
    let reaches = |act: &Option<&Act>| match act {
        Some(Act::Tell { role, .. }) => role.is_person(),
        Some(Act::Offer { .. } | Act::Repeat { .. }) => false,
        // Its own error comes first.
        None => true,
    };
    if !repeated.iter().any(reaches) {
        let text = format!(
            "what step {} repeats tells no person, so that the policy can end silently; repeat from \
             a step that tells a lead, a dispatcher or a person",
            index + 1
        );
        policy.error(findings, at, text);
    }
}

/// Offers that lead to nobody new, or leave out those who are far away for ever.
fn distances(
    policy: &Fields<'_, '_>,
    acts: &[Option<&Act>],
    place: &impl Fn(usize) -> usize,
    findings: &mut Findings<'_>,
) {
    let mut offers = acts.iter().enumerate().filter_map(|(index, act)| match act {
        Some(Act::Offer { radius_m, .. }) => Some((index, radius_m.unwrap_or(u32::MAX))),
        _ => None,
    });
    let Some((mut last, mut widest)) = offers.next() else {
        if acts.iter().all(Option::is_some) {
            let text = "no step offers tickets to technicians; add a step `offer`";
            policy.error(findings, policy.place(), text.to_owned());
        }
        return;
    };
    for (index, radius_m) in offers {
        if radius_m < widest {
            let text = format!(
                "step {} asks technicians of a smaller distance than a step before it, who were \
                 asked already; widen it or leave it out",
                index + 1
            );
            policy.error(findings, place(index), text);
        }
        (last, widest) = (index, widest.max(radius_m));
    }
    if widest != u32::MAX {
        let text = format!(
            "technicians who are further away than {} km are never asked; leave out `radius_km` of \
             step {} to ask everybody in the end",
            widest / 1000,
            last + 1
        );
        findings.warn(place(last), None, text);
    }
}
