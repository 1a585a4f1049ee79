//! A storm: thousands of tickets at once, until each is offered to somebody or queued.
//!
//! What customers' devices would send is asked directly of their entities. **Not here:** cryptography of
//! messages (`fieldmesh replay`), what a decision costs by itself (`choosing`).

use std::time::Duration;

use fieldmesh_actors::AskError;
use fieldmesh_domain::{
    Command, EntityId, EntityKind, IndexRow, Region, customer, desk,
    message::RequestBody,
    technician::{self, Shift, Skill},
    ticket::Stage,
    time::Millis,
};
use fieldmesh_node::{generator::Generator, node::Node};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Failed, start};

/// Requests under way, as many devices' would be.
const AT_ONCE: usize = 256;
/// A customer has no more open at a time.
const TICKETS_EACH: usize = 10;
const PAGE: usize = 1_000;
/// How often it is looked whether all are answered, and how long at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(300);
const CATEGORIES: u16 = 70;
const BUNDLE_BYTES: usize = 600;

fn id(kind: EntityKind, region: Region, number: usize) -> EntityId {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&(number as u64).to_be_bytes());
    EntityId::new(kind, region, random)
}

/// Asks until there is room.
async fn ask(node: &Node, id: EntityId, command: Command) -> Result<(), Failed> {
    loop {
        match node.ask(id, command.clone()).await {
            Ok(_) => return Ok(()),
            Err(AskError::Busy { retry_after_ms }) => {
                tokio::time::sleep(Duration::from_millis(u64::from(retry_after_ms.min(50)))).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn technician(node: &Node, id: EntityId, number: usize, capacity: u16) -> Result<(), Failed> {
    let mut generator = Generator::new(number as u64);
    let home = generator.technician().home.into();
    let category = (number % usize::from(CATEGORIES)) as u16;
    let (name, shift) = (format!("Technician {number}"), Shift::Always);
    let skills = vec![Skill { category, level: 2, expires: None }];
    for command in [
        technician::Command::Register { name, skills, home, capacity, shift },
        technician::Command::PublishKeys { serial: 1, bundle: vec![4; BUNDLE_BYTES] },
        technician::Command::GoOnShift,
    ] {
        ask(node, id, Command::Technician(command)).await?;
    }
    Ok(())
}

async fn customer(node: &Node, id: EntityId, number: usize) -> Result<(), Failed> {
    let new = Generator::new(number as u64).customer();
    for command in [
        customer::Command::Register {
            name: new.name,
            location: new.location.into(),
            tier: 2,
            zone: None,
        },
        customer::Command::PublishKeys { serial: 1, bundle: vec![4; BUNDLE_BYTES] },
    ] {
        ask(node, id, Command::Customer(command)).await?;
    }
    Ok(())
}

async fn request(node: &Node, customer: EntityId, number: usize) -> Result<(), Failed> {
    let body = RequestBody {
        category: (number % usize::from(CATEGORIES)) as u16,
        ..Generator::new(number as u64).request()
    };
    let (message_id, received_at) = ((number as u128).to_be_bytes(), Millis(node.clock.now_ms()));
    let command = customer::Command::Request {
        message_id,
        content_hash: [5; 32],
        body,
        received_at,
        is_counted: None,
    };
    ask(node, customer, Command::Customer(command)).await
}

/// How many tickets are offered, and how many are queued because nobody fits.
fn answered(node: &Node) -> Result<(usize, usize), Failed> {
    let (mut offered, mut queued) = (0, 0);
    for journal in node.journals() {
        let mut after = None;
        loop {
            let rows = journal.index(EntityKind::Ticket, after, PAGE)?;
            for row in &rows {
                match row {
                    IndexRow::Ticket { state: Stage::Offered, .. } => offered += 1,
                    IndexRow::Ticket { state: Stage::Unfilled, .. } => queued += 1,
                    _ => {}
                }
            }
            let Some(last) = rows.last() else { break };
            after = Some(last.id());
        }
    }
    Ok((offered, queued))
}

pub(crate) async fn run(
    tickets: usize,
    technicians: usize,
    capacity: u16,
) -> Result<Value, Failed> {
    let dir = tempfile::tempdir()?;
    let server = start(dir.path()).await?;
    let node = &*server.node;
    let region: Region = node.region.parse()?;
    ask(node, EntityId::desk(region), Command::Desk(desk::Command::Gather)).await?;
    let customers = tickets.div_ceil(TICKETS_EACH);
    let crew = (0..technicians).map(|number| {
        technician(node, id(EntityKind::Technician, region, number), number, capacity)
    });
    stream::iter(crew).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    let all = (0..customers)
        .map(|number| customer(node, id(EntityKind::Customer, region, number), number));
    stream::iter(all).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    eprintln!("{technicians} technicians and {customers} customers: the storm begins");
    let began = Instant::now();
    let asks = (0..tickets)
        .map(|number| request(node, id(EntityKind::Customer, region, number % customers), number));
    stream::iter(asks).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    let received = began.elapsed();
    let (offered, queued) = loop {
        let (offered, queued) = answered(node)?;
        if offered + queued >= tickets {
            break (offered, queued);
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{offered} offered and {queued} queued of {tickets}").into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let all = began.elapsed();
    server.stop().await;
    Ok(json!({
        "tickets": tickets,
        "technicians": technicians,
        "received_s": received.as_secs_f64(),
        "all_offered_or_queued_s": all.as_secs_f64(),
        "offered": offered,
        "queued": queued,
    }))
}
