//! What is noted of how things are in the end, and what is not.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

#[test]
fn where_one_ticket_cannot_be_read_none_is_noted() {
    let ticket = || What::Ticket { ticket: "a".into(), state: "closed".into(), events: vec![] };
    let nobody = || CliError::failed("no node can be asked in the end");
    assert!(all_of(vec![Ok(Some(ticket())), Err(nobody()), Ok(None)]).is_err());
    assert_eq!(all_of(vec![Ok(None), Ok(Some(ticket()))]).unwrap(), [ticket()]);
}
