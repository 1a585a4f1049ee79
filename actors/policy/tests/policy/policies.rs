//! Escalation policies: which one a ticket has, and what is wrong with those that would end.

use fieldmesh_domain::escalation::{Act, Role};
use fieldmesh_policy::{Recipients, Ticket, read_policies};
use proptest::prelude::*;

use super::{POLICIES, assert_all, found};

/// A document of one policy with these steps.
fn document(steps: &str) -> String {
    format!("[[policy]]\nname = \"p\"\n{steps}")
}

fn findings(steps: &str) -> Vec<String> {
    found(read_policies(&document(steps), None))
}

const OFFER: &str = "[[policy.step]]\noffer = { technicians = 1 }\nwithin = \"1m\"\n";
const TELL: &str = "[[policy.step]]\ntell = { lead = \"l\" }\nwithin = \"1m\"\n";

#[test]
fn the_example_is_without_findings_and_fits_tickets() {
    let read = read_policies(POLICIES, None).unwrap();
    assert_eq!(read.warnings, []);
    let policies = read.value;
    assert_eq!(policies.offers_per_minute, Some(6));
    let name = |priority, routed| {
        let ticket = Ticket { priority, category: 1, tier: 2 };
        policies.policy_of(&ticket, routed, 7).map(|policy| (policy.name, policy.version))
    };
    assert_eq!(name(2, None), Some(("urgent".into(), 7)));
    assert_eq!(name(3, None), Some(("standard".into(), 7)));
    assert_eq!(name(3, Some("urgent")), Some(("urgent".into(), 7)));
    // A rule that routes to what is not there any more leaves the ticket where its lists lead.
    assert_eq!(name(3, Some("gone")), Some(("standard".into(), 7)));
    let urgent = policies.entry("urgent").unwrap().policy(7);
    assert_eq!(urgent.within_s(0, 1), Some(60));
    assert_eq!(urgent.within_s(0, 5), Some(120));
    assert_eq!(urgent.person(), Some((Role::Lead, "north-lead")));
    assert_eq!(urgent.steps.last().unwrap().act, Act::Repeat { from: 3 });
}

#[test]
fn a_policy_that_can_end_silently_is_refused() {
    let end = findings(&format!("{OFFER}{TELL}"));
    assert_all(&end, &[("7:1: error: policy `p`: ", "ends silently after its last step")]);
    let nobody = findings(&format!("{OFFER}{TELL}[[policy.step]]\nrepeat = {{ from = 3 }}\n"));
    assert_all(&nobody, &[("10:1: error: ", "repeats from step 3, which is not before it")]);
    let unheard = findings(&format!(
        "{TELL}{OFFER}[[policy.step]]\ntell = {{ webhook = \"w\" }}\nwithin = \"1m\"\n\
         [[policy.step]]\nrepeat = {{ from = 2 }}\n"
    ));
    assert_all(&unheard, &[("13:1: error: ", "what step 4 repeats tells no person")]);
    assert_all(
        &found(read_policies("[[policy]]\nname = \"p\"\n", None)),
        &[
            ("2:1: error: policy `p`: ", "has no steps"),
            ("2:1: error: policy `p`: ", "no step offers"),
        ],
    );
    let quiet = findings(&format!("{TELL}[[policy.step]]\nrepeat = {{ from = 1 }}\n"));
    assert_all(&quiet, &[("2:1: error: ", "no step offers tickets to technicians")]);
}

#[test]
fn steps_that_are_never_reached_are_refused() {
    let after = findings(&format!(
        "{OFFER}{TELL}[[policy.step]]\nrepeat = {{ from = 2 }}\n{TELL}[[policy.step]]\nrepeat = {{ from = 1 }}\n"
    ));
    assert_all(
        &after,
        &[
            ("12:1: error: ", "step 4 is never reached: step 3 repeats before it"),
            ("15:1: error: ", "step 5 is never reached"),
        ],
    );
    let narrower = findings(&format!(
        "{OFFER}[[policy.step]]\noffer = {{ technicians = 1, radius_km = 5 }}\nwithin = \"1m\"\n{TELL}\
         [[policy.step]]\nrepeat = {{ from = 3 }}\n"
    ));
    assert_all(&narrower, &[("7:1: error: ", "step 2 asks technicians of a smaller distance")]);
    let near = findings(&format!(
        "[[policy.step]]\noffer = {{ technicians = 1, radius_km = 5 }}\nwithin = \"1m\"\n{TELL}\
         [[policy.step]]\nrepeat = {{ from = 2 }}\n"
    ));
    assert_all(&near, &[("4:1: warning: ", "further away than 5 km are never asked")]);
}

#[test]
fn every_mistake_of_a_step_is_found_where_it_is() {
    let text = r#"offers_per_minute = 61
[[policy]]
name = "a b"
priorities = [6]
tiers = []
[[policy.step]]
offer = { technicians = 0, radius_km = 0 }
within = "1s"
[[policy.step]]
tell = {}
within = "soon"
[[policy.step]]
tell = { led = "x" }
[[policy.step]]
tell = { lead = "x", person = "y" }
within = { p1 = "1m", p7 = "2m" }
[[policy.step]]
tell = { person = "" }
within = 5
[[policy.step]]
offer = { technicians = 1 }
tell = { lead = "x" }
within = "2m"
[[policy.step]]
repeat = { from = 0 }
[[polcy]]
"#;
    let found = found(read_policies(text, None));
    assert_all(
        &found,
        &[
            ("1:21: error: ", "`offers_per_minute` is 61, not 1 to 60"),
            ("3:8: error: ", "the name `a b` is not of 1 to 64"),
            ("4:15: error: ", "`priorities` is 6, not 1 to 5"),
            ("5:9: error: ", "`tiers` is empty"),
            ("7:25: error: ", "`technicians` is 0, not 1 to 32"),
            ("7:40: error: ", "`radius_km` is 0, not 1 to 20000"),
            ("8:10: error: ", "`within` is 1s, not 5s to 1d"),
            ("10:8: error: ", "`tell` names nobody"),
            ("11:10: error: ", "`within` is \"soon\", no span of time"),
            ("13:10: error: ", "has no field `led`; did you mean `lead`?"),
            ("13:1: error: ", "does not say how long it waits"),
            ("15:8: error: ", "`tell` names one, not 2"),
            ("16:23: error: ", "no field `p7`"),
            ("16:10: error: ", "`within` says nothing of `p2`"),
            ("18:19: error: ", "`person` names nobody"),
            ("19:10: error: ", "`within` is a table"),
            ("21:1: error: ", "a step does one of offer, tell, repeat, not 2"),
            ("25:19: error: ", "`from` is 0, not 1 to 255"),
            ("26:3: error: ", "no field `polcy`; did you mean `policy`?"),
        ],
    );
}

#[test]
fn no_more_are_asked_at_once_than_a_step_asks() {
    let end = format!("{TELL}[[policy.step]]\nrepeat = {{ from = 2 }}\n");
    let read = |offer: &str| {
        let step = format!("[[policy.step]]\noffer = {offer}\nwithin = \"1m\"\n");
        read_policies(&document(&format!("{step}{end}")), None)
    };
    for (offer, wanted) in [
        ("{ technicians = 3, at_once = 3 }", Some(3)),
        ("{ technicians = 3, at_once = 1 }", None),
        ("{ technicians = 3 }", None),
    ] {
        let policies = read(offer).unwrap().value;
        let Act::Offer { at_once, .. } = policies.entries[0].steps[0].act else { panic!() };
        assert_eq!(at_once, wanted, "{offer}");
    }
    for (offer, most) in
        [("{ technicians = 2, at_once = 3 }", 2), ("{ technicians = 9, at_once = 6 }", 5)]
    {
        let wrong = format!(", not 1 to {most}");
        assert_all(&found(read(offer)), &[("4:38: error: ", wrong.as_str())]);
    }
}

#[test]
fn who_is_told_is_known() {
    let recipients = Recipients {
        people: Some(["lead-north".to_owned()].into()),
        webhooks: ["l".to_owned()].into(),
    };
    let end = "[[policy.step]]\nrepeat = { from = 2 }\n";
    let read = |tell: &str| {
        let step = format!("[[policy.step]]\ntell = {tell}\nwithin = \"1m\"\n");
        found(read_policies(&document(&format!("{OFFER}{step}{end}")), Some(&recipients)))
    };
    assert_eq!(read("{ lead = \"lead-north\" }"), Vec::<String>::new());
    let meant = "there is no person `lead-nort`; did you mean `lead-north`?";
    assert_all(&read("{ lead = \"lead-nort\" }"), &[("7:17: error: ", meant)]);
    let nobody = "there is no person `xyz`; add it to the document of webhooks";
    assert_all(&read("{ person = \"xyz\" }"), &[("7:19: error: ", nobody)]);
}

/// It may be written before the people are, and is in force meanwhile.
#[test]
fn a_policy_whose_people_cannot_be_told_yet_says_so() {
    let end = "[[policy.step]]\nrepeat = { from = 2 }\n";
    let text = document(&format!("{OFFER}{TELL}{end}"));
    let warned = found(read_policies(&text, Some(&Recipients::default())));
    let nobody = "nobody has written a document of webhooks, so that `l` cannot be told";
    assert_all(&warned, &[("7:17: warning: policy `p`: ", nobody)]);
    assert_eq!(found(read_policies(&text, None)), Vec::<String>::new(), "nobody knows");
}

#[test]
fn policies_that_no_ticket_has_are_doubted() {
    let steps = format!("{OFFER}{TELL}[[policy.step]]\nrepeat = {{ from = 2 }}\n");
    let text = format!(
        "[[policy]]\nname = \"a\"\n{steps}[[policy]]\nname = \"b\"\npriorities = [1]\n{steps}\
         [[policy]]\nname = \"a\"\n{steps}"
    );
    assert_all(
        &found(read_policies(&text, None)),
        &[
            ("12:8: warning: policy `b`: ", "policy `a` above fits every ticket"),
            ("23:8: error: policy `a`: ", "another policy has this name"),
        ],
    );
    let none = found(read_policies("", None));
    assert_all(&none, &[("1:1: warning: ", "the document has no policy")]);
}

proptest! {
    /// Whatever the text: no panic, and what is not refused ends with a person.
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = read_policies(&text, None);
    }

    #[test]
    fn what_is_read_comes_back_to_a_person(
        steps in prop::collection::vec((0_u8..3, 1_u8..6, prop::bool::ANY), 1..8)
    ) {
        let mut text = "[[policy]]\nname = \"p\"\n".to_owned();
        for (kind, from, is_person) in steps {
            text.push_str("[[policy.step]]\n");
            match (kind, is_person) {
                (0, _) => text.push_str("offer = { technicians = 1 }\nwithin = \"1m\"\n"),
                (1, true) => text.push_str("tell = { person = \"x\" }\nwithin = \"1m\"\n"),
                (1, false) => text.push_str("tell = { webhook = \"x\" }\nwithin = \"1m\"\n"),
                _ => text.push_str(&format!("repeat = {{ from = {from} }}\n")),
            }
        }
        if let Ok(read) = read_policies(&text, None) {
            let policy = read.value.entries[0].policy(1);
            let mut at = fieldmesh_domain::escalation::Position::default();
            // From wherever it is, a person is told within one time through.
            for _ in 0..3 {
                let told = (0..=policy.steps.len()).any(|_| {
                    let is_told = matches!(policy.act(at), Some(Act::Tell { role, .. }) if role.is_person());
                    at = policy.after(at);
                    is_told
                });
                prop_assert!(told, "{}", text);
            }
        }
    }
}
