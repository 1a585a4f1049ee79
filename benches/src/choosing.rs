//! What the desk's decisions cost: one by itself, a batch, an assignment, and whether that grows with the
//! tickets that were ever done.
//!
//! The desk alone, without log and disk: its decisions, its events and their bytes. **Not here:** a whole
//! node under a storm of tickets (`storm`).

use std::time::Duration;

use fieldmesh_domain::{
    Aggregate, Ctx, EntityId, EntityKind, Region, TimerName,
    assignment::{Costs, assign},
    desk::{BATCH_MAX, Command, Desk, Event, Summary},
    message::Location,
    selection::Need,
    technician::Skill,
    time::Millis,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Failed, stored::used_us};

/// Rows and columns of the assignment that is measured.
const SIDE: usize = 1_000;
/// Decisions that are measured at a time.
const DECISIONS: usize = 1_000;
/// Tickets that were done when a decision is measured.
const DONE: [usize; 3] = [10_000, 100_000, 1_000_000];
/// Categories of which each technician of the larger crew has one.
const CATEGORIES: u16 = 70;
/// Assignments that are measured together: processor time is counted in hundredths of a second.
const TRIES: usize = 20;

/// Numbers without a pattern, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// Somewhere in a region of some hundred kilometres.
    fn place(&mut self) -> Location {
        let mut degrees = |from: i32| from + self.below(4_000_000) as i32;
        Location { lat_e6: degrees(46_000_000), lon_e6: degrees(2_000_000) }
    }
}

fn id(kind: EntityKind, number: usize) -> Result<EntityId, Failed> {
    let region: Region = "eu1".parse()?;
    let mut random = [0; 10];
    random[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Ok(EntityId::new(kind, region, random))
}

/// A desk with its technicians that is asked, and whose events are moved by.
struct Asked {
    desk: Desk,
    id: EntityId,
    now: Millis,
    numbers: Numbers,
    categories: u16,
    /// Bytes of its events.
    bytes: usize,
}

impl Asked {
    fn new(technicians: usize, categories: u16, capacity: u16) -> Result<Self, Failed> {
        let id_of_desk = EntityId::desk("eu1".parse()?);
        let (numbers, now) = (Numbers(1), Millis(1_800_000_000_000));
        let mut asked =
            Self { desk: Desk::default(), id: id_of_desk, now, numbers, categories, bytes: 0 };
        asked.ask(&Command::Gather)?;
        for number in 0..technicians {
            let category = (number % usize::from(categories)) as u16;
            let skills = vec![Skill { category, level: 1, expires: None }];
            let home = asked.numbers.place();
            let circumstances = None;
            let summary = Summary { on_shift: true, skills, home, capacity, circumstances };
            let id = id(EntityKind::Technician, number)?;
            asked.ask(&Command::Technician { id, summary })?;
        }
        Ok(asked)
    }

    fn ask(&mut self, command: &Command) -> Result<Vec<Event>, Failed> {
        let ctx = Ctx { now: self.now, id: self.id, rule_version: 1 };
        let events = self.desk.decide(command, &ctx)?;
        for event in &events {
            self.desk.evolve(event);
            drop(self.desk.react(event, self.id));
            self.bytes += minicbor::to_vec(event)?.len();
        }
        Ok(events)
    }

    /// A ticket's question; its step.
    fn question(&mut self, number: usize) -> Result<(EntityId, Vec<Event>), Failed> {
        let ticket = id(EntityKind::Ticket, number)?;
        let category = self.numbers.below(self.categories.into()) as u16;
        let location = self.numbers.place();
        let need = Need::plain(category, 3, location, Vec::new());
        let events = self.ask(&Command::Match { ticket, need, question: 1, pace: None })?;
        Ok((ticket, events))
    }

    /// So many tickets that are matched and done, some time apart; microseconds for each match.
    fn live(&mut self, from: usize, count: usize) -> Result<f64, Failed> {
        let mut spent = Duration::ZERO;
        for number in from..from + count {
            self.now.0 += 5_000;
            let began = Instant::now();
            let (ticket, _) = self.question(number)?;
            self.close()?;
            spent += began.elapsed();
            self.ask(&Command::Done { ticket })?;
        }
        Ok(spent.as_secs_f64() * 1e6 / count as f64)
    }

    /// Closes the batch, if there is one.
    fn close(&mut self) -> Result<usize, Failed> {
        let Some((generation, due)) = self
            .desk
            .board
            .as_ref()
            .filter(|board| !board.waiting.is_empty())
            .map(|board| (board.generation, board.due))
        else {
            return Ok(0);
        };
        self.now = self.now.max(due);
        Ok(self.ask(&Command::Timer { name: TimerName::Batch, generation })?.len())
    }
}

/// Milliseconds of processor time for an assignment of [`SIDE`] by [`SIDE`], which one thread makes.
fn assignment(cost: impl Fn(usize, usize) -> Option<u64>) -> Result<f64, Failed> {
    let costs = Costs::new(SIDE, SIDE, cost)?;
    let before = used_us()?;
    let assigned: usize = (0..TRIES).map(|_| assign(&costs).iter().flatten().count()).sum();
    if assigned != TRIES * SIDE {
        return Err("an assignment left somebody out".into());
    }
    Ok((used_us()? - before) as f64 / 1e3 / TRIES as f64)
}

/// What one decision costs, and its bytes.
fn decisions(technicians: usize, categories: u16) -> Result<Value, Failed> {
    let mut asked = Asked::new(technicians, categories, 4)?;
    let before = asked.bytes;
    let us = asked.live(0, DECISIONS)?;
    let bytes = (asked.bytes - before) / DECISIONS;
    Ok(
        json!({ "technicians": technicians, "categories": categories, "us": us, "event_bytes": bytes }),
    )
}

/// What a full batch costs where everybody has the skill and nobody is left over.
fn batch(technicians: usize) -> Result<Value, Failed> {
    let mut asked = Asked::new(technicians, 1, 1)?;
    let before = asked.bytes;
    let (mut number, mut spent, mut batches) = (0, Duration::ZERO, 0_u32);
    while batches < 20 && number < technicians {
        let (_, events) = asked.question(number)?;
        number += 1;
        let is_full = asked.desk.board.as_ref().is_some_and(|b| b.waiting.len() >= BATCH_MAX);
        if is_full && !events.is_empty() {
            let began = Instant::now();
            asked.close()?;
            spent += began.elapsed();
            batches += 1;
        }
    }
    let ms = spent.as_secs_f64() * 1e3 / f64::from(batches.max(1));
    let bytes = (asked.bytes - before) / number.max(1);
    Ok(
        json!({ "technicians": technicians, "tickets": BATCH_MAX, "batches": batches, "ms": ms, "event_bytes_per_ticket": bytes }),
    )
}

pub(crate) fn run(technicians: usize) -> Result<Value, Failed> {
    let mut numbers = Numbers(7);
    let table: Vec<u64> = (0..SIDE * SIDE).map(|_| numbers.below(10_000)).collect();
    let scattered = assignment(|row, column| Some(table[row * SIDE + column]))?;
    let at: Vec<(u64, u64)> =
        (0..2 * SIDE).map(|_| (numbers.below(10_000), numbers.below(10_000))).collect();
    let ways = assignment(|row, column| {
        let ((x, y), (u, v)) = (at[row], at[SIDE + column]);
        Some(x.abs_diff(u) + y.abs_diff(v))
    })?;
    let mut asked = Asked::new(technicians, CATEGORIES, 4)?;
    let (mut done, mut at_done) = (0, Vec::new());
    for size in DONE {
        asked.live(done, size - done)?;
        let us = asked.live(size, DECISIONS)?;
        done = size + DECISIONS;
        eprintln!("{size} tickets done: {us:.1} us for a decision");
        at_done.push(json!({ "done": size, "us": us }));
    }
    Ok(json!({
        "assignment_1000_ms": { "scattered": scattered, "ways": ways },
        "decision": [decisions(technicians, CATEGORIES)?, decisions(technicians, 1)?],
        "batch": batch(technicians)?,
        "after_tickets_done": at_done,
    }))
}
