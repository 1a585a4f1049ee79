//! `fieldmesh replay --report`: the page and its figures, read back.

use fieldmesh_tests::process::{run, text};
use serde_json::Value;
use tempfile::TempDir;

use crate::incidents;

const REQUESTS: u64 = 40;

fn count(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} of {value}"))
}

#[tokio::test]
async fn a_report_says_what_the_server_and_the_log_say() {
    let dir = TempDir::new().unwrap();
    let log = incidents::write(dir.path(), 300);
    let page = dir.path().join("report.html");
    let limit = REQUESTS.to_string();
    let args = ["replay", text(&log), "--json", "--limit", &limit, "--report", text(&page)];
    let result = run("fieldmesh", &args).await.expect_code(0).json();
    println!("replay with a report: {result}");
    let json = std::fs::read_to_string(dir.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&json).unwrap();

    for broken in ["lost", "duplicates", "double_assignments"] {
        assert_eq!(count(&report, &format!("/promises/{broken}")), 0);
        assert_eq!(result[broken], 0);
    }
    let replay = &report["replay"];
    assert_eq!(count(replay, "/tickets"), REQUESTS);
    assert_eq!(count(replay, "/completed"), REQUESTS, "{result}");
    assert_eq!(result["completed"], REQUESTS);
    let urgencies = replay["urgencies"].as_array().unwrap();
    let sum = |key: &str| urgencies.iter().map(|one| count(one, key)).sum::<u64>();
    assert_eq!(sum("/met") + sum("/missed") + sum("/undecided"), REQUESTS);
    assert_eq!(sum("/missed"), count(replay, "/missed"));
    assert_eq!(sum("/to_alert_ms/count"), REQUESTS);
    // Whoever accepted drove, and either completed or found that it cannot.
    let acceptances = count(replay, "/acceptances");
    assert_eq!(count(replay, "/trips_min/count"), acceptances);
    assert_eq!(REQUESTS + count(replay, "/undone"), acceptances);
    let given = replay["efforts"].as_array().unwrap().iter();
    assert_eq!(given.map(|one| count(one, "/assignments")).sum::<u64>(), acceptances);
    assert_eq!(count(replay, "/offers"), acceptances + count(replay, "/declined"), "{replay}");

    // Written into the log: every third missed, every second reassigned.
    let logged = &report["log"];
    assert_eq!((count(logged, "/missed/count"), count(logged, "/missed/of")), (14, REQUESTS));
    assert_eq!(count(logged, "/reassigned/count"), REQUESTS / 2);
    let worst = report["worst"].as_array().unwrap();
    assert_eq!(worst.len(), 10);
    for ticket in worst {
        assert_eq!(ticket["events"][0]["event"], "opened", "{ticket}");
        assert!(count(ticket, "/choices/0/candidates/0/terms_s/travel") < 36_000, "{ticket}");
    }

    let page = std::fs::read_to_string(&page).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&page, options).unwrap();
    let drawings = document.descendants().filter(|node| node.has_tag_name("svg"));
    assert!(drawings.count() > 10);
    let texts: String = document.descendants().filter_map(|node| node.text()).collect();
    let first = worst[0]["incident"].as_str().unwrap();
    for said in ["Replay of incidents.csv", "40 requests", "35.0 % (14 of 40)", first] {
        assert!(texts.contains(said), "{said}");
    }
}

#[tokio::test]
async fn a_report_that_cannot_be_written_is_refused_before_anything_begins() {
    let dir = TempDir::new().unwrap();
    let log = incidents::write(dir.path(), 2);
    for (name, why) in [("report.json", "with .json"), ("none/report.html", "no such directory")] {
        let page = dir.path().join(name);
        let args = ["replay", text(&log), "--report", text(&page)];
        run("fieldmesh", &args).await.expect_code(2).expect_one_line(&["--report", why]);
        assert!(!page.exists());
    }
}
