//! What a ticket costs a node that has many already: its processor time, at some sizes of one node.
//!
//! What devices would do is part of the figure, and the same at each size. **Not here:** cryptography of
//! messages (`fieldmesh replay`).

use serde_json::{Value, json};

use crate::{Failed, population::Filling, start};

/// Tickets stored when it is measured, and how many are measured then: so many that the storage's work in the background,
/// which comes in pieces of some seconds, is in it by its share.
const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];
const MEASURED: usize = 20_000;
/// A technician holds some; most are done.
const OPEN_PERCENT: usize = 1;
/// Linux counts processor time in hundredths of a second (`USER_HZ`).
const TICK_US: u64 = 10_000;

pub(crate) async fn run(largest: usize) -> Result<Value, Failed> {
    let dir = tempfile::tempdir()?;
    let server = start(dir.path()).await?;
    let mut filling = Filling::begin(&server.node, OPEN_PERCENT).await?;
    let (mut stored, mut figures) = (0, Vec::new());
    for size in SIZES.into_iter().filter(|size| *size <= largest) {
        filling.add(size - stored).await?;
        let before = used_us()?;
        filling.add(MEASURED).await?;
        let cpu_us = (used_us()? - before) / MEASURED as u64;
        eprintln!("{size} tickets: {cpu_us} us for one more");
        figures.push((size, cpu_us));
        stored = size + MEASURED;
    }
    drop(filling);
    server.stop().await;
    let first = figures.first().map_or(1, |(_, cpu_us)| *cpu_us);
    let at = figures.iter().map(|(tickets, cpu_us)| {
        json!({ "tickets": tickets, "cpu_us_per_ticket": cpu_us, "to_first": *cpu_us as f64 / first as f64 })
    });
    Ok(json!({ "at": at.collect::<Vec<_>>(), "measured": MEASURED }))
}

/// Processor time of this process so far, fields 14 and 15 of proc_pid_stat(5).
#[expect(clippy::disallowed_methods, reason = "the kernel counts this process's time there")]
pub(crate) fn used_us() -> Result<u64, Failed> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Ok((ticks(11) + ticks(12)) * TICK_US)
}
