//! Changed, cut and arbitrary histories: each is refused or judged, without a panic; what is not whole is
//! never judged well, whatever it shows.
//!
//! The input is a list of changes to a history that passes, so that each run starts beyond its scenario; the
//! empty list leaves it.

#![no_main]

use std::sync::LazyLock;

use fieldmesh_chaos::{Ending, History, Verdict, judge};
use fieldmesh_chaos_fuzz::{changed, history, text};
use libfuzzer_sys::fuzz_target;

static HISTORY: LazyLock<String> = LazyLock::new(|| {
    let text = history();
    let judged = judge(&History::read(&text).expect("it was just written"));
    assert_eq!((judged.ending, &judged.why), (Ending::Passed, &Vec::new()));
    text
});

fuzz_target!(|data: &[u8]| {
    judged(text(&changed(HISTORY.as_bytes(), data)));
    judged(text(data));
    if let Some((at, _)) = data.split_first_chunk() {
        cut(usize::from(u16::from_be_bytes(*at)));
    }
});

fn judged(text: &str) {
    let Ok(history) = History::read(text) else { return };
    let judged = judge(&history);
    assert_eq!(judged.is_whole, history.is_whole);
    if !history.is_whole {
        assert!(judged.promises.iter().all(|finding| finding.verdict != Verdict::Kept));
        assert_ne!(judged.ending, Ending::Passed);
    }
    // What was read is written as something that is read again.
    let lines = history.entries.iter().map(|entry| entry.line().expect("it is text") + "\n");
    let again = History::read(&lines.collect::<String>()).expect("what was read");
    assert_eq!(again.is_whole, history.is_whole);
}

/// Without the end of the last line it is whole, without its last brace it is not.
fn cut(at: usize) {
    let end = HISTORY.len() - 1;
    let at = at % end;
    if let Ok(history) = History::read(text(&HISTORY.as_bytes()[..at])) {
        assert!(!history.is_whole, "cut at {at} of {end}");
        judged(&HISTORY[..at]);
    }
}
