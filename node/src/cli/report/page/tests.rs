//! A page is well-formed and refers to nothing outside, whatever stands in the log.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::{
    super::{
        Promises, Setting,
        clock::LogClock,
        compare::LoggedSum,
        figures::Sum,
        history::{self, History},
        worst::{Names, Ranking, explain},
    },
    *,
};
use crate::{
    cli::{field::Parameters, replay_input::Really},
    story::{CandidateStory, ChoiceStory, EventStory, ExclusionStory, TicketStory},
};

/// A report of a few tickets whose every text is `text`.
fn report(text: &str, priorities: &[u8]) -> Report {
    let mut clock = LogClock::default();
    for minute in 0..100 {
        clock.step(minute * 10, minute * 60);
    }
    let event = |at_ms, event: &str, detail: &str| EventStory {
        at_ms,
        event: event.into(),
        detail: detail.into(),
        technician: Some(text.into()),
        epoch: None,
        message: None,
        rule_version: 1,
    };
    let (mut sum, mut logged) =
        (Sum::new([text.to_owned()].into_iter(), 6_000), LoggedSum::default());
    let (mut ranking, mut worst) = (Ranking::default(), Vec::new());
    let stories: Vec<(TicketStory, History)> = priorities
        .iter()
        .map(|priority| {
            let story = TicketStory {
                id: text.into(),
                state: text.into(),
                priority: *priority,
                technician: None,
                policy: None,
                promises: None,
                events: vec![
                    event(0, "opened", text),
                    event(1, "offered", text),
                    event(100, "accepted", text),
                    event(200, "progressed", "en_route"),
                    event(300, "progressed", "on_site"),
                    event(900, "progressed", "completed"),
                    event(901, text, text),
                ],
                offers: vec![],
                confirmations: vec![],
                warning: None,
                chain: String::new(),
                position: None,
            };
            let history = history::read(&story, &clock);
            (story, history)
        })
        .collect();
    for (number, (_, history)) in stories.iter().enumerate() {
        sum.add(history);
        ranking.add(number, history, 6_000);
        let really = Really { assignee: Some(text.into()), ..Really::default() };
        logged.add(history.priority, 0, 0, &really);
    }
    let candidate = CandidateStory {
        technician: text.into(),
        cost_s: 1,
        distance_m: 1,
        travel_s: 1,
        load_s: 0,
        over_qualification_s: 0,
        fairness_s: 0,
        preferred_s: 0,
        lateness_s: None,
    };
    let choice = ChoiceStory {
        at_ms: 1,
        rule_version: 1,
        policy: None,
        chosen: Some(text.into()),
        candidates: vec![candidate],
        excluded: vec![ExclusionStory { technician: text.into(), reason: text.into() }],
        excluded_count: 1,
        how: None,
        by: None,
    };
    for (used, number) in ranking.worst_first() {
        let (story, history) = &stories[number];
        let told = (story, std::slice::from_ref(&choice));
        worst.push(explain((text, used), told, history, &clock, &Names::new()));
    }
    let setting = Setting {
        release: "0",
        log: text.into(),
        first: text.into(),
        last: text.into(),
        technicians: 1,
        customers: 1,
        cities: 0,
        nodes: 1,
        kills: 1,
        cuts: 0,
        step_minutes: 5,
        steps: 100,
        unquiet: 0,
        orders: 0,
        model: Parameters { decline_percent: 5, misfit_percent: 30, work_minutes: 60 },
    };
    let promises = Promises { lost: 0, duplicates: 0, double_assignments: 0 };
    let assignees = [text.to_owned()];
    let log = logged.finish(assignees.iter());
    Report { setting, promises, replay: sum.finish(), log, worst }
}

/// What a strict reader of XML finds in a page.
fn read(page: &str) -> (String, Vec<(String, String)>) {
    let options =
        roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(page, options).unwrap();
    let mut attributes = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(
            !matches!(name, "script" | "link" | "img" | "iframe" | "a" | "use" | "image"),
            "{name}"
        );
        for attribute in node.attributes() {
            if attribute.name() == "id" {
                assert!(ids.insert(attribute.value().to_owned()), "twice: {}", attribute.value());
            }
            attributes.push((attribute.name().to_owned(), attribute.value().to_owned()));
        }
    }
    let texts = document.descendants().filter_map(|node| node.text());
    (texts.collect(), attributes)
}

fn refers_to_itself_alone(page: &str) {
    let (_, attributes) = read(page);
    for (name, value) in attributes {
        assert!(!matches!(name.as_str(), "href" | "src" | "srcset" | "action" | "style"), "{name}");
        assert!(!name.starts_with("on") && !name.contains(':'), "{name}");
        assert!(!value.contains("url(") || value.starts_with("url(#hatch"), "{name}={value}");
    }
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    for outside in ["url(", "@import", "@font-face", "&"] {
        assert!(!style.contains(outside), "{outside}");
    }
}

#[test]
fn a_page_tells_its_figures() {
    let page = page(&report("incident 7", &[1, 3, 3]));
    refers_to_itself_alone(&page);
    let (text, _) = read(&page);
    for said in [
        "3 requests",
        "3 completed",
        "priority 3",
        "Lorenz",
        "incident 7 was asked",
        "18 h of service",
    ] {
        assert!(text.contains(said), "{said}");
    }
    assert!(page.is_ascii() || page.contains("charset=\"utf-8\""));
}

#[test]
fn a_replay_of_nothing_has_a_page_too() {
    refers_to_itself_alone(&page(&report("nothing", &[])));
}

#[test]
fn spans_are_said_as_people_say_them() {
    assert_eq!(
        [59, 60, 2_879, 2_880].map(span),
        ["59 min", "1 h 00 min", "47 h 59 min", "2 d 0 h"]
    );
    assert_eq!((share(1, 3), share(0, 0)), ("33.3 % (1 of 3)".into(), "not known".into()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_log_says_stays_text(
        text in prop_oneof![
            any::<String>(),
            "[<>&\"'\\x00-\\x20/=a-z-]{0,40}",
            Just("</style><script>alert(1)</script>".to_owned()),
            Just("\"><img src=x onerror=alert(1)>".to_owned()),
            Just("]]>&#0;&bogus;<!--".to_owned()),
        ],
        priorities in prop::collection::vec(0_u8..9, 0..4),
    ) {
        let report = report(&text, &priorities);
        let page = page(&report);
        refers_to_itself_alone(&page);
        // JSON says the same as it is.
        let json = serde_json::to_string(&report).unwrap();
        let back: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(back["setting"]["log"].as_str(), Some(text.as_str()));
    }
}
