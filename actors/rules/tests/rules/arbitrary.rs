//! Arbitrary facts, expressions of the right types, and words in any order.

use fieldmesh_rules::Facts;
use proptest::prelude::*;

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => 0..4_i64,
        2 => -70_000..70_000_i64,
        1 => prop_oneof![Just(i64::MAX), Just(i64::MIN + 1), Just(1 << 52)],
    ]
}

pub(crate) fn facts() -> impl Strategy<Value = Facts> {
    let small = 0..4_i64;
    let text = prop_oneof![
        Just(String::new()),
        Just("Fire".to_owned()),
        "[a-c ]{0,8}",
        Just("é€😀 smoke".to_owned())
    ];
    (
        small.clone(),
        small,
        1..=3_i64,
        1..=5_i64,
        text,
        0..24_i64,
        prop_oneof![0..3_i64, Just(1 << 52)],
    )
        .prop_map(|(category, subcategory, impact, priority, text, hour, count)| {
            let mut facts = Facts::default();
            facts.ticket.category = category;
            facts.ticket.subcategory = subcategory;
            facts.ticket.impact = impact;
            facts.ticket.priority = priority;
            facts.ticket.text = text.clone();
            facts.site.zone = text;
            facts.now.hour = hour;
            facts.history.site.count_7d = count;
            facts.history.customer.count_1h = count;
            facts
        })
}

fn fact_number() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "ticket.category",
        "ticket.subcategory",
        "ticket.impact",
        "ticket.priority",
        "now.hour",
        "history.site.count_7d",
        "history.customer.count_1h",
        "ticket[\"category\"]",
    ];
    proptest::sample::select(NAMES).prop_map(str::to_owned)
}

fn texts() -> BoxedStrategy<String> {
    let literal = prop_oneof![
        Just("\"\"".to_owned()),
        Just("\"fire\"".to_owned()),
        Just("'a'".to_owned()),
        Just("r\"\\b\"".to_owned()),
        Just("\"\\u00e9\"".to_owned())
    ];
    let fact = prop_oneof![Just("ticket.text".to_owned()), Just("site.zone".to_owned())];
    prop_oneof![literal, fact].boxed()
}

/// An expression that gives a number, a text or a condition, by the kind asked for.
fn of_kind(kind: char, depth: u32) -> BoxedStrategy<String> {
    let number = || prop_oneof![number().prop_map(|n| n.to_string()), fact_number()];
    if depth == 0 {
        return match kind {
            'n' => number().boxed(),
            't' => texts(),
            _ => prop_oneof![Just("true".to_owned()), Just("false".to_owned())].boxed(),
        };
    }
    let n = || of_kind('n', depth - 1);
    let t = || of_kind('t', depth - 1);
    let b = || of_kind('b', depth - 1);
    match kind {
        'n' => prop_oneof![
            number(),
            (n(), proptest::sample::select(&["+", "-", "*", "/", "%"][..]), n())
                .prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            n().prop_map(|n| format!("-({n})")),
            t().prop_map(|t| format!("size({t})")),
            (b(), n(), n()).prop_map(|(b, one, other)| format!("({b} ? {one} : {other})")),
        ]
        .boxed(),
        't' => prop_oneof![
            texts(),
            (t(), t()).prop_map(|(one, other)| format!("({one} + {other})")),
            t().prop_map(|t| format!("({t}).lowerAscii()")),
            n().prop_map(|n| format!("string({n})")),
            (b(), t(), t()).prop_map(|(b, one, other)| format!("({b} ? {one} : {other})")),
        ]
        .boxed(),
        _ => conditions(n(), t(), b()).boxed(),
    }
}

fn conditions(
    n: BoxedStrategy<String>,
    t: BoxedStrategy<String>,
    b: BoxedStrategy<String>,
) -> impl Strategy<Value = String> {
    let compare = || proptest::sample::select(&["==", "!=", "<", "<=", ">", ">="][..]);
    let logic = proptest::sample::select(&["&&", "||"][..]);
    let looks = proptest::sample::select(&["contains", "startsWith", "endsWith"][..]);
    let asks = proptest::sample::select(&["exists", "exists_one", "all"][..]);
    prop_oneof![
        2 => (n.clone(), compare(), n.clone()).prop_map(|(a, how, c)| format!("({a} {how} {c})")),
        1 => (t.clone(), compare(), t.clone()).prop_map(|(a, how, c)| format!("({a} {how} {c})")),
        2 => (b.clone(), logic, b.clone()).prop_map(|(a, how, c)| format!("({a} {how} {c})")),
        1 => b.clone().prop_map(|b| format!("!({b})")),
        1 => (t.clone(), looks, t).prop_map(|(a, how, c)| format!("({a}).{how}({c})")),
        1 => (n.clone(), prop::collection::vec(n.clone(), 1..4))
            .prop_map(|(a, list)| format!("({a} in [{}])", list.join(", "))),
        1 => (prop::collection::vec(n.clone(), 1..4), asks, n, compare()).prop_map(
            |(list, asks, one, how)| format!("[{}].{asks}(x, x {how} {one})", list.join(", "))
        ),
        1 => b,
    ]
}

pub(crate) fn condition() -> impl Strategy<Value = String> {
    of_kind('b', 3)
}

/// Words of expressions, and some that are none, in any order.
pub(crate) fn words() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        "?",
        ":",
        ",",
        ".",
        "in",
        "true",
        "false",
        "null",
        "0",
        "1",
        "9223372036854775807",
        "1.5",
        "1u",
        "0x7f",
        "\"a\"",
        "'b'",
        "\"",
        "r'",
        "b'c'",
        "'''",
        "x",
        "ticket",
        "ticket.text",
        "ticket.category",
        ".exists(x,",
        ".all(x,",
        ".map(x,",
        ".contains(",
        "size(",
        "string(",
        "has(",
        "@result",
        "`",
        "\\",
        "//",
        "\n",
        "é",
        "😀",
        "=",
        "&",
        "|",
        "for",
        "[1,2]",
        ".size()",
    ];
    prop::collection::vec(
        (proptest::sample::select(WORDS), proptest::sample::select(&["", " "][..])),
        0..40,
    )
    .prop_map(|words| words.into_iter().map(|(word, blank)| format!("{word}{blank}")).collect())
}
