//! The bytes of what is stored, frozen: a log outlives a release.
//!
//! A field may be added with a new number and a default; its new bytes then replace the old ones
//! here, and the old ones move to what must still be read.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use core::fmt::{Debug, Write as _};

use fieldmesh_rules::{Action, Caused, Facts, Failed, Failure, Inhibited, Outcome, Rule, RuleSet};
use minicbor::{Decode, Encode};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn frozen<T>(value: &T, expected: &str)
where
    T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + Debug,
{
    let bytes = minicbor::to_vec(value).unwrap();
    assert_eq!(hex(&bytes), expected, "{value:?}");
    assert_eq!(minicbor::decode::<T>(&bytes).unwrap(), *value);
}

#[test]
fn actions() {
    let text = |text: &str| text.to_owned();
    for (action, expected) in [
        (Action::SetPriority(1), "82008101"),
        (Action::RequireSkill { category: 26, level: 3 }, "820182181a03"),
        (Action::GroupBy { key: text("k") }, "82028161 6b"),
        (Action::Deduplicate { key: text("k"), window_minutes: 5 }, "820382616b05"),
        (Action::Hold { minutes: 5, reason: text("r") }, "8204820561 72"),
        (Action::Inhibit(Inhibited::Children), "820581820080"),
        (Action::Inhibit(Inhibited::Key(text("k"))), "820581820181616b"),
        (Action::Notify { who: text("w") }, "8206816177"),
        (Action::Webhook { name: text("n") }, "820781616e"),
        (Action::Route { policy: text("p") }, "8208816170"),
        (Action::RequirePart { part: text("q"), count: 2 }, "820982617102"),
    ] {
        frozen(&action, &expected.replace(' ', ""));
    }
}

#[test]
fn rules() {
    let rule = Rule {
        name: "r".to_owned(),
        when: "true".to_owned(),
        stop: true,
        actions: vec![Action::SetPriority(2)],
    };
    frozen(&RuleSet { version: 7, rules: vec![rule] }, "8207818461726474727565f58182008102");
}

#[test]
fn outcomes() {
    let outcome = Outcome {
        version: 7,
        actions: vec![Caused { rule: "r".to_owned(), action: Action::SetPriority(2) }],
        failed: vec![
            Failed { rule: "a".to_owned(), why: Failure::DivisionByZero },
            Failed { rule: "b".to_owned(), why: Failure::Overflow },
            Failed { rule: "c".to_owned(), why: Failure::EmptyKey },
            Failed { rule: "d".to_owned(), why: Failure::Facts },
            Failed { rule: "e".to_owned(), why: Failure::Unforeseen },
        ],
        evaluated: 6,
        stopped_by: Some("r".to_owned()),
        matched: vec!["r".to_owned()],
    };
    frozen(&outcome, "86078182617282008102858261610082616201826163028261640382616504066172816172");
}

#[test]
fn facts() {
    frozen(
        &Facts::default(),
        "8689000003036005000000836003008400006060838400000000840000000084000000008700190 7b20101040000 60"
            .replace(' ', "")
            .as_str(),
    );
}
