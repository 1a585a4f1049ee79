//! The facts of a ticket that is opened.
//!
//! The site is the customer's, and civil time is that of its clocks: by the zone that was said of it, otherwise by
//! the zone that the node's configuration has for its region. Zones and their rules are those that are built in,
//! and whoever leads the shard gathers; what follows is in the ticket's events, so no other node does it again.
//!
//! **Invariant:** each value is in the range of the schema, whatever the request says. **Not here:** counting
//! (`history`), the rules.

use fieldmesh_calendar::{interval::UnixMs, zone::Zone};
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

use super::history::Before;

/// A request, as its ticket is opened.
pub(crate) struct Opened<'a> {
    pub(crate) ticket: EntityId,
    pub(crate) customer: EntityId,
    pub(crate) body: &'a RequestBody,
    pub(crate) tier: u8,
    /// None from an earlier release.
    pub(crate) background: Option<&'a Background>,
    /// Of sites whose zone nobody said.
    pub(crate) zone: &'a Zone,
    pub(crate) now: Millis,
}

impl Opened<'_> {
    /// Where the customer is; where the request is, as long as the customer does not say.
    pub(crate) fn site(&self) -> Location {
        self.background.map_or(self.body.location, |background| background.site)
    }

    /// The site's zone. One that this release does not know, because a newer one stored it, is none.
    fn zone(&self) -> Zone {
        let said = self.background.and_then(|background| background.zone.as_ref());
        let known = |zone: &Zone| zone.rules().ok().map(|(zone, _)| zone);
        said.and_then(known).or_else(|| known(self.zone)).unwrap_or_else(Zone::utc)
    }
}

/// Everything that rules may look at.
pub(crate) fn gather(opened: &Opened<'_>, before: &Before) -> Facts {
    let Opened { customer, body, tier, background, now, .. } = opened;
    let (site, place) = (on_earth(opened.site()), on_earth(body.location));
    let zone = opened.zone();
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
            zone: zone.name().to_owned(),
            region: region.clone(),
        },
        history: HistoryFacts { customer: asked, category: before.category, site: before.site },
        now: at(*now, &zone),
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

/// What the clocks of a zone show.
fn at(now: Millis, zone: &Zone) -> NowFacts {
    let unix_ms = number(now.0);
    let unknown = NowFacts { unix_ms, ..NowFacts::default() };
    let Ok((_, rules)) = zone.rules() else { return unknown };
    let wall = rules.datetime(UnixMs(now.0));
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
        let background = Background {
            open_tickets: u32::MAX,
            requests: [u32::MAX; 4],
            site: location,
            zone: None,
        };
        for background in [None, Some(&background)] {
            let ticket = EntityId::ticket_of(customer, [1; 16]);
            let now = Millis(4_102_444_800_000);
            let zone = &Zone::utc();
            let opened = Opened { ticket, customer, body: &body, tier: 0, background, zone, now };
            gather(&opened, &Before::default()).check().unwrap();
        }
    }

    fn shown(now_ms: u64, zone: &str) -> [i64; 6] {
        let facts = at(Millis(now_ms), &Zone::new(zone).unwrap());
        [facts.year, facts.month, facts.day, facts.weekday, facts.hour, facts.minute]
    }

    /// On either side of both changes of the clocks, and of a midnight that is another day elsewhere.
    #[test]
    fn civil_time_is_that_of_the_sites_clocks() {
        // A Sunday, shortly before midnight in UTC.
        assert_eq!(shown(1_795_996_740_000, "UTC"), [2026, 11, 29, 7, 23, 59]);
        assert_eq!(shown(1_795_996_740_000, "Asia/Kolkata"), [2026, 11, 30, 1, 5, 29]);
        // 2026-03-29 00:59:59 and 01:00:00 UTC: there is no 02:30 in Berlin.
        assert_eq!(shown(1_774_745_999_000, "Europe/Berlin"), [2026, 3, 29, 7, 1, 59]);
        assert_eq!(shown(1_774_746_000_000, "Europe/Berlin"), [2026, 3, 29, 7, 3, 0]);
        // 2026-10-25 00:30 and 01:30 UTC: 02:30 is there twice.
        assert_eq!(shown(1_792_888_200_000, "Europe/Berlin"), [2026, 10, 25, 7, 2, 30]);
        assert_eq!(shown(1_792_891_800_000, "Europe/Berlin"), [2026, 10, 25, 7, 2, 30]);
    }

    /// What was said of the site, before what the region has, before UTC.
    #[test]
    fn a_site_without_a_zone_has_that_of_its_region() {
        let customer = EntityId::new(EntityKind::Customer, "eu1".parse().unwrap(), [7; 10]);
        let (location, text) = (Location::default(), String::new());
        let body =
            RequestBody { category: 1, subcategory: 1, impact: 1, urgency: 1, location, text };
        let (ticket, now) = (EntityId::ticket_of(customer, [1; 16]), Millis(1_774_746_000_000));
        let unknown: Zone = minicbor::decode(&minicbor::to_vec("Moon/Tycho").unwrap()).unwrap();
        let berlin = Zone::new("Europe/Berlin").unwrap();
        for (said, zone, found, hour) in [
            (Some(berlin.clone()), Zone::utc(), "Europe/Berlin", 3),
            (None, berlin.clone(), "Europe/Berlin", 3),
            (Some(unknown.clone()), berlin, "Europe/Berlin", 3),
            (Some(unknown.clone()), unknown, "UTC", 1),
        ] {
            let background =
                Background { open_tickets: 0, requests: [0; 4], site: location, zone: said };
            let (background, zone) = (Some(&background), &zone);
            let opened = Opened { ticket, customer, body: &body, tier: 1, background, zone, now };
            let facts = gather(&opened, &Before::default());
            assert_eq!((facts.site.zone.as_str(), facts.now.hour), (found, hour));
        }
    }
}
