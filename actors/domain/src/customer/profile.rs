//! Who a customer is, where, and how well it is served: what operators say of it.
//!
//! It counts for requests that are made from then on; a ticket keeps the place, and what follows from the tier, that
//! it was opened with.
//!
//! **Invariants:** a revision keeps the bounds of a registration; what is so already is no event. **Not here:** its
//! zone (`site`), its wishes (`wishes`).

use fieldmesh_calendar::zone::Zone;
use minicbor::{Decode, Encode};

use super::{Customer, Event, NAME_BYTES_MAX, Standing};
use crate::{Rejection, RejectionCode, message::Location};

/// The tiers are 1, the best, to this.
pub const TIER_MAX: u8 = 5;

/// What is otherwise of a customer; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Revision {
    #[n(0)]
    pub name: Option<String>,
    #[n(1)]
    pub location: Option<Location>,
    #[n(2)]
    pub tier: Option<u8>,
}

fn check(
    name: Option<&str>,
    location: Option<Location>,
    tier: Option<u8>,
) -> Result<(), Rejection> {
    let invalid = |text: &'static str| Rejection::new(RejectionCode::Invalid, text);
    if name.is_some_and(|name| !(1..=NAME_BYTES_MAX).contains(&name.len())) {
        return invalid("a name has 1 to 256 bytes");
    }
    if location.is_some_and(|location| !location.is_on_earth()) {
        return invalid("the location is not on earth");
    }
    if tier.is_some_and(|tier| !(1..=TIER_MAX).contains(&tier)) {
        return invalid("a tier is 1, the best, to 5");
    }
    Ok(())
}

impl Customer {
    pub(super) fn register(
        &self,
        name: &str,
        location: Location,
        tier: u8,
        zone: Option<&(Zone, String)>,
    ) -> Result<Vec<Event>, Rejection> {
        if self.standing != Standing::Unknown {
            let same = self.name == name && self.location == location && self.tier == tier;
            return if same {
                Ok(vec![])
            } else {
                let text = "the customer exists with another name, place or tier: give it another \
                            key, or what is there, or change that first";
                Rejection::new(RejectionCode::Exists, text)
            };
        }
        check(Some(name), Some(location), Some(tier))?;
        let mut events = vec![Event::Registered { name: name.to_owned(), location, tier }];
        if let Some((zone, by)) = zone {
            events.extend(self.set_zone(Some(zone), by)?);
        }
        Ok(events)
    }

    /// What is really otherwise.
    pub(super) fn revise(&self, revision: &Revision, by: &str) -> Result<Vec<Event>, Rejection> {
        let Revision { name, location, tier } = revision;
        check(name.as_deref(), *location, *tier)?;
        let revision = Revision {
            name: name.clone().filter(|name| *name != self.name),
            location: location.filter(|location| *location != self.location),
            tier: tier.filter(|tier| *tier != self.tier),
        };
        let is_news = revision != Revision::default();
        let revised = Event::Revised { revision, by: by.to_owned() };
        Ok(is_news.then_some(revised).into_iter().collect())
    }

    pub(super) fn revised(&mut self, revision: &Revision) {
        let Revision { name, location, tier } = revision;
        if let Some(name) = name {
            self.name.clone_from(name);
        }
        self.location = location.unwrap_or(self.location);
        self.tier = tier.unwrap_or(self.tier);
    }
}
