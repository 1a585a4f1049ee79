//! Measures rules: `rules_bench [ROUNDS]` prints what one evaluation takes.
//!
//! For measuring while working on this package. Each figure is the shortest of nine runs, as others
//! use the machine too.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program of its own: it reads the clock and prints"
)]

use std::{error::Error, hint::black_box, time::Instant};

use fieldmesh_rules::{CompiledRules, Facts, check_tests, compile, evaluate, facts};

const RUNS: usize = 9;

/// Nanoseconds of the shortest run, for each round.
fn measured(rounds: u32, mut round: impl FnMut()) -> f64 {
    let mut shortest = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        for _ in 0..rounds {
            round();
        }
        shortest = shortest.min(start.elapsed().as_nanos() as f64 / f64::from(rounds));
    }
    shortest
}

fn rule(number: usize, when: &str) -> String {
    format!(
        "[[rule]]\nname = \"r{number}\"\nwhen = '{when}'\nactions = [{{ notify = \"duty\" }}]\n"
    )
}

fn rules(count: usize, when: &str) -> Result<CompiledRules, Box<dyn Error>> {
    let rules: String = (0..count).map(|number| rule(number, when)).collect();
    Ok(compile(&format!("version = 2\n{rules}"))?)
}

fn busy() -> Facts {
    Facts {
        ticket: facts::TicketFacts {
            category: 26,
            urgency: 2,
            text: "the lift is stuck ".repeat(20),
            ..facts::TicketFacts::default()
        },
        customer: facts::CustomerFacts { tier: 2, ..facts::CustomerFacts::default() },
        ..Facts::default()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = std::env::args().nth(1).map_or(Ok(2000), |text| text.parse())?;
    let facts = busy();
    let clauses = "ticket.category == 26 && ticket.urgency <= 2 && customer.tier != 1 && \
                   ticket.text.contains(\"stuck\")";
    let idle = "ticket.category == 27 && ticket.urgency <= 2 && customer.tier != 1 && \
                ticket.text.contains(\"stuck\")";
    let example = include_str!("rules.toml");
    let compiled = compile(example)?;
    for (what, rules) in [
        ("1 rule of 4 clauses that all hold", rules(1, clauses)?),
        ("100 rules of 4 clauses that all hold", rules(100, clauses)?),
        ("100 rules of 4 clauses of which the first fails", rules(100, idle)?),
        ("the example document, 7 rules", compiled),
    ] {
        let count = rules.set().rules.len();
        let whole = measured(rounds, || {
            black_box(evaluate(black_box(&rules), black_box(&facts)));
        });
        println!(
            "{what}: {:.2} µs an evaluation, {:.2} µs a rule, at most {} steps",
            whole / 1000.0,
            whole / 1000.0 / count as f64,
            rules.cost()
        );
    }
    costly(rounds / 20 + 1)?;
    let compiled = compile(example)?;
    let saving = measured(rounds / 100 + 1, || {
        black_box(compile(black_box(example)).is_ok());
    });
    let tests = measured(rounds / 20 + 1, || {
        black_box(check_tests(black_box(&compiled)));
    });
    println!("saving the example: {:.2} ms; its tests: {:.1} µs", saving / 1e6, tests / 1000.0);
    Ok(())
}

/// What a step is, in the rules that the bound is nearest to.
fn costly(rounds: u32) -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = (0..25).map(|number| format!("\"word{number}\"")).collect();
    let numbers: Vec<String> = (0..190).map(|number| number.to_string()).collect();
    let mut facts = busy();
    facts.ticket.text = "aaaaaaaaaaaaaaa ".repeat(256);
    for (what, when) in [
        (
            "25 words in 4096 bytes, each time made small",
            format!("[{}].exists(w, ticket.text.lowerAscii().contains(w))", words.join(",")),
        ),
        ("one of 190 categories", format!("ticket.category in [{}]", numbers.join(","))),
        (
            "9 by 9 by 9 products",
            "[1,2,3,4,5,6,7,8,9].exists(x, [1,2,3,4,5,6,7,8,9].exists(y, x * y * ticket.category == 7))"
                .to_owned(),
        ),
    ] {
        let rules = rules(1, &when)?;
        let whole = measured(rounds, || {
            black_box(evaluate(black_box(&rules), black_box(&facts)));
        });
        println!(
            "{what}: {:.1} µs, at most {} steps, {:.0} ns a step",
            whole / 1000.0,
            rules.cost(),
            whole / rules.cost() as f64
        );
    }
    Ok(())
}
