//! `fieldmesh bench dispatch`: instances from any folder, a report for programs, one line for what is wrong.

use fieldmesh_tests::process::{run, text};
use serde_json::json;
use tempfile::TempDir;

/// Two technicians with a skill each; a request for either, for both at once, and for nobody.
const TOWN: &str = "Town

INFO
CREW COUNT  SKILLS  TOOLS   SPARE PARTS
2      3       1       1

DEPOT TECHNICIANS AND REQUESTS
ID   X     Y     TWS    TWE    Serv   SKILLS   TOOLS    SPARE PARTS
0    0     0     0      1000   0      []       []       []
1    0     10    0      1000   0      [0]      []       [0]
2    0     -10   0      1000   0      [1]      [0]      [0]
3    30    10    0      1000   5      [0]      []       [0]
4    30    -10   0      1000   5      [1]      [0]      [0]
5    50    0     0      1000   5      [2]      []       [0]
";

/// Each goes to its request and back: 30 + 5 + 30, twice.
const WORK: f64 = 130.0;

#[tokio::test]
async fn instances_of_any_folder_are_planned_and_compared() {
    let dir = TempDir::new().unwrap();
    let (path, online) = (dir.path(), dir.path().join("online"));
    std::fs::write(path.join("town.txt"), TOWN).unwrap();
    std::fs::create_dir(&online).unwrap();
    let dates = "Dyn Stat\n1 2\nID RD\n3 -1\n4 20\n5 -1\n";
    std::fs::write(online.join("town_rd_50.txt"), dates).unwrap();
    let best = path.join("best.csv");
    std::fs::write(&best, format!("instance,total_working_time\ntown,{WORK}\n")).unwrap();
    let args = ["bench", "dispatch", text(path), "--online", text(&online), "--best", text(&best)];
    let args = [&args[..], &["--limit", "1", "--seconds", "1", "--json"]].concat();
    let result = run("fieldmesh", &args).await.expect_code(0).json();
    assert_eq!(result["instances"], 1);
    assert_eq!(result["static_gap_percent"], 0.0, "{result}");
    assert!(result["online_gap_percent"].is_f64() && result["greedy_gap_percent"].is_f64());
    // Planned, and dispatched: nobody has the third skill.
    assert_eq!(result["unserved"], 2);
    let planned = &result["rows"][0]["static"];
    assert_eq!(planned["unserved"], json!([{"request": 5, "reason": "no_skill"}]));
    assert_eq!(planned["working_time"], WORK);

    let shown = run("fieldmesh", &["bench", "dispatch", text(path), "--seconds", "1"]).await;
    let shown = shown.expect_code(0).to_string();
    assert!(shown.contains("request 5 is not served: no technician has all the skills"), "{shown}");

    std::fs::write(path.join("town.txt"), TOWN.replace("[1]", "[9]")).unwrap();
    let refused = run("fieldmesh", &args).await.expect_code(2);
    refused.expect_one_line(&["town.txt: line 11"]);
}
