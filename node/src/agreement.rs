//! What operators agreed of chaos, as this node knows it.
//!
//! It follows the placement group's row as it is applied here. Each node writes into its own audit record what
//! it comes to know so; one that starts writes again what lasts. **Invariant:** an earlier row takes nothing
//! back. **Not here:** agreeing (`domain::placement`), what it allows (`chaos`).

use std::sync::Arc;

use fieldmesh_domain::{
    IndexRow,
    placement::{Allowance, AllowanceProposal, Allowances, Ended},
};
use tokio::sync::watch;

use crate::audit::{Audit, Deed, Event, OfChaos};

/// What is known now.
#[derive(Default)]
pub struct Agreement {
    known: watch::Sender<Allowances>,
    audit: Audit,
}

impl Agreement {
    /// Nothing is known before the placement group was read.
    pub fn new(audit: Audit) -> Arc<Self> {
        Arc::new(Self { known: watch::Sender::default(), audit })
    }

    pub fn known(&self) -> Allowances {
        self.known.borrow().clone()
    }

    /// Tells when something else was agreed.
    pub fn watch(&self) -> watch::Receiver<Allowances> {
        self.known.subscribe()
    }

    /// Takes in what the placement group applied.
    pub fn applied(&self, rows: &[IndexRow]) {
        for row in rows {
            let IndexRow::Allowances(row) = row else { continue };
            self.known.send_if_modified(|known| {
                let is_news = row.epoch > known.epoch;
                if is_news {
                    self.record(known, row);
                    known.clone_from(row);
                }
                is_news
            });
        }
    }

    fn record(&self, before: &Allowances, now: &Allowances) {
        if let Some(AllowanceProposal { minutes, by, at, .. }) = &now.proposal
            && before.proposal != now.proposal
        {
            tracing::warn!(by, minutes, "chaos is proposed to be allowed on this cluster");
            self.audit.note(at.0, Event::chaos(by, Deed::AllowanceProposed));
        }
        if let Some(Allowance { since, until, proposed_by, approved_by, .. }) = &now.allowance
            && before.allowance != now.allowance
        {
            tracing::warn!(
                proposed_by,
                approved_by,
                until_ms = until.0,
                "CHAOS IS ALLOWED on this cluster"
            );
            let begun = OfChaos::by(approved_by, Deed::AllowanceBegun);
            let (proposed_by, until_ms) = (Some(proposed_by.as_str()), Some(until.0));
            self.audit.note(since.0, Event::Chaos(OfChaos { proposed_by, until_ms, ..begun }));
        }
        // What ended before this node knew of it is no news here.
        if let Some(Ended { at, by }) = &now.ended
            && (before.allowance.is_some() || before.proposal.is_some())
        {
            tracing::warn!(by, "chaos is allowed no more");
            self.audit.note(at.0, Event::chaos(by, Deed::AllowanceEnded));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::time::Millis;

    use super::*;

    fn allowed(epoch: u64) -> IndexRow {
        let (why, proposed_by, approved_by) = ("a game".into(), "ann".into(), "bob".into());
        let (since, until) = (Millis(5), Millis(60_000));
        let allowance = Allowance { since, until, why, proposed_by, approved_by };
        IndexRow::Allowances(Allowances {
            epoch,
            allowance: Some(allowance),
            ..Allowances::default()
        })
    }

    fn ended(epoch: u64) -> IndexRow {
        let ended = Some(Ended { at: Millis(9), by: "cid".into() });
        IndexRow::Allowances(Allowances { epoch, ended, ..Allowances::default() })
    }

    #[tokio::test]
    async fn an_earlier_row_takes_nothing_back() {
        let agreement = Agreement::new(Audit::nowhere());
        let mut news = agreement.watch();
        agreement.applied(&[allowed(2), ended(3), allowed(2)]);
        assert!(news.has_changed().unwrap());
        assert_eq!(news.borrow_and_update().epoch, 3);
        assert_eq!(agreement.known().in_force(Millis(6)), None);
        agreement.applied(&[ended(3)]);
        assert!(!news.has_changed().unwrap());
        agreement.applied(&[allowed(4)]);
        assert!(agreement.known().in_force(Millis(6)).is_some());
    }
}
