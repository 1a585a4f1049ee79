//! Files that follow the format are read; others are refused with line and reason.

use fieldmesh_dispatch::instance::{Instance, best_known, release_dates};

use crate::town::{Size, releases_text, text, town};

const SIZE: Size = Size { technicians: 2, requests: 3 };

/// The refusal after one line of a good instance was replaced.
fn refusal(line: usize, by: &str) -> String {
    let good = text(1, SIZE);
    let mut lines: Vec<&str> = good.lines().collect();
    lines[line - 1] = by;
    Instance::parse(&lines.join("\n")).unwrap_err().to_string()
}

#[test]
fn a_good_instance_is_read_as_it_stands() {
    let instance = town(1, SIZE);
    assert_eq!(instance.name, "TOWN1");
    assert_eq!((instance.homes.len(), instance.sites.len()), (2, 3));
    let ids: Vec<u32> = instance.problem.requests().iter().map(|request| request.id).collect();
    assert_eq!(ids, [3, 4, 5]);
}

#[test]
fn a_bad_instance_is_refused_with_line_and_reason() {
    // Line 5 has the counts, 9 the depot, 10 the first technician, 12 the first request.
    for (line, by, expected) in [
        (3, "INFORMATION", "line 3: \"INFORMATION\" stands where INFO is expected"),
        (5, "2 3 3", "line 5: \"2 3 3\" stands where the numbers of INFO is expected"),
        (5, "two 3 3 2", "line 5: \"two\" stands where a number of INFO is expected"),
        (5, "9 3 3 2", "line 14: a row for each technician is missing"),
        (
            9,
            "7 50 50 0 400 0 [] [] []",
            "line 9: the number of a part is given 0 times instead of 2",
        ),
        (9, "", "line 10: \"1\" stands where the depot's identifier 0 is expected"),
        (
            10,
            "1 9 6 0 400 3 [] [] [0,0]",
            "line 10: \"3000000\" stands where a technician's service time 0 is expected",
        ),
        (12, "3 9 6 0 400 3 [3] [] [0,0]", "line 12: \"3\" stands where a skill is expected"),
        (12, "3 9 6 0 400 3 [] [-1] [0,0]", "line 12: \"-1\" stands where a tool is expected"),
        (
            12,
            "3 9 6 0 400 3 [] [] [0]",
            "line 12: the number of a part is given 1 times instead of 2",
        ),
        (
            12,
            "3 9 6 0 400 3 [] [] [0,x]",
            "line 12: \"x\" stands where a number of parts is expected",
        ),
        (
            12,
            "3 inf 6 0 400 3 [] [] [0,0]",
            "line 12: \"inf\" stands where a coordinate is expected",
        ),
        (
            12,
            "3 9 6 -1 400 3 [] [] [0,0]",
            "line 12: \"-1\" stands where the opening of a window is expected",
        ),
        (
            12,
            "3 9 6 0 1e300 3 [] [] [0,0]",
            "line 12: \"1e300\" stands where the close of a window is expected",
        ),
        (
            12,
            "3 9 6 50 40 3 [] [] [0,0]",
            "line 12: \"50 40\" stands where a window that closes after it opens is expected",
        ),
        (
            12,
            "3.5 9 6 0 40 3 [] [] [0,0]",
            "line 12: \"3.5\" stands where an identifier is expected",
        ),
        (12, "2 9 6 0 40 3 [] [] [0,0]", "line 12: the identifier 2 is used twice"),
        (
            14,
            "5 1e200 6 0 40 3 [] [] [0,0]",
            "line 14: the way between two places has a time outside of 0 to 17592186044416 ticks",
        ),
    ] {
        assert_eq!(refusal(line, by), expected);
    }
    assert!(refusal(12, "3 9 6 0 400 [] [] [0,0]").starts_with("line 12: "));
    assert!(refusal(12, "3 9 6 0 400 3 [] []").starts_with("line 12: "));
    assert!(refusal(12, "3 9 6 0 400 3 [] [] [0,0] [1]").starts_with("line 12: "));
    assert_eq!(Instance::parse("").unwrap_err().to_string(), "line 1: the name is missing");
    assert_eq!(
        Instance::parse("A\nINFO").unwrap_err().to_string(),
        "line 2: the header of INFO is missing"
    );
}

#[test]
fn bad_release_dates_are_refused_with_line_and_reason() {
    let instance = town(1, SIZE);
    let good = releases_text(1, &instance);
    release_dates(&good, &instance.problem).unwrap();
    let refusal = |text: &str| release_dates(text, &instance.problem).unwrap_err().to_string();
    for (rows, expected) in [
        ("1 2\nID RD\n3 5\n4 -1\n", "line 5: the release date of a request is missing"),
        ("1 2\nID RD\n3 5\n4 -1\n4 -1\n", "line 6: the identifier 4 is used twice"),
        ("1 2\nID RD\n3 5\n4 -1\n9 -1\n", "line 6: there is no request 9"),
        (
            "1 2\nID RD\n3 5\n4 -2\n5 -1\n",
            "line 5: \"-2\" stands where a release date, or -1 is expected",
        ),
        ("2 1\nID RD\n3 5\n4 -1\n5 -1\n", "line 2: a release date is given 1 times instead of 2"),
        (
            "1 2\nID RD\n3 5 1\n4 -1\n5 -1\n",
            "line 4: \"3 5 1\" stands where an identifier and a release date is expected",
        ),
    ] {
        assert_eq!(refusal(&format!("Dyn Stat\n{rows}")), expected);
    }
}

#[test]
fn best_results_are_found_by_their_columns() {
    let best = best_known("by,total_working_time,instance\nme,12.5,A\n\nme, 7 ,B\n").unwrap();
    assert_eq!((best["A"], best["B"]), (12.5, 7.0));
    let refusal = |text: &str| best_known(text).unwrap_err().to_string();
    assert_eq!(refusal("instance\nA\n"), "line 1: total_working_time is missing");
    let header = "instance,total_working_time\n";
    assert_eq!(
        refusal(&format!("{header}A,0\n")),
        "line 2: \"0\" stands where a total working time above zero is expected"
    );
    assert_eq!(
        refusal(&format!("{header}A\n")),
        "line 2: \"A\" stands where a row with all columns is expected"
    );
}
