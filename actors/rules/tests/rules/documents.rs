//! The document an operator writes: every mistake is found, at its line and column.

use fieldmesh_rules::{CompileError, Severity, check_tests, compile, compile_set, lint, schema};

use super::{EXAMPLE, assert_one, findings, rules};

#[test]
fn the_example_has_no_findings_and_passes_its_tests() {
    assert_eq!(lint(EXAMPLE), vec![]);
    let reports = check_tests(&rules(EXAMPLE));
    assert_eq!(reports.len(), 7);
    for report in reports {
        assert!(report.passed(), "{}: {:#?}", report.name, report.differences);
    }
}

#[test]
fn the_example_names_every_fact() {
    for fact in schema::FACTS {
        let word = fact.name.rsplit('.').next().unwrap();
        assert!(EXAMPLE.contains(word), "{word} is not in the example");
    }
    let documentation = schema::documentation();
    assert!(documentation.contains("| `now.hour` | 0 to 23 | the hour at the site |"));
    assert!(documentation.contains("| `LIST.exists(x, CONDITION)` |"));
    let guide = include_str!("../../../../docs/rules.md");
    assert!(guide.ends_with(&documentation), "docs/rules.md has other tables: {documentation}");
}

#[test]
fn what_is_stored_gives_the_same_rules() {
    let compiled = rules(EXAMPLE);
    let again = compile_set(compiled.set()).unwrap();
    assert_eq!(again.set(), compiled.set());
    assert_eq!(again.cost(), compiled.cost());
}

#[test]
fn every_mistake_of_a_document_is_found_where_it_is() {
    let text = r#"version = 0
verzion = 1
[[rule]]
name = "a b"
when = 'ticket.categry == 26'
stop = "yes"
actions = [{ set_priority = 6 }, { notfy = "duty" }, { hold = { minutes = 0, reason = "" } }, {}]

[[rule]]
name = "second"
wehn = 'true'
actions = [{ notify = "a b" }, { route = "x", webhook = "y" }, 7, { inhibit = "all" }]

[[test]]
name = "t"
facts.ticket.categori = 1
facts.now.hour = 24
facts.ticket.text = 5
expect.priority = 9
expect.rules = ["secnd"]
"#;
    let found = findings(text, Severity::Error);
    for (start, part) in [
        ("1:11: error: ", "`version` is 0, not 1 to 4294967295"),
        ("2:1: error: ", "no field `verzion`; did you mean `version`?"),
        ("4:8: error: ", "the name `a b`"),
        ("5:9: error: ", "no fact `ticket.categry`; did you mean `ticket.category`?"),
        ("6:8: error: ", "`stop` is true or false"),
        ("7:29: error: ", "`set_priority` is 6, not 1 to 5"),
        ("7:36: error: ", "no action `notfy`; did you mean `notify`?"),
        ("7:75: error: ", "`minutes` is 0"),
        ("7:87: error: ", "one line of 1 to 256 bytes"),
        ("7:95: error: ", "one field, not 0"),
        ("10:1: error: rule `second`: ", "lacks `when`"),
        ("11:1: error: rule `second`: ", "no field `wehn`; did you mean `when`?"),
        ("12:23: error: ", "`notify` is given a name"),
        ("12:32: error: ", "one field, not 2"),
        ("12:64: error: ", "not of the type integer"),
        ("12:79: error: ", "`inhibit` is \"children\" or"),
        ("16:14: error: test `t`: ", "no fact `ticket.categori`; did you mean `ticket.category`?"),
        ("17:18: error: ", "`now.hour` is 24, not 0 to 23"),
        ("18:21: error: ", "`ticket.text` is a text of at most 4096 bytes"),
        ("19:19: error: ", "`priority` is 9"),
        ("15:8: error: test `t`: ", "no rule `secnd`; did you mean `second`?"),
    ] {
        assert_one(&found, start, part);
    }
    let Err(CompileError::Findings(all)) = compile(text) else {
        panic!("a document with errors was compiled");
    };
    assert_eq!(all, lint(text), "compiling and linting find the same");
}

#[test]
fn broken_toml_is_refused_with_its_place() {
    let found = findings("version = 2\n[[rule]\nname = \"x\n", Severity::Error);
    assert_one(&found, "2:", "this is not TOML");
    assert!(compile("").is_err(), "an empty document lacks its version");
    assert_eq!(compile("version = 7").unwrap().version(), 7, "no rules are rules too");
}

#[test]
fn places_are_those_of_the_document_whatever_the_quotes() {
    let rule = |when: &str| {
        format!(
            "version = 2\n[[rule]]\nname = \"r\"\nwhen = {when}\nactions = [{{ notify = \"d\" }}]"
        )
    };
    for (when, start) in [
        ("'1 == ticket.x'", "4:14:"),
        ("\"1 == ticket.x\"", "4:14:"),
        // Each escape is one character of the expression and two of the document.
        ("\"\\\"a\\\" == \\\"b\\\" && 1 == ticket.x\"", "4:32:"),
        ("\"\\u0031 == ticket.x\"", "4:19:"),
        ("'''\n1 ==\n  ticket.x'''", "6:3:"),
        ("\"\"\"\n1 == \\\n   ticket.x\"\"\"", "6:4:"),
        ("'''1 == ticket.x'''", "4:16:"),
        ("'\"é€😀\" == ticket.x'", "4:18:"),
    ] {
        assert_one(&findings(&rule(when), Severity::Error), start, "no fact `ticket.x`");
    }
}

#[test]
fn a_windows_document_has_the_same_places() {
    let text = "version = 2\r\n[[rule]]\r\nname = \"r\"\r\nwhen = '''\r\n1 ==\r\n ticket.x'''\r\n\
                actions = [{ notify = \"d\" }]\r\n";
    assert_one(&findings(text, Severity::Error), "6:2:", "no fact `ticket.x`");
}

#[test]
fn keys_are_checked_like_conditions() {
    let text = r#"version = 2
[[rule]]
name = "r"
when = 'true'
actions = [
    { group_by = 'ticket.text' },
    { deduplicate = { key = 'ticket.category', window_minutes = 5 } },
    { inhibit = { key = 'site.name' } },
]
"#;
    let found = findings(text, Severity::Error);
    assert_one(&found, "6:19:", "a key of up to 4096 bytes, more than 256");
    assert_one(&found, "7:30:", "a whole number where a key should be; write string(…)");
    assert_one(&found, "8:26:", "no fact `site.name`");
}

#[test]
fn a_test_that_differs_says_how() {
    let text = r#"version = 2
[[rule]]
name = "r"
when = 'ticket.category == 1'
actions = [{ set_priority = 2 }]
[[test]]
name = "t"
facts.ticket.category = 1
expect = { priority = 3, rules = [], actions = [{ set_priority = 3 }], failed = ["r"] }
"#;
    let reports = check_tests(&rules(text));
    assert_eq!(reports[0].place.line, 7);
    assert!(!reports[0].passed());
    let differences: Vec<&str> = reports[0].differences.iter().map(String::as_str).collect();
    assert_eq!(
        differences,
        [
            "priority: expected 3, got 2",
            "rules: expected [], got [\"r\"]",
            "actions: expected [SetPriority(3)], got [SetPriority(2)]",
            "failed: expected [\"r\"], got []",
        ]
    );
}
