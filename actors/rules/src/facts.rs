//! What a rule may know of a ticket at the moment it is decided.
//!
//! Whoever decides gathers the facts and gives them in whole: counts are counted, civil time is
//! computed from the site's zone, the built-in priority is there. All of them are whole numbers and
//! texts, so that a rule gives the same answer on every machine. Facts can be stored beside a
//! ticket and rules be tried on them later; field numbers only grow.
//!
//! **Invariants:** every fact always has a value; [`Facts::check`] says whether it is in the range
//! that the schema gives, on which the cost of a rule is computed. **Not here:** names, ranges and
//! descriptions (`schema`), where the values come from.

use minicbor::{Decode, Encode};

use crate::schema::{self, Access, Fact, Values};

/// What is decided about: `ticket.…`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TicketFacts {
    #[n(0)]
    pub category: i64,
    #[n(1)]
    pub subcategory: i64,
    #[n(2)]
    pub impact: i64,
    #[n(3)]
    pub urgency: i64,
    #[n(4)]
    pub text: String,
    #[n(5)]
    pub priority: i64,
    #[n(6)]
    pub opened_at: i64,
    #[n(7)]
    pub lat_e6: i64,
    #[n(8)]
    pub lon_e6: i64,
}

/// Who asks: `customer.…`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CustomerFacts {
    #[n(0)]
    pub id: String,
    #[n(1)]
    pub tier: i64,
    #[n(2)]
    pub open_tickets: i64,
}

/// Where the work is: `site.…`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct SiteFacts {
    #[n(0)]
    pub lat_e6: i64,
    #[n(1)]
    pub lon_e6: i64,
    #[n(2)]
    pub zone: String,
    #[n(3)]
    pub region: String,
}

/// How many tickets there were in the time before this one, without it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counts {
    #[n(0)]
    pub count_10m: i64,
    #[n(1)]
    pub count_1h: i64,
    #[n(2)]
    pub count_24h: i64,
    #[n(3)]
    pub count_7d: i64,
}

/// What was before: `history.…`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct HistoryFacts {
    #[n(0)]
    pub customer: Counts,
    #[n(1)]
    pub category: Counts,
    #[n(2)]
    pub site: Counts,
}

/// When it is decided, with the civil time of the site's zone: `now.…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct NowFacts {
    #[n(0)]
    pub unix_ms: i64,
    #[n(1)]
    pub year: i64,
    #[n(2)]
    pub month: i64,
    #[n(3)]
    pub day: i64,
    #[n(4)]
    pub weekday: i64,
    #[n(5)]
    pub hour: i64,
    #[n(6)]
    pub minute: i64,
}

/// Everything that a rule may read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Facts {
    #[n(0)]
    pub ticket: TicketFacts,
    #[n(1)]
    pub customer: CustomerFacts,
    #[n(2)]
    pub site: SiteFacts,
    #[n(3)]
    pub history: HistoryFacts,
    #[n(4)]
    pub now: NowFacts,
    #[n(5)]
    pub region: String,
}

/// The least urgent ticket there is: what a test does not say of its ticket.
impl Default for TicketFacts {
    fn default() -> Self {
        Self {
            category: 0,
            subcategory: 0,
            impact: 3,
            urgency: 3,
            text: String::new(),
            priority: 5,
            opened_at: 0,
            lat_e6: 0,
            lon_e6: 0,
        }
    }
}

impl Default for CustomerFacts {
    fn default() -> Self {
        Self { id: String::new(), tier: 3, open_tickets: 0 }
    }
}

/// Midnight, the first day of 1970, a Thursday.
impl Default for NowFacts {
    fn default() -> Self {
        Self { unix_ms: 0, year: 1970, month: 1, day: 1, weekday: 4, hour: 0, minute: 0 }
    }
}

/// Why facts cannot be decided on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    #[error("{fact} is {found}, not {min} to {max}; correct what gathers the facts")]
    Range { fact: &'static str, found: i64, min: i64, max: i64 },
    #[error("{fact} has {found} bytes, more than {max}; correct what gathers the facts")]
    Long { fact: &'static str, found: usize, max: usize },
}

impl Facts {
    /// # Errors
    /// The first fact that is out of the range of the schema.
    pub fn check(&self) -> Result<(), FactError> {
        schema::FACTS.iter().try_for_each(|fact| self.check_one(fact))
    }

    fn check_one(&self, fact: &Fact) -> Result<(), FactError> {
        match (&fact.access, &fact.values) {
            (Access::Int(read, _), Values::Int { min, max }) => {
                let found = read(self);
                if (*min..=*max).contains(&found) {
                    return Ok(());
                }
                Err(FactError::Range { fact: fact.name, found, min: *min, max: *max })
            }
            (Access::Text(read, _), Values::Text { bytes_max }) => {
                let found = read(self).len();
                if found <= *bytes_max {
                    return Ok(());
                }
                Err(FactError::Long { fact: fact.name, found, max: *bytes_max })
            }
            (Access::Int(..), Values::Text { .. }) | (Access::Text(..), Values::Int { .. }) => {
                // The table is written by macros that give both sides the same type.
                Ok(())
            }
        }
    }
}
