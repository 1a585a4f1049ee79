//! What is noted of how things are in the end, and what is not.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use fieldmesh_domain::EntityKind;
use fieldmesh_pki::ledger::verify_export;

use super::*;

#[test]
fn where_one_ticket_cannot_be_read_none_is_noted() {
    let ticket = || What::Ticket { ticket: "a".into(), state: "closed".into(), events: vec![] };
    let nobody = || CliError::failed("no node can be asked in the end");
    assert!(all_of(vec![Ok(Some(ticket())), Err(nobody()), Ok(None)]).is_err());
    assert_eq!(all_of(vec![Ok(None), Ok(Some(ticket()))]).unwrap(), [ticket()]);
}

#[test]
fn a_ledger_that_nobody_could_verify_is_not_one_that_does_not_hold() {
    let file = Path::new("/runs/1/ledger.jsonl");
    let of = |error: &str| judged(Err(CliError::failed(error)), file, 5);
    // As the command says it.
    let refused = verify_export("no ledger\n".as_bytes(), &|_| true, None).unwrap_err();
    let why = format!("{}: {refused}", file.display());
    let broken = What::Ledger { holds: false, entries: 0, wanted: 5, why: why.clone() };
    assert_eq!(of(&why), broken);
    for error in [
        "a node cannot be started: no end in time",
        "it failed and said nothing",
        "/runs/1/ledger.jsonl: Too many open files (os error 24)",
    ] {
        assert!(matches!(of(error), What::Harness { why } if why.contains(error)), "{error}");
    }
    let holds = What::Ledger { holds: true, entries: 4, wanted: 5, why: String::new() };
    assert_eq!(judged(Ok(4), file, 5), holds);
}

#[test]
fn what_the_ledger_had_before_does_not_stand_for_what_the_run_enrolled() {
    let person = |number| EntityId::new(EntityKind::Customer, "eu1".parse().unwrap(), [number; 10]);
    let people: Vec<EntityId> = (0..18).map(person).collect();
    let (file, logs) = (PathBuf::new(), Ends::new());
    let wanted = Wanted { file, before: 12, people, recorded: 5, logs };
    assert_eq!(wanted.entries(), 12 + 18 * 3 + 5);
}

#[test]
fn a_node_that_has_just_signed_is_asked_again_how_long_the_ledger_is() {
    let said = |signed, covers, tries| enough(Ok(Covered { signed, covers }), tries);
    assert!(said(true, 0, 0).is_none(), "it may not know of what it signed");
    assert_eq!(said(false, 12, 1).unwrap().unwrap(), 12);
    assert_eq!(said(true, 9, TRIES_MAX).unwrap().unwrap(), 9, "others go on writing");
    let nobody_leads = || Err(CliError::failed("nobody leads"));
    assert!(enough(nobody_leads(), 0).is_none());
    assert!(enough(nobody_leads(), TRIES_MAX).unwrap().is_err());
}
