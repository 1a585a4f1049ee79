//! Calendar files: what is read and refused, and what others read of what is written.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

#[path = "files/events.rs"]
mod events;
#[path = "files/reading.rs"]
mod reading;
#[path = "files/recurring.rs"]
mod recurring;
#[path = "files/writing.rs"]
mod writing;
