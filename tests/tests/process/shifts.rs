//! Rosters by the commands of operators: who is on shift when, who gets work, swaps, tables, health.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use fieldmesh_tests::{
    live::{until, until_within},
    process::{Finished, Launch, Server, fieldmesh, text},
};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

const DAY_MIN: u64 = 24 * 60;

fn now_min() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 60
}

/// A shift each day from so many minutes after now in UTC, for so long.
fn around_now(from_min: i64, length_min: u64) -> String {
    let start = now_min().checked_add_signed(from_min).unwrap() % DAY_MIN;
    let end = start + length_min;
    let time = |minute: u64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
    format!(
        "zone = \"UTC\"\n[[shifts]]\ndays = \"MO,TU,WE,TH,FR,SA,SU\"\nstart = \"{}\"\nend = \"{}\"\n\
         overnight = {}\n",
        time(start),
        time(end),
        end >= DAY_MIN
    )
}

struct Stand {
    server: Server,
    dirs: TempDir,
}

impl Stand {
    async fn new() -> Self {
        Self::of(|launch| launch).await
    }

    async fn of(with: impl Fn(Launch) -> Launch) -> Self {
        let dirs = TempDir::new().unwrap();
        let data = dirs.path().join("data");
        std::fs::create_dir(&data).unwrap();
        Self { server: with(Launch::dev(&data)).ready().await, dirs }
    }

    async fn run(&self, args: &[&str]) -> Finished {
        fieldmesh(&self.server.dir, args).await
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.dirs.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    async fn set(&self, technician: &str, roster: &str) -> Finished {
        let file = self.file("roster.toml", roster);
        self.run(&["shift", "set", technician, text(&file)]).await
    }

    async fn technicians(&self, names: &[&str]) -> Vec<String> {
        let rows = names.iter().map(|name| format!("{name},48.86,2.36,50,7:3\n"));
        let csv: String =
            ["name,lat,lon,capacity,skills\n".to_owned()].into_iter().chain(rows).collect();
        self.server.register("tech", &csv).await
    }

    /// Who is on shift at an instant.
    async fn who(&self, at: &str) -> Vec<String> {
        let who = self.server.ask(&["shift", "who", "--at", at]).await;
        let on_shift = who["on_shift"].as_array().unwrap();
        on_shift.iter().map(|one| one["technician"].as_str().unwrap().to_owned()).collect()
    }

    async fn duty(&self, technician: &str) -> Value {
        self.server.ask(&["shift", "show", technician]).await["duty"].clone()
    }

    /// Why a technician did not get the ticket, as the first choice has it.
    async fn reason(&self, ticket: &str, technician: &str) -> String {
        let excluded = until("a choice", async || {
            let choices = self.server.ask(&["ticket", "explain", ticket]).await;
            choices["choices"].get(0).map(|choice| choice["excluded"].clone())
        });
        let excluded = excluded.await;
        let one = excluded.as_array().unwrap().iter().find(|one| one["technician"] == technician);
        one.map(|one| one["reason"].as_str().unwrap().to_owned()).unwrap_or_default()
    }
}

fn ended(finished: Finished, code: i32, word: &str) -> Value {
    let finished = finished.expect_code(code);
    assert!(finished.to_string().contains(word), "{word:?} is not said by {finished}");
    finished.json()
}

#[tokio::test]
async fn a_roster_decides_who_gets_work() {
    let stand = Stand::new().await;
    let devices = stand.dirs.path().join("devices");
    std::fs::create_dir(&devices).unwrap();
    let address = stand.server.devices.clone();
    let (customer, technician) = stand.server.pair(&devices, ["Ada", "Grace"], &address).await;
    // The device has been heard of, and may be offered something.
    let ticket = customer.request("the pump stands still").await;
    technician.accept(&technician.alert(&ticket).await).await;

    stand.set(&technician.id, &around_now(-180, 60)).await.expect_code(0);
    assert_eq!(stand.server.ask(&["shift", "show", &technician.id]).await["on_shift"], false);
    let ticket = customer.request("after hours").await;
    assert_eq!(stand.reason(&ticket, &technician.id).await, "off shift or without a device");

    stand.set(&technician.id, &around_now(-180, 190)).await.expect_code(0);
    let ticket = customer.request("ten minutes before the end").await;
    let reason = stand.reason(&ticket, &technician.id).await;
    assert!(reason.starts_with("its shift ends before"), "{reason}");

    stand.set(&technician.id, &around_now(-180, 480)).await.expect_code(0);
    let ticket = customer.request("in the middle of the shift").await;
    technician.accept(&technician.alert(&ticket).await).await;

    let wishes = ["customer", "prefer", &customer.id, "--blocked", &technician.id];
    stand.run(&wishes).await.expect_code(0);
    let ticket = customer.request("not by this one").await;
    assert_eq!(stand.reason(&ticket, &technician.id).await, "the customer does not want it");
    let wishes = ["customer", "prefer", &customer.id, "--preferred", &technician.id];
    assert_eq!(stand.server.ask(&wishes).await["outcome"], "changed");
    assert_eq!(stand.server.ask(&wishes).await["outcome"], "unchanged");
    let ticket = customer.request("by this one if possible").await;
    technician.accept(&technician.alert(&ticket).await).await;
    let choices = stand.server.ask(&["ticket", "explain", &ticket]).await;
    assert_eq!(choices["choices"][0]["candidates"][0]["preferred_s"], 3600, "{choices}");
}

#[tokio::test]
async fn a_technician_goes_on_shift_by_itself_after_a_kill_too() {
    let stand = Stand::new().await;
    let technicians = stand.technicians(&["Ada"]).await;
    let technician = &technicians[0];
    stand.set(technician, &around_now(2, 60)).await.expect_code(0);
    assert_eq!(stand.duty(technician).await, "off_shift");
    // Whoever serves it when its time comes fires the timer that another one set.
    let again = stand.server.again();
    let Stand { server, dirs } = stand;
    server.kill().await;
    let stand = Stand { server: again.ready().await, dirs };
    // It begins with the second minute from when it was set.
    until_within(Duration::from_secs(150), "on shift", async || {
        (stand.duty(technician).await == "available").then_some(())
    })
    .await;
    // By hand it goes off, and stays so although the roster has it on.
    stand.run(&["shift", "off", technician]).await.expect_code(0);
    let shown = stand.server.ask(&["shift", "show", technician]).await;
    assert_eq!((&shown["duty"], &shown["by_hand"]), (&json!("off_shift"), &json!(true)), "{shown}");
    stand.run(&["shift", "clear", technician]).await.expect_code(0);
    assert_eq!(stand.server.ask(&["shift", "show", technician]).await["roster"], Value::Null);
}

#[tokio::test]
async fn a_table_of_rosters_is_checked_imported_asked_exported_and_swapped() {
    let stand = Stand::new().await;
    let technicians = stand.technicians(&["Ada", "Grace", "Edith"]).await;
    let [ada, grace, edith] = [&technicians[0], &technicians[1], &technicians[2]];
    let head = "technician,zone,days,date,start,end,overnight,breaks,skill\n";
    let nights = format!("{ada},Europe/Berlin,\"MO,TU,WE,TH,FR,SA,SU\",,22:00,06:00,yes,,7\n");
    let days = format!(
        "{grace},Europe/Berlin,\"MO,TU,WE,TH,FR\",,08:00,16:00,,12:00-12:30,\n\
         {grace},Europe/Berlin,,2027-03-31,,,,,\n"
    );
    let bad = format!(
        "{head}{nights}{days}nobody,UTC,MO,,08:00,16:00,,,\n{edith},Europe/Berln,MO,,08:00,16:00,,,\n\
         {edith},UTC,MO,,17:00,09:00,,,\n{edith},UTC,MO,,08:00,9,,,\n"
    );
    let import = |csv: String, more: &'static [&'static str]| {
        let file = stand.file("shifts.csv", csv);
        let stand = &stand;
        async move { stand.run(&[&["import", "shifts", text(&file)], more].concat()).await }
    };
    let refused = ended(import(bad, &[]).await, 2, "Europe/Berlin meant?");
    let bad: Vec<_> = refused["bad"].as_array().unwrap().iter().collect();
    let places: Vec<_> = bad.iter().map(|bad| (&bad["line"], &bad["column"])).collect();
    let wanted = [
        (&json!(5), &json!("technician")),
        (&json!(6), &json!("zone")),
        (&json!(7), &json!("end")),
        (&json!(8), &json!("start")),
    ];
    assert_eq!(places, wanted, "{refused}");

    // Only the server knows that this is nobody who has shifts; all the others are left as they are.
    let customer = stand.server.register("customer", "name,lat,lon\nHotel,48.85,2.35\n").await;
    let nobody = format!("{head}{nights}{days}{},UTC,MO,,08:00,16:00,,,\n", customer[0]);
    for more in [&[] as &[&str], &["--skip-bad", "--dry-run"]] {
        let tried = import(nobody.clone(), more).await.json();
        assert_eq!(tried["bad"][0]["line"], 5, "{tried}");
        assert!(stand.who("2027-03-27T23:00:00Z").await.is_empty(), "{tried}");
    }

    let good = format!("{head}{nights}{days}");
    let dry = import(good.clone(), &["--dry-run"]).await.expect_code(0).json();
    assert_eq!((&dry["changed"], &dry["would_import"]), (&json!(2), &json!(2)), "{dry}");
    assert!(stand.who("2027-03-27T23:00:00Z").await.is_empty(), "a dry run changes nothing");
    for changed in [2, 0] {
        let done = import(good.clone(), &[]).await.expect_code(0).json();
        assert_eq!((&done["changed"], &done["imported"]), (&json!(changed), &json!(2)), "{done}");
    }

    // The night of the change to summer time ends at six on the wall, which is an hour earlier in UTC.
    for (at, is_on) in [
        ("2027-03-27T20:59:00Z", false),
        ("2027-03-27T21:00:00Z", true),
        ("2027-03-28T03:59:00Z", true),
        ("2027-03-28T04:00:00Z", false),
        ("2027-10-31T04:59:00Z", true),
        ("2027-10-31T05:00:00Z", false),
    ] {
        assert_eq!(stand.who(at).await.contains(ada), is_on, "{at}");
    }
    assert_eq!(stand.who("2027-03-30T10:15:00Z").await, [] as [&str; 0], "at noon is a break");
    assert_eq!(stand.who("2027-03-30T10:31:00Z").await, [grace.as_str()]);
    assert!(stand.who("2027-03-31T10:31:00Z").await.is_empty(), "a day off");

    // What is exported is set again, and changes nothing.
    let roster = stand.server.ask(&["shift", "export", grace]).await["roster"].clone();
    assert_eq!(roster["shifts"][0]["breaks"][0], "12:00-12:30", "{roster}");
    let plain = stand.file("again.toml", export(&stand.server.dir, grace, &[]).await);
    let again = stand.run(&["shift", "set", grace, text(&plain)]).await.expect_code(0).json();
    assert_eq!(again["outcome"], "unchanged");
    let calendar = stand.file("grace.ics", export(&stand.server.dir, grace, &["--ics"]).await);
    let zone = ["--zone", "Europe/Berlin"];
    let set = [&["shift", "set", edith, text(&calendar)][..], &zone].concat();
    assert_eq!(stand.run(&set).await.expect_code(0).json()["outcome"], "changed");
    for at in ["2027-03-30T10:15:00Z", "2027-03-30T10:31:00Z", "2027-03-31T10:31:00Z"] {
        let who = stand.who(at).await;
        assert_eq!(who.contains(grace), who.contains(edith), "{at}: {who:?}");
    }

    // Both work by day: no swap. The night's shift and the day's do not overlap.
    let date = ["--date", "2027-04-01"];
    let swap = async |to: &str| {
        let args = [&["shift", "swap", "--from", grace, "--to", to][..], &date].concat();
        stand.run(&args).await
    };
    ended(swap(edith).await, 3, "the taker works already");
    assert_eq!(swap(ada).await.expect_code(0).json()["state"], "done");
    let who = stand.who("2027-04-01T10:31:00Z").await;
    assert!(who.contains(ada) && !who.contains(grace), "{who:?}");
    ended(swap(ada).await, 3, "there is no shift to give");
}

/// A roster as it is printed for people.
async fn export(dir: &Path, technician: &str, more: &[&str]) -> String {
    let args = [&["shift", "export", technician, "--data-dir", text(dir)], more].concat();
    fieldmesh_tests::process::run("fieldmesh", &args).await.expect_code(0).stdout
}

#[tokio::test]
async fn an_import_that_is_repeated_changes_nothing() {
    let stand = Stand::new().await;
    let import = async |kind: &str, csv: &str, more: &[&str]| {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), csv).unwrap();
        let args = [&["import", kind, text(file.path())], more].concat();
        stand.run(&args).await.expect_code(0).json()
    };
    let counts = |result: &Value| {
        ["created", "changed", "unchanged"].map(|key| result[key].as_u64().unwrap())
    };
    let count = async |kind: &str| {
        let list = stand.server.ask(&[kind, "list"]).await;
        list["rows"].as_array().unwrap().len()
    };
    let technicians = "key,name,lat,lon,capacity,skills\nhr-1,Ada,48.85,2.35,4,7:3\n\
                       ,Grace,48.85,2.35,4,7:3 8:1@2020-01-31\n,Grace,48.85,2.35,4,7:3 8:1@2020-01-31\n";
    let dry = import("technicians", technicians, &["--dry-run"]).await;
    assert_eq!((counts(&dry), count("tech").await), ([3, 0, 0], 0), "{dry}");
    let first = import("technicians", technicians, &[]).await;
    assert_eq!((counts(&first), count("tech").await), ([3, 0, 0], 3), "{first}");
    // Somebody is off shift by hand meanwhile, and is not put on again.
    let ada = first["ids"][0].as_str().unwrap();
    stand.run(&["shift", "off", ada]).await.expect_code(0);
    let second = import("technicians", technicians, &[]).await;
    assert_eq!((counts(&second), &second["ids"]), ([0, 0, 3], &first["ids"]), "{second}");
    assert_eq!(stand.duty(ada).await, "off_shift");
    let raised = technicians.replace("4,7:3\n", "4,7:5\n");
    let dry = import("technicians", &raised, &["--dry-run"]).await;
    assert_eq!(counts(&dry), [0, 1, 2], "{dry}");
    assert_eq!(counts(&import("technicians", &raised, &[]).await), [0, 1, 2]);
    assert_eq!(counts(&import("technicians", &raised, &[]).await), [0, 0, 3]);

    let customers = "name,lat,lon,tier\nAda,48.85,2.35,2\nAda,48.85,2.35,2\n";
    assert_eq!(counts(&import("customers", customers, &[]).await), [2, 0, 0]);
    assert_eq!(counts(&import("customers", customers, &[]).await), [0, 0, 2]);
    assert_eq!(count("customer").await, 2);

    let health = stand.server.ask(&["tech", "health"]).await;
    assert_eq!(health["nobody_has"], json!([8]), "{health}");
    let complaints = health["complaints"].as_array().unwrap();
    for (what, number) in [("no_device", 3), ("no_roster", 3), ("skill_expired", 2)] {
        let found = complaints.iter().filter(|complaint| complaint["what"] == what).count();
        assert_eq!(found, number, "{what}: {health}");
    }
}

#[tokio::test]
async fn a_technician_that_is_not_heard_gets_no_offers_until_it_is() {
    let unheard = |launch: Launch| launch.env("FIELDMESH__CLUSTER__UNHEARD_AFTER_S", "10");
    let stand = Stand::of(unheard).await;
    let devices = stand.dirs.path().join("devices");
    std::fs::create_dir(&devices).unwrap();
    let address = stand.server.devices.clone();
    let (customer, technician) = stand.server.pair(&devices, ["Ada", "Grace"], &address).await;
    until("silence", async || (stand.duty(&technician.id).await == "unreachable").then_some(()))
        .await;
    let health = stand.server.ask(&["tech", "health"]).await;
    assert!(health.to_string().contains("\"unreachable\""), "{health}");
    let ticket = customer.request("nobody listens").await;
    assert_eq!(stand.reason(&ticket, &technician.id).await, "its device is not heard");
    let alert = technician.alert(&ticket).await;
    assert_eq!(alert["alert"], ticket.as_str(), "it connects, and the next try finds it");
}

/// Whoever leads after another knows who is silent, with work or without.
#[tokio::test]
async fn a_silent_technician_with_work_is_heard_again_by_whoever_leads_then() {
    let unheard = |launch: Launch| launch.env("FIELDMESH__CLUSTER__UNHEARD_AFTER_S", "10");
    let stand = Stand::of(unheard).await;
    let devices = stand.dirs.path().join("devices");
    std::fs::create_dir(&devices).unwrap();
    let address = stand.server.devices.clone();
    let (customer, technician) = stand.server.pair(&devices, ["Ada", "Grace"], &address).await;
    let ticket = customer.request("somebody comes").await;
    technician.accept(&technician.alert(&ticket).await).await;
    let is_silent = async |server: &Server| {
        let shown = server.ask(&["tech", "show", &technician.id]).await;
        assert_eq!(shown["holds"][0]["ticket"], ticket.as_str(), "{shown}");
        shown["silent_since_ms"].is_u64()
    };
    let patience = Duration::from_secs(60);
    until_within(patience, "silence", async || is_silent(&stand.server).await.then_some(())).await;
    let again = unheard(stand.server.again());
    stand.server.kill().await;
    let server = again.ready().await;
    let listening = technician.start(&["listen", "--seconds", "120"]);
    until_within(patience, "its voice", async || (!is_silent(&server).await).then_some(())).await;
    listening.end_with("TERM").await;
}
