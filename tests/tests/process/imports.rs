//! Imports: all rows or none, unless bad ones may be skipped; every bad row is named.

use fieldmesh_tests::process::{Finished, Launch, Server, fieldmesh, run, text};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// Columns of a good technician behind its name, but for the skills.
const PLACE: &str = "48.85,2.35,4";

async fn import(server: &Server, kind: &str, csv: impl AsRef<[u8]>, more: &[&str]) -> Finished {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), csv).unwrap();
    fieldmesh(&server.dir, &[&[kind, "import", text(file.path())], more].concat()).await
}

async fn count(server: &Server, kind: &str) -> usize {
    let list = server.ask(&[kind, "list", "--limit", "1000"]).await;
    list["rows"].as_array().unwrap().len()
}

fn bad_lines(result: &Value) -> Vec<u64> {
    let bad = result["bad"].as_array().unwrap();
    bad.iter().map(|bad| bad["line"].as_u64().unwrap()).collect()
}

async fn server() -> (tempfile::TempDir, Server) {
    let dir = tempfile::TempDir::new().unwrap();
    let server = Launch::dev(dir.path()).ready().await;
    (dir, server)
}

#[tokio::test]
async fn a_bad_row_is_named_and_stops_the_import() {
    let (_dir, server) = server().await;
    let technicians = format!(
        "name,lat,lon,capacity,skills\nGood One,{PLACE},7:3\nToo Far North,91,2.35,4,7:3\n\
         Good Two,{PLACE},7:3 8:1\nNo Level,{PLACE},7\nToo Good,{PLACE},7:6\n,{PLACE},7:3\n\
         Idle,48.85,2.35,0,7:3\nToo Few,48.85\n"
    );
    let customers = "name,lat,lon,tier\nGood,48.85,2.35,2\nNo Tier,48.85,2.35,9\n\
                     Words,north,east,2\nGood,48.85,2.35,\n";
    for (kind, csv, bad, good) in [
        ("tech", technicians.as_str(), vec![3, 5, 6, 7, 8, 9], 2),
        ("customer", customers, vec![3, 4], 2),
    ] {
        let refused = import(&server, kind, csv, &[]).await.expect_code(2);
        refused.expect_one_line(&["line 3", "nothing was imported"]);
        let result = refused.json();
        assert_eq!(
            (bad_lines(&result), &result["imported"]),
            (bad.clone(), &json!(0)),
            "{refused}"
        );
        assert!(result["bad"].as_array().unwrap().iter().all(|bad| bad["reason"] != ""));
        assert_eq!(count(&server, kind).await, 0);
        let skipped = import(&server, kind, csv, &["--skip-bad"]).await.expect_code(0).json();
        assert_eq!((bad_lines(&skipped), &skipped["imported"]), (bad, &json!(good)), "{skipped}");
        assert_eq!(count(&server, kind).await, good);
    }
}

#[tokio::test]
async fn a_row_that_only_the_server_refuses_stops_the_import_too() {
    let (_dir, server) = server().await;
    let skills = |count: u16| (0..count).map(|skill| format!("{skill}:3 ")).collect::<String>();
    // More skills than a technician may have; more bytes than a request may have.
    for too_many in [300, 20_000] {
        let csv = format!(
            "name,lat,lon,capacity,skills\nGood,{PLACE},7:3\nBad,{PLACE},{}\nGood,{PLACE},7:3\n",
            skills(too_many)
        );
        let refused = import(&server, "tech", &csv, &[]).await;
        assert!(matches!(refused.code, Some(2 | 3)), "{refused}");
        refused.expect_one_line(&["line 3"]);
        assert_eq!(count(&server, "tech").await, 0, "all or nothing: {refused}");
    }
    let csv = format!(
        "name,lat,lon,capacity,skills\nGood,{PLACE},7:3\nBad,{PLACE},{}\nGood,{PLACE},7:3\n",
        skills(300)
    );
    let skipped = import(&server, "tech", &csv, &["--skip-bad"]).await.expect_code(0).json();
    assert_eq!((bad_lines(&skipped), &skipped["imported"]), (vec![3], &json!(2)), "{skipped}");
    assert_eq!(count(&server, "tech").await, 2);
}

#[tokio::test]
async fn every_row_that_the_server_refuses_is_named_and_nothing_is_written() {
    let (_dir, server) = server().await;
    let known = "key,name,lat,lon,tier\ncrm-1,Ada,48.85,2.35,2\ncrm-2,Bo,48.85,2.35,2\n";
    import(&server, "customer", known, &[]).await.expect_code(0);
    // Two are known with other data, two of one key contradict each other, one has no such zone.
    let csv = "key,name,lat,lon,tier,zone\nnew-1,Cy,48.85,2.35,2,\ncrm-1,Eve,48.85,2.35,2,\n\
               new-2,Di,48.85,2.35,2,Europe/Berln\nnew-3,Ed,48.85,2.35,2,\nnew-3,Flo,48.85,2.35,2,\n\
               crm-2,Bo,48.85,2.35,3,Europe/Berlin\n";
    for more in [&[] as &[&str], &["--dry-run"]] {
        let refused = import(&server, "customer", csv, more).await.expect_code(2);
        let result = refused.json();
        assert_eq!(bad_lines(&result), [3, 4, 6, 7], "{refused}");
        for (row, remedy) in [(0, "another key"), (1, "Europe/Berlin meant?"), (2, "keep one")] {
            let reason = result["bad"][row]["reason"].as_str().unwrap();
            assert!(reason.contains(remedy), "{refused}");
        }
        assert_eq!(count(&server, "customer").await, 2);
    }
    let taken = import(&server, "customer", csv, &["--skip-bad"]).await.expect_code(0).json();
    assert_eq!((bad_lines(&taken), &taken["created"]), (vec![3, 4, 6, 7], &json!(2)), "{taken}");
    // A zone is changed by the next table, and a row without a key stays the same customer.
    let zoned = "key,name,lat,lon,tier,zone\ncrm-1,Ada,48.85,2.35,2,Europe/Paris\n";
    for changed in [1, 0] {
        let done = import(&server, "customer", zoned, &[]).await.expect_code(0).json();
        assert_eq!((&done["changed"], &done["created"]), (&json!(changed), &json!(0)), "{done}");
    }
    let head = "name,lat,lon,tier,zone\n";
    for (zone, wanted) in [("", [1, 0]), ("Europe/Paris", [0, 1])] {
        let csv = format!("{head}Gus,48.85,2.35,2,{zone}\n");
        let done = import(&server, "customer", csv, &[]).await.expect_code(0).json();
        assert_eq!(
            [&done["created"], &done["changed"]],
            wanted.map(Value::from).each_ref(),
            "{done}"
        );
    }
}

#[tokio::test]
async fn files_that_are_no_list_are_refused() {
    let (_dir, server) = server().await;
    let huge = format!("name,lat,lon,tier\n{},48.85,2.35,2\n", "x".repeat(1 << 20));
    let cases: [(&str, &[u8], &str); 7] = [
        ("empty", b"", "name"),
        ("missing column", b"name,lat,tier\nAda,48.85,2\n", "lon"),
        ("missing column without rows", b"name,lat,tier\n", "lon"),
        ("unknown column", b"name,lat,lon,shoe\nAda,48.85,2.35,2\n", "shoe"),
        ("twice the same column", b"name,lat,lon,lat\nAda,48.85,2.35,1\n", "lat"),
        ("not UTF-8", b"name,lat,lon,tier\nA\xff\xfea,48.85,2.35,2\n", "UTF-8"),
        ("huge field", huge.as_bytes(), "256"),
    ];
    let mut wrong = Vec::new();
    for (what, csv, word) in cases {
        let refused = import(&server, "customer", csv, &[]).await;
        if refused.code != Some(2) || !refused.stderr.contains(word) || refused.stderr.len() > 1000
        {
            let stderr: String = refused.stderr.chars().take(300).collect();
            wrong.push(format!("{what}: {:?}, {stderr}", refused.code));
        }
    }
    assert!(wrong.is_empty(), "not refused with code 2 and the reason: {wrong:#?}");
    assert_eq!(count(&server, "customer").await, 0);
    let missing = fieldmesh(&server.dir, &["customer", "import", "nowhere.csv"]).await;
    missing.expect_code(2).expect_one_line(&["nowhere.csv"]);
}

#[tokio::test]
async fn lines_are_counted_as_an_editor_shows_them() {
    let (_dir, server) = server().await;
    let csv = "name,lat,lon,tier\r\n\"Two\r\nlines\",48.85,2.35,2\r\n\r\nBad,91,2.35,2\r\n";
    let refused = import(&server, "customer", csv, &[]).await.expect_code(2);
    assert_eq!(bad_lines(&refused.json()), [5], "{refused}");
    let csv = "\u{feff}name,lat,lon,tier\nÅsa,48.85,2.35,2\n";
    let imported = import(&server, "customer", csv, &[]).await.expect_code(0).json();
    assert_eq!(imported["imported"], 1);
}

#[tokio::test]
async fn a_fleet_is_registered_ahead_after_a_dry_run() {
    let (_dir, server) = server().await;
    let owner = "name,lat,lon,tier\nOwner,48.85,2.35,2\n";
    let owner = import(&server, "customer", owner, &[]).await.expect_code(0).json();
    let owner = owner["ids"][0].as_str().unwrap().to_owned();
    let fleet = format!(
        "profile,label,id\ncustomer-device,till 1,{owner}\ncustomer-device,till 2,\nnode,cellar,\n\
         technician-device,nobody's,\nocsp-signer,no,\npen,no,\ntechnician-device,wrong,{owner}\n\
         customer-device,unreadable,cus_eu1_0\n"
    );
    let bad = vec![5, 6, 7, 8, 9];
    let refused = import(&server, "ca", &fleet, &["--dry-run"]).await.expect_code(2);
    assert_eq!(bad_lines(&refused.json()), bad, "{refused}");
    let before = count(&server, "ca").await;
    let dry = import(&server, "ca", &fleet, &["--dry-run", "--skip-bad"]).await;
    let dry = dry.expect_code(0).json();
    assert_eq!((&dry["imported"], &dry["would_import"]), (&json!(0), &json!(3)), "{dry}");
    assert_eq!((bad_lines(&dry), count(&server, "ca").await), (bad, before));
    let done = import(&server, "ca", &fleet, &["--skip-bad"]).await.expect_code(0).json();
    assert_eq!((&done["imported"], count(&server, "ca").await), (&json!(3), before + 3));
    // Each gets its token by what the import said.
    for user in done["ids"].as_array().unwrap() {
        let token = server.ask(&["ca", "token", user.as_str().unwrap()]).await;
        assert_eq!(token["user"], *user);
    }
}

/// France, and an island that is far from it.
const BOXES: [&str; 4] = ["--box", "41,-5,51,10", "--box", "-22,55,-20.5,56"];

async fn area(server: &Server, args: &[&str]) -> Finished {
    fieldmesh(&server.dir, &[&["cluster", "area", "eu1"], args].concat()).await
}

#[tokio::test]
async fn an_address_that_is_in_no_regions_area_is_refused_with_its_row() {
    let (_dir, server) = server().await;
    let customers = "key,name,lat,lon\na,Ada,48.85,2.35\nb,Bo,2.35,48.85\nc,Cy,-33.9,151.2\n";
    let technicians = "key,name,lat,lon,skills\nt,Ben,-21.1,55.5,7:3\nu,Far,0,0,7:3\n";
    // Where nobody says where a region is, an address may be anywhere.
    let dry = import(&server, "customer", customers, &["--dry-run"]).await.expect_code(0).json();
    assert_eq!((&dry["created"], &dry["warnings"]), (&json!(3), &json!([])), "{dry}");
    let said = area(&server, &BOXES).await.expect_code(0).json();
    let east = &said["regions"][0]["areas"][1]["east_e6"];
    assert_eq!(east, &json!(56_000_000), "{said}");
    let status = run("fieldmesh", &["cluster", "status", "--data-dir", text(&server.dir)]).await;
    let line = "people of eu1 live in 41,-5,51,10 -22,55,-20.5,56";
    assert!(status.stdout.lines().any(|shown| shown == line), "{status}");
    for (kind, csv, bad) in [("customer", customers, vec![3, 4]), ("tech", technicians, vec![3])] {
        for more in [&[] as &[&str], &["--dry-run"]] {
            let refused = import(&server, kind, csv, more).await.expect_code(2);
            assert_eq!(bad_lines(&refused.json()), bad, "{refused}");
            for bad in refused.json()["bad"].as_array().unwrap() {
                let reason = bad["reason"].as_str().unwrap();
                assert!(reason.contains("is in no region's area; "), "{refused}");
            }
            assert_eq!(count(&server, kind).await, 0);
        }
        let taken = import(&server, kind, csv, &["--skip-bad"]).await.expect_code(0).json();
        assert_eq!((bad_lines(&taken), &taken["created"]), (bad, &json!(1)), "{taken}");
    }
    let swapped = import(&server, "customer", customers, &[]).await.expect_code(2);
    swapped.expect_one_line(&["line 3", "2.35, 48.85 is in no region's area", "exchange latitude"]);
    // Who is known moves nowhere either.
    let moved = "key,name,lat,lon,skills\nt,Ben,0,0,7:3\n";
    let refused = import(&server, "tech", moved, &[]).await.expect_code(2);
    refused.expect_one_line(&[
        "line 2",
        "0, 0 is in no region's area",
        "fieldmesh cluster area eu1",
    ]);
    let list = server.ask(&["tech", "list"]).await;
    let technician = list["rows"][0]["id"].as_str().unwrap();
    let set = server.ask(&["tech", "set", technician, "--capacity", "2"]).await;
    assert_eq!((&set["outcome"], &set["warning"]), (&json!("changed"), &Value::Null), "{set}");
    // One whose home is in nobody's area any more stays there, and whoever changes something of it is told so.
    area(&server, &BOXES[..2]).await.expect_code(0);
    for more in [&["--dry-run"][..], &[]] {
        let set = [&["tech", "set", technician, "--capacity", "3"], more].concat();
        let set = server.ask(&set).await;
        assert_eq!(set["outcome"], "changed", "{set}");
        let warning = set["warning"].as_str().unwrap();
        assert!(warning.starts_with("-21.1, 55.5 is in no region's area; "), "{set}");
    }
    // What was said is taken back.
    let said = area(&server, &["--none"]).await.expect_code(0).json();
    assert_eq!(said["regions"][0]["areas"], json!([]), "{said}");
    let done = import(&server, "customer", customers, &[]).await.expect_code(0).json();
    assert_eq!((&done["created"], &done["unchanged"]), (&json!(2), &json!(1)), "{done}");
}

#[tokio::test]
async fn a_box_that_makes_no_sense_is_refused_by_name() {
    let (_dir, server) = server().await;
    for (wrong, words) in [
        ("51,-5,41,10", "the box 51,-5,41,10 ends south"),
        ("41,10,51,10", "the box 41,10,51,10 has no inside"),
        ("41,180,51,-180", "has no inside"),
    ] {
        let refused = area(&server, &["--box", "41,-5,51,10", "--box", wrong]).await;
        refused.expect_code(3).expect_one_line(&[words]);
    }
    for wrong in [&["--box", "41,-5,51"] as &[&str], &["--box", "41,-5,91,10"], &[]] {
        area(&server, wrong).await.expect_code(2);
    }
    let many: Vec<&str> = ["--box", "41,-5,51,10"].repeat(17);
    area(&server, &many).await.expect_code(3).expect_one_line(&["17 boxes", "at most 16"]);
    let unknown = ["cluster", "area", "us1", "--box", "41,-5,51,10"];
    let unknown = fieldmesh(&server.dir, &unknown).await.expect_code(3);
    unknown.expect_one_line(&["no region us1"]);
    let view = server.ask(&["cluster", "status"]).await;
    assert_eq!(view["regions"][0]["areas"], json!([]), "{view}");
}

#[tokio::test]
async fn a_request_from_nowhere_is_taken_and_its_ticket_says_so() {
    let (_dir, server) = server().await;
    let devices = tempfile::TempDir::new().unwrap();
    let (customer, _technician) =
        server.pair(devices.path(), ["Ada", "Ben"], &server.devices).await;
    let before = customer.request("at home").await;
    area(&server, &["--box", "-22,55,-20.5,56"]).await.expect_code(0);
    let after = customer.request("at home too").await;
    for ticket in [before, after] {
        for verb in ["show", "explain"] {
            let told = server.ask(&["ticket", verb, &ticket]).await;
            assert_eq!(told["warning"], "its place is in no region's area", "{verb}: {told}");
        }
    }
}
