//! Which technicians a customer would like to see, and which not.
//!
//! They count for requests that are made from then on: a ticket keeps what its customer wished when it was
//! opened, so that what was chosen for it can be told later.
//!
//! **Invariants:** nobody is both preferred and blocked; both lists are bounded and name technicians of the
//! customer's region, who alone are chosen for it. **Not here:** what a wish is worth (`selection`).

use std::collections::BTreeSet;

use super::{Customer, Event};
use crate::{EntityId, EntityKind, Rejection, RejectionCode, selection::Wishes};

/// Technicians in each list: more than ever come to one customer.
pub const WISHES_MAX: usize = 32;

fn check(wishes: &Wishes, id: EntityId) -> Result<(), Rejection> {
    let invalid = |text: String| Rejection::new(RejectionCode::Invalid, text);
    let Wishes { preferred, blocked } = wishes;
    if preferred.len().max(blocked.len()) > WISHES_MAX {
        return invalid(format!(
            "at most {WISHES_MAX} technicians are preferred, and as many blocked"
        ));
    }
    if let Some(both) = preferred.intersection(blocked).next() {
        return invalid(format!("{both} is preferred and blocked: take it out of one list"));
    }
    let is_own = |technician: &&EntityId| {
        technician.kind() == EntityKind::Technician && technician.region() == id.region()
    };
    let mut all: BTreeSet<&EntityId> = preferred.union(blocked).collect();
    all.retain(|technician| !is_own(technician));
    match all.first() {
        Some(other) => invalid(format!("{other} is no technician of the customer's region")),
        None => Ok(()),
    }
}

impl Customer {
    pub(super) fn set_wishes(
        &self,
        wishes: &Wishes,
        by: &str,
        id: EntityId,
    ) -> Result<Vec<Event>, Rejection> {
        check(wishes, id)?;
        let none = Wishes::default();
        if self.wishes.as_ref().unwrap_or(&none) == wishes {
            return Ok(vec![]);
        }
        Ok(vec![Event::PreferencesSet { wishes: wishes.clone(), by: by.to_owned() }])
    }

    pub(super) fn wishes_set(&mut self, wishes: &Wishes) {
        self.wishes = (*wishes != Wishes::default()).then(|| wishes.clone());
    }
}
