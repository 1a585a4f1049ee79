//! Trying rules on past tickets.

use std::collections::BTreeMap;

use fieldmesh_rules::{Facts, backtest};

use super::rules;

fn ticket(category: i64, subcategory: i64, priority: i64) -> Facts {
    let mut facts = Facts::default();
    facts.ticket.category = category;
    facts.ticket.subcategory = subcategory;
    facts.ticket.priority = priority;
    facts
}

#[test]
fn what_rules_would_have_done_is_counted() {
    let old = rules(
        "version = 2\n[[rule]]\nname = \"old\"\nwhen = 'ticket.category == 1'\n\
         actions = [{ set_priority = 2 }, { route = \"a\" }]\n",
    );
    let new = rules(
        "version = 3\n\
         [[rule]]\nname = \"one\"\nwhen = 'ticket.category == 1'\nstop = true\n\
         actions = [{ set_priority = 1 }]\n\
         [[rule]]\nname = \"ratio\"\nwhen = '10 / ticket.subcategory > 4'\n\
         actions = [{ notify = \"x\" }]\n\
         [[rule]]\nname = \"none\"\nwhen = 'ticket.category == 9'\n\
         actions = [{ notify = \"x\" }]\n",
    );
    let past =
        [ticket(1, 1, 4), ticket(1, 1, 1), ticket(2, 0, 3), ticket(2, 2, 3), ticket(3, 5, 3)];
    let report = backtest(&new, Some(&old), past.iter());
    assert_eq!(report.tickets, 5);
    let counts: Vec<(&str, u64, u64)> =
        report.rules.iter().map(|rule| (rule.rule.as_str(), rule.matched, rule.stopped)).collect();
    assert_eq!(counts, [("one", 2, 2), ("ratio", 1, 0), ("none", 0, 0)]);
    assert_eq!(report.rules[1].failed.values().sum::<u64>(), 1);
    assert_eq!(report.untouched, 2);
    assert_eq!(report.priorities, BTreeMap::from([((2, 1), 2)]));
    assert_eq!(report.rerouted, 2);
    assert_eq!((report.failed, report.failed_before), (1, 0));
    let alone = backtest(&new, None, past.iter());
    assert_eq!(alone.priorities, BTreeMap::from([((4, 1), 1)]));
    assert_eq!(alone.rerouted, 0);
}
