//! Changed and arbitrary calendar files: none panics, what is read is spread out within its bounds, and is
//! written and read again as the same.

#![no_main]

use std::sync::LazyLock;

use fieldmesh_calendar::{
    ical::{OCCURRENCES_MAX, export, import, occurrences},
    interval::{DAY_MS, UnixMs},
    zone::Zone,
};
use libfuzzer_sys::fuzz_target;

/// From when on occurrences are looked for, about the events of committed inputs.
const START: UnixMs = UnixMs(20_400 * DAY_MS);
const END: UnixMs = UnixMs(20_600 * DAY_MS);

static ZONE: LazyLock<Zone> =
    LazyLock::new(|| Zone::new("Europe/Berlin").expect("it is in the database"));

fuzz_target!(|data: &[u8]| {
    let Ok(file) = import(data, &ZONE) else { return };
    if let Ok(found) = occurrences(&file, START, END) {
        assert!(found.len() <= OCCURRENCES_MAX);
        assert!(found.iter().all(|one| one.start <= one.end && one.start < END));
    }
    let text = export(&file, START).expect("what was read");
    assert_eq!(import(text.as_bytes(), &file.zone).as_ref(), Ok(&file));
});
