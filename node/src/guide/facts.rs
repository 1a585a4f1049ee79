//! The facts of a ticket that is opened.
//!
//! The site is the customer's. Its zone is not known to the system, so civil time is that of UTC.
//!
//! **Invariant:** each value is in the range of the schema, whatever the request says. **Not here:** counting
//! (`history`), the rules.

use fieldmesh_domain::{
    EntityId,
    message::{Location, RequestBody},
    ticket::Background,
    time::Millis,
    triage,
};
use fieldmesh_rules::{
    Facts,
    facts::{Counts, CustomerFacts, HistoryFacts, NowFacts, SiteFacts, TicketFacts},
    schema::{FACT_MAX, TEXT_BYTES_MAX},
};
use jiff::{Timestamp, tz::TimeZone};

use super::history::Before;

/// A request, as its ticket is opened.
pub(crate) struct Opened<'a> {
    pub(crate) ticket: EntityId,
    pub(crate) customer: EntityId,
    pub(crate) body: &'a RequestBody,
    pub(crate) tier: u8,
    /// None from an earlier release.
    pub(crate) background: Option<&'a Background>,
    pub(crate) now: Millis,
}

impl Opened<'_> {
    /// Where the customer is; where the request is, as long as the customer does not say.
    pub(crate) fn site(&self) -> Location {
        self.background.map_or(self.body.location, |background| background.site)
    }
}

/// Everything that rules may look at.
pub(crate) fn gather(opened: &Opened<'_>, before: &Before) -> Facts {
    let Opened { customer, body, tier, background, now, .. } = opened;
    let (site, place) = (on_earth(opened.site()), on_earth(body.location));
    let region = customer.region().to_string();
    let ticket = TicketFacts {
        category: i64::from(body.category),
        subcategory: i64::from(body.subcategory),
        impact: i64::from(body.impact.clamp(1, 3)),
        urgency: i64::from(body.urgency.clamp(1, 3)),
        text: start_of(&body.text),
        priority: i64::from(triage::priority(body, *tier)),
        opened_at: number(now.0),
        lat_e6: i64::from(place.lat_e6),
        lon_e6: i64::from(place.lon_e6),
    };
    let open_tickets = background.map_or(0, |background| i64::from(background.open_tickets));
    let id = customer.to_string();
    let customer = CustomerFacts { id, tier: i64::from(*tier), open_tickets };
    let [count_10m, count_1h, count_24h, count_7d] =
        background.map_or([0; 4], |background| background.requests.map(i64::from));
    let asked = Counts { count_10m, count_1h, count_24h, count_7d };
    Facts {
        ticket,
        customer,
        site: SiteFacts {
            lat_e6: i64::from(site.lat_e6),
            lon_e6: i64::from(site.lon_e6),
            zone: String::new(),
            region: region.clone(),
        },
        history: HistoryFacts { customer: asked, category: before.category, site: before.site },
        now: at(*now),
        region,
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(FACT_MAX).min(FACT_MAX)
}

fn on_earth(place: Location) -> Location {
    Location {
        lat_e6: place.lat_e6.clamp(-90_000_000, 90_000_000),
        lon_e6: place.lon_e6.clamp(-180_000_000, 180_000_000),
    }
}

fn start_of(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

/// The civil time of UTC.
fn at(now: Millis) -> NowFacts {
    let unix_ms = number(now.0);
    let timestamp = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::MAX);
    let wall = TimeZone::UTC.to_datetime(timestamp);
    NowFacts {
        unix_ms,
        year: i64::from(wall.year()),
        month: i64::from(wall.month()),
        day: i64::from(wall.day()),
        weekday: i64::from(wall.weekday().to_monday_one_offset()),
        hour: i64::from(wall.hour()),
        minute: i64::from(wall.minute()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::EntityKind;

    use super::*;

    /// Rules fail where a fact is out of its range: no request may bring that about.
    #[test]
    fn facts_are_in_their_ranges_whatever_a_request_says() {
        let customer = EntityId::new(EntityKind::Customer, "eu1".parse().unwrap(), [7; 10]);
        let location = Location { lat_e6: i32::MIN, lon_e6: i32::MAX };
        let body = RequestBody {
            category: u16::MAX,
            subcategory: u16::MAX,
            impact: 0,
            urgency: 9,
            location,
            text: "é".repeat(TEXT_BYTES_MAX),
        };
        let background =
            Background { open_tickets: u32::MAX, requests: [u32::MAX; 4], site: location };
        for background in [None, Some(&background)] {
            let ticket = EntityId::ticket_of(customer, [1; 16]);
            let now = Millis(4_102_444_800_000);
            let opened = Opened { ticket, customer, body: &body, tier: 0, background, now };
            gather(&opened, &Before::default()).check().unwrap();
        }
    }

    #[test]
    fn civil_time_is_that_of_utc() {
        // A Sunday, shortly before midnight.
        let facts = at(Millis(1_795_996_740_000));
        let found = (facts.year, facts.month, facts.day, facts.weekday, facts.hour, facts.minute);
        assert_eq!(found, (2026, 11, 29, 7, 23, 59));
    }
}
