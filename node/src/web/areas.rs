//! `/v1/cluster/regions/{region}/areas`: where a region's people live; and whether an address fits that.
//!
//! **Invariant:** an address that is in no region's area is refused before anything is written. **Not here:** boxes
//! (`domain::placement`); requests, which are taken from anywhere.
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use actix_web::{http::StatusCode, web};
use fieldmesh_actors::seams::JournalError;
use fieldmesh_domain::{
    Region,
    message::Location,
    placement::{self, Area, Areas, Home, Members, Whereabouts},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared,
    cluster::{ClusterView, ask, view},
    operator::Operator,
    problem::Problem,
};
use crate::{journal::HistoryEntry, story};

pub fn routes(scope: &mut web::ServiceConfig) {
    scope.route("/cluster/regions/{region}/areas", web::put().to(set_areas));
}

/// A box in millionths of a degree; from west to east it may cross the meridian of 180°.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BoxView {
    pub south_e6: i32,
    pub west_e6: i32,
    pub north_e6: i32,
    pub east_e6: i32,
}

impl BoxView {
    /// In degrees, as the command takes it.
    pub(crate) fn text(self) -> String {
        Area::from(self).to_string()
    }
}

impl From<BoxView> for Area {
    fn from(view: BoxView) -> Self {
        let BoxView { south_e6, west_e6, north_e6, east_e6 } = view;
        Self { south_e6, west_e6, north_e6, east_e6 }
    }
}

/// Where a region's people live.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAreas {
    /// All that it has, 16 at most; none: nobody says where it is.
    pub areas: Vec<BoxView>,
}

/// Those of a region.
pub(super) fn views(home: &Home) -> Vec<BoxView> {
    let view = |area: &Area| {
        let Area { south_e6, west_e6, north_e6, east_e6 } = *area;
        BoxView { south_e6, west_e6, north_e6, east_e6 }
    };
    home.areas().iter().map(view).collect()
}

/// Where a region's people live from now on: an address in no region's area is refused as soon as one has any.
#[utoipa::path(put, path = "/v1/cluster/regions/{region}/areas", request_body = NewAreas, responses((status = 200, body = ClusterView)))]
pub async fn set_areas(
    operator: Operator,
    region: web::Path<String>,
    body: web::Json<NewAreas>,
    shared: web::Data<Shared>,
) -> Result<web::Json<ClusterView>, Problem> {
    let region = region.parse().map_err(Problem::invalid)?;
    let (areas, by) = (body.areas.iter().copied().map(Area::from).collect(), operator.name);
    ask(&shared, placement::Command::SetAreas(Areas { region, areas, by })).await?;
    Ok(web::Json(view(&shared).await))
}

/// Whether any region has an area.
pub(super) fn are_any(shared: &Shared) -> bool {
    shared.node.known.known().homes.iter().any(|home| !home.areas().is_empty())
}

/// Refuses an address that is in no region's area, unless whoever is registered already has it; of that one, and of
/// one that is in another region's alone, what there is to say.
pub(super) fn judged(
    shared: &Shared,
    region: Region,
    place: Location,
    before: Option<Location>,
) -> Result<Option<String>, Problem> {
    match judged_by(&shared.node.known.known(), region, place) {
        Err(text) if before == Some(place) => Ok(Some(text)),
        judged => judged.map_err(|text| Problem::new(StatusCode::CONFLICT, "refused", text)),
    }
}

fn judged_by(known: &Members, region: Region, place: Location) -> Result<Option<String>, String> {
    // Of what is nowhere on earth the entity says so.
    if !place.is_on_earth() {
        return Ok(None);
    }
    match known.whereabouts(region, place) {
        Whereabouts::Here => Ok(None),
        Whereabouts::Elsewhere(regions) => {
            let regions: Vec<String> = regions.iter().map(Region::to_string).collect();
            let of = regions.join(" and ");
            Ok(Some(format!(
                "{place} is in the area of {of} and not of {region}, where it is registered: right if that is meant"
            )))
        }
        Whereabouts::Nowhere => {
            let swapped = Location { lat_e6: place.lon_e6, lon_e6: place.lat_e6 };
            let is_somewhere =
                swapped.is_on_earth() && known.whereabouts(region, swapped) != Whereabouts::Nowhere;
            let remedy = if is_somewhere {
                format!("{swapped} is: exchange latitude and longitude")
            } else {
                format!(
                    "correct it, or have `fieldmesh cluster area {region}` say that people live there too"
                )
            };
            Err(format!("{place} is in no region's area; {remedy}"))
        }
    }
}

/// What there is to say of a ticket's place; the request was taken all the same.
pub(super) fn noted(
    shared: &Shared,
    region: Region,
    history: &[HistoryEntry],
) -> Result<Option<String>, JournalError> {
    if !are_any(shared) {
        return Ok(None);
    }
    let known = shared.node.known.known();
    let place = story::place(history)?;
    let is_nowhere =
        place.is_some_and(|place| known.whereabouts(region, place) == Whereabouts::Nowhere);
    Ok(is_nowhere.then(|| "its place is in no region's area".to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::IndexRow;

    use super::*;

    fn at(lat_e6: i32, lon_e6: i32) -> Location {
        Location { lat_e6, lon_e6 }
    }

    /// eu1 from 40° to 55° north, us1 across the meridian of 180°, and ap1 without a box.
    fn known() -> Members {
        let mut known = Members::default();
        let eu1 = Area {
            south_e6: 40_000_000,
            west_e6: -5_000_000,
            north_e6: 55_000_000,
            east_e6: 15_000_000,
        };
        let us1 = Area {
            south_e6: 50_000_000,
            west_e6: 170_000_000,
            north_e6: 70_000_000,
            east_e6: -120_000_000,
        };
        for (index, (region, area)) in
            [("eu1", Some(eu1)), ("us1", Some(us1)), ("ap1", None)].into_iter().enumerate()
        {
            let home = Home::new(region.parse().unwrap(), u32::try_from(index).unwrap(), 4);
            let home = Home { areas: area.map(|area| vec![area]), ..home };
            assert!(known.learn(&IndexRow::Home { home, epoch: 1 }));
        }
        known
    }

    #[test]
    fn an_address_is_refused_with_fact_and_remedy_where_it_is_nobodys() {
        let (known, eu1) = (known(), "eu1".parse().unwrap());
        let judged = |place| judged_by(&known, eu1, place);
        assert_eq!(judged(at(48_850_000, 2_350_000)), Ok(None));
        let word = judged(at(60_000_000, -150_500_000)).unwrap().unwrap();
        assert!(word.starts_with("60, -150.5 is in the area of us1 and not of eu1"), "{word}");
        let refused = judged(at(0, 0)).unwrap_err();
        let wanted =
            "0, 0 is in no region's area; correct it, or have `fieldmesh cluster area eu1`";
        assert!(refused.starts_with(wanted), "{refused}");
        let swapped = judged(at(2_350_000, 48_850_000)).unwrap_err();
        let wanted = "2.35, 48.85 is in no region's area; 48.85, 2.35 is: exchange";
        assert!(swapped.starts_with(wanted), "{swapped}");
        // The entity has its own word for it.
        assert_eq!(judged(at(91_000_000, 0)), Ok(None));
    }

    #[test]
    fn every_address_fits_where_nobody_says_where_a_region_is() {
        let eu1 = "eu1".parse().unwrap();
        assert_eq!(judged_by(&Members::default(), eu1, at(0, 0)), Ok(None));
        // A region without a box has no address of its own once another has one.
        let ap1 = "ap1".parse().unwrap();
        assert!(judged_by(&known(), ap1, at(0, 0)).is_err());
        assert!(judged_by(&known(), ap1, at(48_850_000, 2_350_000)).unwrap().is_some());
    }
}
