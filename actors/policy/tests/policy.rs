//! What the documents promise: every mistake is found at its place, and what was read does as it says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "policy/policies.rs"]
mod policies;
#[path = "policy/silences.rs"]
mod silences;
#[path = "policy/situations.rs"]
mod situations;
#[path = "policy/targets.rs"]
mod targets;

use fieldmesh_policy::{Read, Refused};
use fieldmesh_rules::{Finding, Severity};

const POLICIES: &str = include_str!("../examples/policies.toml");
const TARGETS: &str = include_str!("../examples/targets.toml");
const SILENCES: &str = include_str!("../examples/silences.toml");

/// Everything that was found, as a person reads it.
fn found<T>(read: Result<Read<T>, Refused>) -> Vec<String> {
    let findings = match read {
        Ok(read) => read.warnings,
        Err(Refused(findings)) => {
            assert!(findings.iter().any(|one| one.severity == Severity::Error));
            findings
        }
    };
    findings.iter().map(Finding::to_string).collect()
}

/// Each place has a finding with that in it, and there are no others.
fn assert_all(found: &[String], expected: &[(&str, &str)]) {
    for (start, part) in expected {
        let hit = found.iter().any(|text| text.starts_with(start) && text.contains(part));
        assert!(hit, "no finding at {start} with {part:?} in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}
