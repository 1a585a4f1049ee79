//! What a history says of a node that does not run.

use super::*;

#[test]
fn only_what_was_started_is_down() {
    let why = || CliError::failed("x");
    let down = What::Down { node: Some(2), why: "it does not start again: x".into() };
    assert_eq!(unstarted(2, NOT_AGAIN, &Unstarted::Node(why())), down);
    let harness = What::Harness { why: "of node 2: x".into() };
    assert_eq!(unstarted(2, NOT_AGAIN, &Unstarted::Harness(why())), harness);
}
