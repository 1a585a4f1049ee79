//! The bodies of requests that operators send: each type of them, with such as are valid.
//!
//! Guided by coverage they are read in `node/fuzz`, too (`rest`). **Invariant:** what a handler takes as a body is here.

use std::{collections::BTreeSet, fs, path::Path};

use crate::web;

/// Each type with its valid bodies.
macro_rules! sent {
    ($($body:ty: [$($valid:expr,)+];)+) => {
        const READ: &[&str] = &[$(stringify!($body)),+];

        #[test]
        fn what_operators_send() {
            $(super::bodies::<$body>(&[$($valid),+], |_| {});)+
        }
    };
}

sent! {
    web::rest::NewCustomer: [
        r#"{"name":"Ada","location":{"lat_e6":48000000,"lon_e6":-2000000},"tier":1}"#,
        r#"{"name":"Ada","location":{"lat_e6":1,"lon_e6":2},"zone":"Europe/Berlin"}"#,
    ];
    web::rest::NewTechnician: [
        r#"{"name":"Bo","home":{"lat_e6":1,"lon_e6":2},"capacity":2,"skills":[{"category":11,
            "level":3},{"category":12,"level":1,"expires_ms":5}]}"#,
    ];
    web::orders::NewOrder: [
        r#"{"order":"hold","until_ms":1800000000000,"reason":"parts"}"#,
        r#"{"order":"resume"}"#,
        r#"{"order":"reassign","to":null}"#,
        r#"{"order":"amend","priority":2,"location":{"lat_e6":1,"lon_e6":2}}"#,
        r#"{"order":"message","to":"both","text":"hello","enclosure":{"number":1,"name":"a.jpg",
            "bytes":9,"digest":"00","key":"01"}}"#,
        r#"{"order":"eta","minutes":30}"#,
        r#"{"order":"move","to":"tec_eu1_0","epoch":3}"#,
    ];
    web::policies::simulation::NewSimulation: [
        r#"{"policy":"day","priority":2,"technicians":[{"distance_m":9,"accepts_after_s":60}],
            "people":[{"name":"eve","at_telling":1}],"until_s":3600}"#,
    ];
    web::whatif::NewWhatIf: [
        r#"{"category":11,"priority":2,"location":{"lat_e6":1,"lon_e6":2},"without":["x"]}"#,
    ];
    web::submit::NewTicket: [
        r#"{"customer":"cus_eu1_0","category":11,"text":"leak"}"#,
        r#"{"customer":"cus_eu1_0","category":11,"subcategory":2,"impact":1,"urgency":3,
            "location":{"lat_e6":1,"lon_e6":2},"text":"leak"}"#,
    ];
    web::standing::NewCustomerRevision: [
        r#"{"name":"Bo","location":{"lat_e6":1,"lon_e6":2},"tier":3}"#,
    ];
    web::standing::NewSuspension: [
        r#"{"suspended":true}"#,
    ];
    web::areas::NewAreas: [
        r#"{"areas":[{"south_e6":1,"west_e6":-2,"north_e6":3,"east_e6":4}]}"#,
    ];
    web::plan::NewPlan: [
        r#"{"hours":4,"deadline_ms":100,"seed":7}"#,
    ];
    web::people::NewRevision: [
        r#"{"name":"Bo","home":{"lat_e6":1,"lon_e6":2},"skills":[{"category":1,"level":2}],
            "capacity":3,"stock":{"valve":2}}"#,
    ];
    web::people::NewPreferences: [
        r#"{"preferred":["tec_eu1_0"],"blocked":[]}"#,
    ];
    web::people::NewZone: [
        r#"{"zone":"Europe/Berlin"}"#,
        r#"{"zone":null}"#,
    ];
    web::shifts::NewDuty: [
        r#"{"on_shift":true}"#,
    ];
    web::shifts::NewRoster: [
        r#"{"roster":{"zone":"UTC","shifts":[{"days":"MO","start":"08:00","end":"16:00",
            "breaks":["12:00-12:30"],"skill":3}],"dates":[{"date":"2026-10-25"}],
            "holidays":["2026-12-25"]}}"#,
        r#"{"roster":null}"#,
    ];
    web::shifts::NewSwap: [
        r#"{"date":"2026-10-25","to":"tec_eu1_0"}"#,
    ];
    web::documents::Draft: [
        r#"{"text":"rule"}"#,
    ];
    web::documents::NewVersion: [
        r#"{"text":"rule","base":3}"#,
    ];
    web::policies::NewDocument: [
        r#"{"text":"policy","base":2}"#,
    ];
    web::policies::SilenceView: [
        r#"{"name":"night","until_ms":1800000000000}"#,
        r#"{"name":"works","kind":"maintenance","from_ms":1,"until_ms":2,"regions":["eu1"],
            "categories":[1],"priorities":[5],"customers":["cus_eu1_0"],"area":{"middle":{"lat_e6":1,
            "lon_e6":2},"radius_km":3},"reason":"r"}"#,
    ];
    web::notices::NewText: [
        r#"{"text":"[[webhook]]"}"#,
    ];
    web::notices::NewDocument: [
        r#"{"text":"[[webhook]]","base":0}"#,
    ];
    web::integrations::NewIntegration: [
        r#"{"name":"probe","kind":"alertmanager","customer":"cus_eu1_0","category":1,
            "location":{"lat_e6":1,"lon_e6":2},"severities":[{"name":"page","impact":1,"urgency":2}],
            "labels":[{"name":"job","value":"db","category":3}]}"#,
    ];
    web::ca::Decide: [
        r#"{"why":"known","key_sha256":"00"}"#,
        r#"{}"#,
    ];
    web::ca::NewRegistration: [
        r#"{"id":"cus_eu1_0","profile":"customer","label":"Ada"}"#,
    ];
    web::ca::NewToken: [
        r#"{"id":"cus_eu1_0","profile":"customer","label":"Ada","pre_approved":true,"valid_s":60}"#,
    ];
    web::ca::Revoke: [
        r#"{"reason":"keyCompromise","unregistered":true}"#,
    ];
    web::ca::NewAuthority: [
        r#"{"certificate":"-----BEGIN CERTIFICATE-----"}"#,
    ];
    web::ca::TakeStep: [
        r#"{"compromised":true,"cut_off":false}"#,
    ];
    web::cluster::Assignment: [
        r#"{"voters":[1,2,3]}"#,
    ];
    web::cluster::NewMember: [
        r#"{"number":4,"cluster":"fieldmesh.internal","region":"eu1","shards":2,
            "mesh":"127.0.0.4:7444","devices":"127.0.0.4:7443","https":"127.0.0.4:8443"}"#,
    ];
    web::cluster::PolicyView: [
        r#"{"policy":"standby","regions":["us1"]}"#,
    ];
    web::promotion::Successor: [
        r#"{"member":{"number":4,"cluster":"fieldmesh.internal","region":"eu1","shards":2,
            "mesh":"127.0.0.4:7444","devices":"127.0.0.4:7443","https":"127.0.0.4:8443"},
            "registration":"00"}"#,
    ];
    web::slots::SlotMoves: [
        r#"{"slots":[0,1023],"to":3}"#,
    ];
    web::backup::Hold: [
        r#"{"id":"a","groups":[1,2]}"#,
    ];
    web::backup::OfBackup: [
        r#"{"id":"a"}"#,
    ];
    web::chaos::NewLease: [
        r#"{"fault":{"kind":"slow_disk","delay_ms":5},"lasts_ms":5000}"#,
        r#"{"fault":{"kind":"network","direction":"in","delay_ms":1,"jitter_ms":2,"loss_percent":3,
            "duplicate_percent":4,"reorder_percent":5,"corrupt_percent":6,"rate_kbit":7,"flap_ms":null},
            "lasts_ms":1}"#,
        r#"{"fault":{"kind":"link","with":{"node":2},"network":{"direction":"in","delay_ms":1,
            "jitter_ms":2,"loss_percent":3,"duplicate_percent":4,"reorder_percent":5,
            "corrupt_percent":6,"rate_kbit":7,"flap_ms":null}},"lasts_ms":1}"#,
        r#"{"fault":{"kind":"clock","offset_ms":-5},"lasts_ms":2}"#,
    ];
    web::chaos::allowance::NewAllowance: [
        r#"{"minutes":30,"why":"game day"}"#,
    ];
    web::chaos::runs::NewRun: [
        r#"{"scenario":"bridge","document":"00","seed":42,"target":"https://node"}"#,
    ];
    web::chaos::runs::RunOver: [
        r#"{"exit":1}"#,
    ];
}

/// The last part of a path.
fn name(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path).trim()
}

/// What the handlers of a folder's files take as JSON.
fn taken(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            taken(&path, into);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for before in [": web::Json<", ": Option<web::Json<"] {
            let bodies = text.split(before).skip(1).filter_map(|rest| rest.split('>').next());
            into.extend(bodies.map(|body| name(body).to_owned()));
        }
    }
}

#[test]
fn each_body_that_a_handler_takes_is_read() {
    let read: BTreeSet<String> = READ.iter().map(|body| name(body).to_owned()).collect();
    let mut bodies = BTreeSet::new();
    taken(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web"), &mut bodies);
    assert!(bodies.len() > 30, "the handlers were not found: {bodies:?}");
    let missing: Vec<_> = bodies.difference(&read).collect();
    assert!(missing.is_empty(), "add them to `sent!`, and to node/fuzz: {missing:?}");
}
