//! Laws: whatever is written and whatever the facts.

use cel::{Context, ExecutionError, Program, Value};
use fieldmesh_rules::{
    Action, CompileError, Facts, Failure, Rule, RuleSet, Severity, compile, compile_set, evaluate,
    lint,
};
use proptest::prelude::*;

use super::{
    EXAMPLE,
    arbitrary::{condition, facts, words},
    set_of,
};

/// The facts as maps, as `cel` without any of our changes reads them.
fn reference(facts: &Facts) -> Context<'static, 'static> {
    let map = |entries: &[(&str, Value)]| {
        let entries = entries.iter().map(|(name, value)| ((*name).into(), value.clone()));
        Value::Map(cel::objects::Map { map: std::sync::Arc::new(entries.collect()) })
    };
    let counts = |count: i64| map(&[("count_7d", count.into()), ("count_1h", count.into())]);
    let ticket = map(&[
        ("category", facts.ticket.category.into()),
        ("subcategory", facts.ticket.subcategory.into()),
        ("impact", facts.ticket.impact.into()),
        ("priority", facts.ticket.priority.into()),
        ("text", facts.ticket.text.as_str().into()),
    ]);
    let history = map(&[
        ("site", counts(facts.history.site.count_7d)),
        ("customer", counts(facts.history.customer.count_1h)),
    ]);
    let mut environment = cel::Env::stdlib();
    environment.add_extension(cel::extensions::strings).unwrap();
    let mut context = Context::with_env(std::sync::Arc::new(environment));
    context.add_variable_from_value("ticket", ticket);
    context.add_variable_from_value("history", history);
    context.add_variable_from_value("now", map(&[("hour", facts.now.hour.into())]));
    context.add_variable_from_value("site", map(&[("zone", facts.site.zone.as_str().into())]));
    context
}

fn warned_of(set: &RuleSet) -> (bool, bool) {
    // Warnings come with the document; a set has none, so it is written as one.
    let when = toml_text(&set.rules[0].when);
    let text = format!(
        "version = 2\n[[rule]]\nname = \"one\"\nwhen = {when}\nactions = []\nstop = true\n"
    );
    let found = lint(&text);
    let says = |part: &str| {
        found.iter().any(|f| f.severity == Severity::Warning && f.text.starts_with(part))
    };
    (says("the condition is never true"), says("the condition is always true"))
}

fn toml_text(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

fn rule(name: usize, when: &str, stop: bool) -> Rule {
    let who = format!("w{name}");
    Rule {
        name: format!("r{name}"),
        when: when.to_owned(),
        stop,
        actions: vec![Action::Notify { who }, Action::SetPriority(1)],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is saved means what `cel` says it means, and fails where it fails.
    #[test]
    fn a_saved_condition_means_what_cel_says(when in condition(), facts in facts()) {
        let set = set_of(&when);
        if let Ok(rules) = compile_set(&set) {
            let outcome = evaluate(&rules, &facts);
            let program = Program::compile(&when).unwrap();
            let expected = program.execute(&reference(&facts));
            match expected {
                Ok(Value::Bool(answer)) => {
                    prop_assert_eq!(outcome.matched.len(), usize::from(answer));
                    prop_assert!(outcome.failed.is_empty());
                }
                Err(ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_)) => {
                    prop_assert_eq!(outcome.failed[0].why, Failure::DivisionByZero);
                }
                Err(ExecutionError::Overflow(..)) => {
                    prop_assert_eq!(outcome.failed[0].why, Failure::Overflow);
                }
                other => prop_assert!(false, "{when} gives {other:?}"),
            }
        }
    }

    /// Words in any order never panic, neither when they are saved nor after.
    #[test]
    fn any_text_is_refused_or_evaluates(when in words(), facts in facts()) {
        match compile_set(&set_of(&when)) {
            Ok(rules) => {
                let outcome = evaluate(&rules, &facts);
                prop_assert!(outcome.failed.iter().all(|failed| failed.why != Failure::Unforeseen));
                prop_assert!(Program::compile(&when).is_ok());
            }
            Err(CompileError::Findings(findings)) => {
                for finding in findings {
                    let line = when.split('\n').nth(finding.place.line as usize - 1);
                    let length = line.map(|line| line.chars().count() + 1);
                    prop_assert!(length.is_some_and(|l| finding.place.column as usize <= l), "{}", finding);
                }
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    /// Any text at all is a document without a panic; its findings are at places of the text.
    #[test]
    fn any_text_is_a_document(text in "\\PC{0,60}", at in 0..EXAMPLE.len(), cut in 0..40_usize) {
        prop_assert!(compile(&text).is_err());
        let cuts = |mut at: usize| { while !EXAMPLE.is_char_boundary(at) { at -= 1 } at };
        let (start, end) = (cuts(at), cuts((at + cut).min(EXAMPLE.len())));
        let changed = format!("{}{text}{}", &EXAMPLE[..start], &EXAMPLE[end..]);
        for finding in lint(&changed) {
            let line = changed.split('\n').nth(finding.place.line as usize - 1);
            let length = line.map(|line| line.chars().count() + 1);
            prop_assert!(length.is_some_and(|l| finding.place.column as usize <= l), "{}", finding);
        }
    }

    /// No ticket proves a warning wrong.
    #[test]
    fn never_and_always_are_right(when in condition(), facts in facts()) {
        let set = set_of(&when);
        if let Ok(rules) = compile_set(&set) {
            let outcome = evaluate(&rules, &facts);
            let (never, always) = warned_of(&set);
            prop_assert!(!never || outcome.matched.is_empty(), "{when}");
            prop_assert!(!always || !outcome.matched.is_empty() || !outcome.failed.is_empty(), "{when}");
        }
    }

    /// Actions are in the order of rules, each rule decides as if it were alone, one that fails
    /// changes nothing else, and after one that stops nothing acts.
    #[test]
    fn rules_are_asked_in_order(
        conditions in prop::collection::vec((condition(), any::<bool>()), 1..6),
        facts in facts(),
    ) {
        let rules: Vec<Rule> = conditions
            .iter()
            .enumerate()
            .map(|(number, (when, stop))| rule(number, when, *stop))
            .filter(|rule| {
                compile_set(&RuleSet { version: 2, rules: vec![rule.clone()] }).is_ok()
            })
            .collect();
        let set = RuleSet { version: 2, rules };
        let outcome = evaluate(&compile_set(&set).unwrap(), &facts);
        let mut expected = fieldmesh_rules::Outcome { version: 2, ..Default::default() };
        for rule in &set.rules {
            let alone = RuleSet { version: 2, rules: vec![rule.clone()] };
            let alone = evaluate(&compile_set(&alone).unwrap(), &facts);
            expected.evaluated += 1;
            expected.actions.extend(alone.actions);
            expected.failed.extend(alone.failed);
            expected.matched.extend(alone.matched);
            if alone.stopped_by.is_some() {
                expected.stopped_by = alone.stopped_by;
                break;
            }
        }
        prop_assert_eq!(&outcome, &expected);
        let bytes = minicbor::to_vec(&outcome).unwrap();
        prop_assert_eq!(minicbor::decode::<fieldmesh_rules::Outcome>(&bytes).unwrap(), outcome);
    }
}
