//! What is noted of how things are in the end, and what is not.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

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
