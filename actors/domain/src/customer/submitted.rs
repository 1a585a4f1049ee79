//! Requests that an operator makes for a customer who calls.
//!
//! Nobody signed for it: the event names the operator, and the ticket's name follows from the operator's key.
//!
//! **Invariants:** what is submitted again under its key is the same ticket, whether that has ended or not, as long
//! as the key is remembered; another request under it is refused. Where it is forgotten and the ticket has ended, the
//! ticket says so (`ticket::again`). **Not here:** who may (`node`).

use minicbor::{Decode, Encode, bytes::ByteArray};

use super::{Customer, Event, OPEN_TICKETS_MAX, Standing};
use crate::{Ctx, EntityId, Rejection, RejectionCode, encoded, ids::fnv1a, integration::Reported};

/// Submissions that are known when they come again: whoever had no answer asks again within minutes.
const SUBMITTED_MAX: usize = 16;

/// A request that an operator made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Submission {
    #[n(0)]
    pub id: ByteArray<16>,
    /// Tells what was asked for from anything else.
    #[n(1)]
    pub hash: u64,
}

fn hash(asked: &Reported) -> u64 {
    fnv1a(&encoded(asked))
}

impl Customer {
    /// Whoever has no device, or lost it, may call all the same.
    pub(super) fn submit(
        &self,
        id: [u8; 16],
        asked: &Reported,
        by: &str,
        ctx: &Ctx,
    ) -> Result<Vec<Event>, Rejection> {
        if self.standing == Standing::Suspended {
            return Rejection::new(RejectionCode::NotNow, "the customer is suspended");
        }
        let body = self.body(asked);
        body.check()?;
        let ticket = EntityId::ticket_of(ctx.id, id);
        let before = self.submitted.iter().flatten().find(|before| *before.id == id);
        if before.is_some_and(|before| before.hash != hash(asked)) {
            let text = "something else was asked for under this idempotency key: use another";
            return Rejection::new(RejectionCode::Invalid, text);
        }
        if before.is_some() || self.open.contains(&ticket) {
            return Ok(vec![]);
        }
        if self.open.len() >= OPEN_TICKETS_MAX {
            return Rejection::new(RejectionCode::Limit, "the customer has 4096 open tickets");
        }
        let (by, hash) = (by.to_owned(), Some(hash(asked)));
        Ok(vec![Event::Submitted { message_id: id, ticket, body, at: ctx.now, by, hash }])
    }

    /// It is one of the customer's requests as any other is.
    pub(super) fn submitted(&mut self, event: &Event) {
        let Event::Submitted { message_id, ticket, body, at, hash, .. } = event else { return };
        if self.standing == Standing::Enrolled {
            self.standing = Standing::Active;
        }
        self.open.insert(*ticket);
        self.asked_at(*at);
        let submitted = self.submitted.get_or_insert_default();
        if submitted.len() >= SUBMITTED_MAX {
            submitted.remove(0);
        }
        let hash = hash.unwrap_or_else(|| fnv1a(&encoded(body)));
        submitted.push(Submission { id: (*message_id).into(), hash });
    }
}
