//! Measurements of one node: its size, and what its authority costs.
//!
//! ```text
//! cargo run -p fieldmesh-benches -- restart --tickets 100000
//! cargo run -p fieldmesh-benches -- memory  --tickets 100000
//! cargo run -p fieldmesh-benches -- stored  --largest 1000000
//! cargo run -p fieldmesh-benches -- authority
//! cargo run -p fieldmesh-benches -- choosing
//! cargo run -p fieldmesh-benches -- storm --tickets 10000
//! ```
//!
//! Each prints one JSON object. The speed of the claim's loop is
//! measured by `fieldmesh replay`, as ratios within its run.
//! **Not here:** verdicts; a figure is compared with its promise by whoever reads it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this program prints its figures")]

mod authority;
mod choosing;
mod memory;
mod population;
mod restart;
mod stored;
mod storm;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use fieldmesh_node::{
    config::Config,
    deployment::Deployment,
    os::{SystemClock, SystemEntropy},
    server::Server,
};

/// The product's: what an entity costs is what this gives it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Seals the secrets of directories that live as long as the measurement.
const PASSPHRASE: &[u8] = b"only for measurements";

/// Any failure, as text: a measurement that did not run has no result.
type Failed = Box<dyn std::error::Error>;

#[derive(Debug, Parser)]
#[command(name = "fieldmesh-benches", version, about = "Sizes of one node")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How long a node with so many tickets takes until it answers.
    Restart(Size),
    /// How many bytes an entity that is awake costs.
    Memory(Size),
    /// What one more ticket costs a node that stores ten thousand, a hundred thousand, a million.
    Stored {
        /// Up to so many.
        #[arg(long, default_value_t = 1_000_000)]
        largest: usize,
    },
    /// Enrollments, revocations, handshakes, and many identities.
    Authority {
        #[arg(long, default_value_t = 2000)]
        enrollments: usize,
        #[arg(long, default_value_t = 100_000)]
        registrations: usize,
    },
    /// What the desk's decisions cost, and whether that grows with the tickets that were done.
    Choosing {
        #[arg(long, default_value_t = 10_000)]
        technicians: usize,
    },
    /// So many tickets at once, until each is offered or queued.
    Storm {
        #[arg(long, default_value_t = 10_000)]
        tickets: usize,
        #[arg(long, default_value_t = 2_000)]
        technicians: usize,
        /// Tickets that a technician may hold.
        #[arg(long, default_value_t = 4)]
        capacity: u16,
    },
    /// The second half of `memory`, in a process of its own.
    #[command(hide = true)]
    Awake { dir: PathBuf },
}

#[derive(Debug, Args)]
struct Size {
    #[arg(long, default_value_t = 100_000)]
    tickets: usize,
    /// Of every hundred tickets, so many stay open: accepted, and not completed.
    #[arg(long, default_value_t = 20)]
    open_percent: usize,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = tokio::runtime::Runtime::new().map_err(Failed::from).and_then(|runtime| {
        runtime.block_on(async {
            match cli.what {
                What::Restart(size) => restart::run(&size).await,
                What::Memory(size) => memory::run(&size).await,
                What::Authority { enrollments, registrations } => {
                    authority::run(enrollments, registrations).await
                }
                What::Choosing { technicians } => choosing::run(technicians),
                What::Storm { tickets, technicians, capacity } => {
                    storm::run(tickets, technicians, capacity).await
                }
                What::Stored { largest } => stored::run(largest).await,
                What::Awake { dir } => memory::awake(&dir).await,
            }
        })
    });
    match result {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fieldmesh-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn config(dir: &Path) -> Result<Config, Failed> {
    let flags = [
        ("node.data_dir", dir.display().to_string()),
        ("listen.https", "127.0.0.1:0".to_owned()),
        ("listen.devices", "127.0.0.1:0".to_owned()),
        // These technicians have no devices that could be heard, and some runs take longer than such a silence.
        ("cluster.unheard_after_s", "0".to_owned()),
    ];
    let flags: Vec<_> = flags.map(|(key, value)| (key.to_owned(), value)).into();
    Ok(Config::load(None, &flags)?)
}

/// A server of its own, with what the directory holds.
async fn start(dir: &Path) -> Result<Server, Failed> {
    let config = config(dir)?;
    if !Deployment::is_there(dir) {
        Deployment::create(&config, PASSPHRASE, &SystemClock, &SystemEntropy::default())?;
    }
    Ok(Server::start(&config, PASSPHRASE).await?)
}
