//! `fieldmesh-device`: a customer's or technician's device on the command line.
//!
//! Exit codes: 0 done; 1 failed; 2 usage; 3 refused by the service; 75 the service cannot be reached
//! now: what was composed is in the outbox and is sent by the next command. With `--json` the last
//! line of standard output is one object. **Not here:** what the verbs do (`certificate`, `verbs`),
//! the files of a device (`profile`), how the service is found (`reach`).
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this file is the command's voice")]

mod attachments;
mod certificate;
mod enclosures;
mod profile;
mod reach;
mod shown;
mod verbs;

use std::{error::Error, fmt::Display, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use fieldmesh_domain::{
    EntityId,
    message::{Location, OfferId, PauseReason},
};
use serde_json::{Value, json};

/// What a command ends with; README.md has the same.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 usage, or the device's directory; 3 refused by the service; \
                          75 no answer yet: a message waits in the outbox and is sent by the next command, anything else \
                          is to be repeated";

#[derive(Debug, Parser)]
#[command(
    name = "fieldmesh-device",
    version,
    about = "A device that asks for service, or gives it",
    after_help = EXIT_CODES
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Directory of the device: keys, certificate, outbox.
    #[arg(long, global = true, default_value = "fieldmesh-device")]
    dir: PathBuf,
    /// One JSON object as the last line of the output.
    #[arg(long, global = true)]
    json: bool,
    /// Offer session keys, for a device that talks much.
    #[arg(long, global = true)]
    symmetric: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Gets a certificate with a one-time token.
    Enroll(EnrollArgs),
    /// Gets the next certificate, for a new key.
    Renew(RenewArgs),
    /// Makes a service request; without a connection it waits in the outbox.
    Request(RequestArgs),
    /// Receives alerts and confirmations.
    Listen(ListenArgs),
    /// Does something with a ticket of one's own: cancels it, confirms the work, writes to the technician.
    Act(ActArgs),
    /// Answers an alert, reports progress, or writes to the customer.
    Respond(RespondArgs),
    /// Writes about a ticket, with a file.
    Attach(AttachArgs),
    /// Fetches what came with a message that `listen` received, and opens it.
    Fetch(FetchArgs),
    /// Who the device is and what waits.
    Status,
}

#[derive(Debug, Args)]
struct EnrollArgs {
    /// HTTPS address, host:port; several, with commas, are tried in order.
    #[arg(long)]
    server: String,
    /// UDP address for messages, host:port; several with commas. The service tells of more.
    #[arg(long)]
    devices: String,
    /// The user of the token.
    #[arg(long)]
    user: String,
    /// File with the secret; without it the secret is read from standard input.
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// Seconds to wait for an operator's approval, where one is needed.
    #[arg(long, default_value_t = 0)]
    wait: u64,
}

#[derive(Debug, Args)]
struct RenewArgs {
    /// HTTPS address, host:port; several, with commas, are tried in order. Those of the enrollment
    /// unless given.
    #[arg(long)]
    server: Option<String>,
}

#[derive(Debug, Args)]
struct RequestArgs {
    /// The kind of work, as the service numbers it.
    #[arg(long)]
    category: u16,
    /// The kind within the category.
    #[arg(long, default_value_t = 0)]
    subcategory: u16,
    /// 1 is the highest, 3 the lowest.
    #[arg(long, default_value_t = 2)]
    impact: u8,
    /// 1 is the highest, 3 the lowest.
    #[arg(long, default_value_t = 2)]
    urgency: u8,
    /// Millionths of a degree.
    #[arg(long, allow_hyphen_values = true)]
    lat_e6: i32,
    /// The same.
    #[arg(long, allow_hyphen_values = true)]
    lon_e6: i32,
    /// What is wrong.
    #[arg(long)]
    text: String,
    /// Seconds to wait for the receipt.
    #[arg(long, default_value_t = 10)]
    wait: u64,
}

#[derive(Debug, Args)]
struct ListenArgs {
    /// Seconds to listen.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// End after so many alerts and confirmations; what came with the last one is shown too.
    #[arg(long)]
    limit: Option<u64>,
}

#[derive(Debug, Args)]
struct RespondArgs {
    /// The ticket, as the alert says.
    #[arg(long)]
    ticket: EntityId,
    /// The offer, as the alert says.
    #[arg(long, value_parser = offer)]
    offer: OfferId,
    /// Seconds to wait for the receipt.
    #[arg(long, default_value_t = 10, global = true)]
    wait: u64,
    #[command(subcommand)]
    answer: AnswerVerb,
}

#[derive(Debug, Clone, Subcommand)]
enum AnswerVerb {
    /// The technician comes.
    Accept {
        /// Minutes until the arrival; 10080 are 7 days, and more is refused.
        #[arg(long, value_parser = clap::value_parser!(u16).range(..=10_080))]
        eta_min: u16,
    },
    /// The technician does not come: somebody else is sought.
    Decline {
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// On the way.
    EnRoute,
    /// There.
    OnSite,
    /// The work is done.
    Complete {
        /// What was done; the customer reads it.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// The work cannot be done by this technician: somebody else is sought.
    CannotComplete {
        /// Why; the customer reads it.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// The work waits, for so long.
    Pause {
        /// parts, customer, safety or other.
        #[arg(long, value_parser = pause_reason)]
        reason: PauseReason,
        /// So long.
        #[arg(long)]
        minutes: u16,
        /// What for.
        #[arg(long, default_value = "")]
        text: String,
    },
    /// The work goes on after a pause.
    Resume,
    /// A person has looked at the alert, and has not answered yet.
    Seen,
    /// It comes at another time than it said when it accepted; the customer hears so.
    Eta {
        /// From now on; 10080 are 7 days.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_080))]
        minutes: u16,
    },
    /// For the customer.
    Message {
        /// What it says.
        #[arg(long)]
        text: String,
    },
}

#[derive(Debug, Args)]
struct AttachArgs {
    /// The ticket.
    #[arg(long)]
    ticket: EntityId,
    /// At most 8 MiB.
    #[arg(long)]
    file: PathBuf,
    /// What the message says beside the file.
    #[arg(long, default_value = "")]
    text: String,
    /// The offer, as the alert says: a technician writes under it.
    #[arg(long, value_parser = offer)]
    offer: Option<OfferId>,
    /// Seconds to wait for the receipt.
    #[arg(long, default_value_t = 10)]
    wait: u64,
}

#[derive(Debug, Args)]
struct FetchArgs {
    /// The ticket.
    #[arg(long)]
    ticket: EntityId,
    /// As the message says.
    #[arg(long)]
    number: u8,
    /// The file to write; there must be none.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ActArgs {
    /// The ticket.
    #[arg(long)]
    ticket: EntityId,
    /// Seconds to wait for the receipt.
    #[arg(long, default_value_t = 10, global = true)]
    wait: u64,
    #[command(subcommand)]
    act: ActVerb,
}

#[derive(Debug, Clone, Subcommand)]
enum ActVerb {
    /// The work is not to be done.
    Cancel {
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// The work is done.
    Confirm,
    /// The work is not done, although the technician says so.
    Object {
        /// What is not done.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Something of the request is to be otherwise; what is not said stays.
    Amend {
        /// What is asked for.
        #[arg(long)]
        text: Option<String>,
        /// Latitude and longitude in millionths of a degree, with a comma between them.
        #[arg(long, value_parser = place, allow_hyphen_values = true)]
        at: Option<Location>,
    },
    /// For the technician.
    Message {
        /// What it says.
        #[arg(long)]
        text: String,
    },
    /// The work is to be done after all, or again: within seven days after the end.
    Reopen {
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
}

fn pause_reason(text: &str) -> Result<PauseReason, String> {
    let all = [PauseReason::Parts, PauseReason::Customer, PauseReason::Safety, PauseReason::Other];
    let found = all.into_iter().find(|reason| reason.name() == text);
    found.ok_or_else(|| "a pause is for parts, customer, safety or other".to_owned())
}

fn place(text: &str) -> Result<Location, String> {
    let fault = || "write it as 48850000,2350000".to_owned();
    let (lat, lon) = text.split_once(',').ok_or_else(fault)?;
    let number = |text: &str| text.trim().parse().map_err(|_| fault());
    Ok(Location { lat_e6: number(lat)?, lon_e6: number(lon)? })
}

/// How a command ends when it does not succeed.
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(code: u8, text: impl Display) -> Self {
        Self { code, text: text.to_string() }
    }

    /// An error with all its causes.
    fn caused(code: u8, error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self { code, text }
    }
}

/// `EPOCH`, or `EPOCH.POSITION` where several offers of an epoch went out together.
fn offer(text: &str) -> Result<OfferId, std::num::ParseIntError> {
    let (epoch, seq) = text.split_once('.').unwrap_or((text, "0"));
    Ok(OfferId { epoch: epoch.parse()?, seq: seq.parse()? })
}

fn offer_text(offer: OfferId) -> String {
    match offer.seq {
        0 => offer.epoch.to_string(),
        seq => format!("{}.{seq}", offer.epoch),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("fieldmesh-device: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&cli)) {
        Ok(result) => {
            say(cli.json, &result);
            ExitCode::SUCCESS
        }
        Err(Failure { code, text }) => {
            eprintln!("fieldmesh-device: {text}");
            if cli.json {
                println!("{}", json!({ "error": text, "code": code }));
            }
            ExitCode::from(code)
        }
    }
}

fn say(json: bool, value: &Value) {
    if json {
        println!("{value}");
        return;
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        println!("{key:<14} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
}

async fn run(cli: &Cli) -> Result<Value, Failure> {
    match &cli.verb {
        Verb::Enroll(args) => certificate::enroll(cli, args).await,
        Verb::Renew(args) => certificate::renew(cli, args).await,
        Verb::Request(args) => verbs::request(cli, args).await,
        Verb::Listen(args) => verbs::listen(cli, args).await,
        Verb::Act(args) => verbs::act(cli, args).await,
        Verb::Respond(args) => verbs::respond(cli, args).await,
        Verb::Attach(args) => attachments::attach(cli, args).await,
        Verb::Fetch(args) => attachments::fetch(cli, args).await,
        Verb::Status => verbs::status(cli),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    /// What of a command has nothing in `--help`.
    fn unexplained(command: &clap::Command) -> Vec<String> {
        let name = command.get_name();
        let silent = command.get_arguments();
        let silent = silent.filter(|arg| !arg.is_hide_set() && arg.get_help().is_none());
        let mut found: Vec<String> = silent.map(|arg| format!("{name} {}", arg.get_id())).collect();
        if command.get_about().is_none() {
            found.push(name.to_owned());
        }
        found.extend(command.get_subcommands().flat_map(unexplained));
        found
    }

    #[test]
    fn every_command_and_argument_is_explained() {
        use clap::CommandFactory as _;
        assert_eq!(unexplained(&Cli::command()), [""; 0]);
    }

    #[test]
    fn an_offer_is_written_as_it_is_read() {
        for (text, epoch, seq) in [("7", 7, 0), ("7.2", 7, 2), ("4294967295", u32::MAX, 0)] {
            assert_eq!(offer(text), Ok(OfferId { epoch, seq }));
            assert_eq!(offer_text(OfferId { epoch, seq }), text);
        }
        for text in ["", "x", "7.", ".7", "-1", "1.2.3", "4294967296"] {
            assert!(offer(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_failure_names_its_causes() {
        let cause = std::io::Error::other("no space");
        let error = fieldmesh_device::outbox::OutboxError::Io { path: "o".into(), source: cause };
        assert_eq!(Failure::caused(1, &error).text, "the outbox o cannot be used: no space");
    }
}
