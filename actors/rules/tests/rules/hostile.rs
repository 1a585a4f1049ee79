//! Input that is made to hang, to fill memory or to break the parser.
//!
//! Everything here runs on a stack of 256 KiB, which is what the documentation says is enough.

#![allow(clippy::disallowed_methods, reason = "a small stack is a thread's")]

use fieldmesh_rules::{Facts, compile, compile_set, evaluate, lint};

use super::{EXAMPLE, document_of, errors_of, holds, set_of};

const STACK: usize = 256 * 1024;

fn on_a_small_stack(what: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(STACK).spawn(what).unwrap().join().unwrap();
}

fn refused(when: String) {
    on_a_small_stack(move || {
        assert!(!errors_of(&when).is_empty(), "{when}");
    });
}

fn evaluated(when: String) {
    on_a_small_stack(move || {
        let found = holds(&when, &Facts::default());
        assert_eq!(found.evaluated, 1, "{when}");
    });
}

#[test]
fn what_made_the_parser_take_gigabytes() {
    for count in 1..=8 {
        refused("!!(!!!!!!(!!!!(((((!!(!!(!!!!((".repeat(count) + "1");
        refused("!(".repeat(count * 8));
        refused("!(((-(!(".repeat(count) + "1");
        refused("[!(".repeat(count));
        refused("{{[(!".repeat(count));
    }
}

#[test]
fn deep_nesting_and_long_garbage() {
    for open in ["(", "[", "{", "!", "-", "a(", "a.b(", "a[", "[[", "(!(", "1?", "1+(", "a?b:"] {
        refused(open.repeat(2000));
        refused(open.repeat(4096 / open.len()));
        refused(open.repeat(17));
    }
    refused(format!("{}1{}", "(".repeat(2000), ")".repeat(2000)));
    refused("\"".repeat(4095));
    refused("'".repeat(4096));
    refused(".".repeat(4096));
    refused("a".repeat(4096));
    refused(format!("a{}", ".a".repeat(255)));
    refused("\\".repeat(4096));
    refused("\u{0}".repeat(100));
    refused("// only a comment".to_owned());
    refused("\u{202e}true".to_owned());
    refused("1 == 1\u{a0}".to_owned());
    refused("true\u{c}".to_owned());
}

#[test]
fn what_is_just_allowed_needs_no_more_stack() {
    let nested = |open: &str, close: &str| format!("{}true{}", open.repeat(16), close.repeat(16));
    evaluated(nested("(", ")"));
    evaluated(nested("!(", ")"));
    evaluated(nested("(true&&", ")"));
    evaluated(format!("{}true", "now.hour==1?true:".repeat(16)));
    evaluated(format!("{} == 1", vec!["1"; 63].join("+")));
    evaluated(vec!["ticket.category==1"; 80].join("||"));
    evaluated(vec!["true"; 250].join("&&"));
    let questions: String =
        (b'a'..b'p').map(|name| format!("[1].exists({},", char::from(name))).collect();
    evaluated(format!("{questions}true{}", ")".repeat(15)));
}

#[test]
fn the_example_is_saved_and_evaluated_on_a_small_stack() {
    on_a_small_stack(|| {
        let rules = compile(EXAMPLE).unwrap();
        assert_eq!(evaluate(&rules, &Facts::default()).failed, vec![]);
    });
}

#[test]
fn growth_is_refused() {
    for when in [
        // Doubling, through names of elements.
        "[ticket.text+ticket.text].exists(a,[a+a].exists(b,[b+b].exists(c,c==\"x\")))",
        "ticket.text+ticket.text+ticket.text==\"x\"",
        // Products of lists.
        "[1,2,3,4,5,6,7,8,9].all(a,[1,2,3,4,5,6,7,8,9].all(b,[1,2,3,4,5,6,7,8,9].all(c,\
         [1,2,3,4,5,6,7,8,9].all(d,a+b+c+d>0))))",
        "[1,2]*1000000 == [1]",
        "[1]+[2] == [1,2]",
        "\"a\"*1000000 == \"b\"",
        "\"a\".matches(\"(a+)+$\")",
        "ticket.text.matches(\"(a+)+$\")",
        "\"a\".repeat(1000000) == \"\"",
        "\"%s\".format([1]) == \"\"",
        "ticket.text.split(\"\").exists(x, true)",
        "ticket.text.replace(\"\", ticket.text) == \"\"",
        "[ticket.text].join(\"\") == \"\"",
    ] {
        refused(when.to_owned());
    }
    refused(format!("1{} == 1", "0".repeat(4000)));
    refused(format!("0x{} == 1", "F".repeat(4000)));
}

#[test]
fn names_that_mean_something_to_the_evaluator() {
    for when in [
        "@result == 1",
        "__result__ == 1",
        "[1].exists(__result__, [2].exists(ticket, true))",
        "optional.of(1).hasValue()",
        "type(1) == int",
        "dyn(1) == 1",
        "cel.bind(x, 1, x == 1)",
        "google.protobuf.Duration{seconds: 1} == 1",
        ".ticket.category == 1",
        "ticket.?category == 1",
        "ticket.`category` == 1",
        "_==_(1, 1)",
        "int == int",
        "string == string",
        "[1].exists(in, true)",
        "[1].exists(true, true)",
        "[1].exists(a.b, true)",
        "size(size(\"a\")) == 1",
        "contains(\"a\", \"b\")",
        "\"a\".string() == \"a\"",
        "ticket.text.contains()",
        "ticket.contains(\"a\")",
        "exists([1], x, true)",
        "has(ticket)",
        "has(1)",
    ] {
        refused(when.to_owned());
    }
    // Odd, and no harm.
    for when in ["[1].exists(__result__, __result__ == 1)", "[1].existsOne(int, int == 1)"] {
        evaluated(when.to_owned());
    }
}

#[test]
fn hostile_documents() {
    on_a_small_stack(|| {
        for text in [
            "[".repeat(10_000),
            format!("a = {}", "[".repeat(10_000)),
            format!("a = {}", "{a=".repeat(10_000)),
            format!("a{} = 1", ".a".repeat(10_000)),
            format!(
                "version = 2\n[[test]]\nname = \"t\"\nfacts{} = 1\nexpect = {{}}",
                ".a".repeat(60)
            ),
            "\u{0}".repeat(100),
            "version = 2\nrule = 7\ntest = [1, [2], \"x\"]".to_owned(),
            "version = 2\n[rule]\nname = \"x\"".to_owned(),
            "version = 2\n[[rule]]\n[[rule]]\n[[test]]\n".to_owned(),
            document_of("true").replace("version", "\"ver\\u0073ion\\u0000\""),
        ] {
            assert!(compile(&text).is_err(), "{text:.60}");
            assert!(!lint(&text).is_empty());
        }
    });
}

#[test]
fn a_set_of_the_worst_rules_is_saved_in_bounded_time() {
    on_a_small_stack(|| {
        let mut set = set_of("");
        let worst = ["a.b[0](1)?x:y"; 8].join("||(");
        set.rules[0].when = worst;
        set.rules = vec![set.rules[0].clone(); 256];
        assert!(compile_set(&set).is_err());
        // A mistake in every fourth byte of a document that has as many as it may.
        let mistakes = ["a"; 120].join("||");
        let rules: String = (0..256)
            .map(|n| format!("[[rule]]\nname = \"r{n}\"\nwhen = '{mistakes}'\nactions = []\n"))
            .collect();
        let found = lint(&format!("version = 2\n{rules}"));
        assert_eq!(found.len(), fieldmesh_rules::FINDINGS_MAX);
    });
}
