//! `ticket attach`, `attachments` and `fetch`: what comes with messages about a ticket.
//!
//! **Invariant:** a file is written where the operator says, never where its sender says. **Not here:** sealing
//! and opening (`fieldmesh_device::attach`).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fieldmesh_device::{
    attach::{File, Place, fetch, upload},
    files as device_files,
};
use fieldmesh_domain::{EntityId, message::Enclosure};
use serde_json::json;

use super::{CliError, Common, Output, api::Api, configuration, lists::plain, orders::To};
use crate::{
    files,
    issuer::sha256,
    web::{
        attachments::{EnclosureView, EnclosuresView},
        orders::{NewOrder, Ordered},
    },
};

#[derive(Debug, Subcommand)]
pub(crate) enum AttachmentVerb {
    /// Writes to the customer, the technician, or both, with a file.
    Attach(AttachArgs),
    /// Lists what came with messages.
    Attachments(ListArgs),
    /// Fetches what came with a message, and opens it.
    Fetch(FetchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    common: Common,
    /// The ticket.
    id: String,
    /// At most 8 MiB.
    file: PathBuf,
    /// Who gets it.
    #[arg(long, value_enum)]
    to: To,
    /// What it says beside the file.
    #[arg(long, default_value = "")]
    text: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    common: Common,
    /// The ticket.
    id: String,
}

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    common: Common,
    /// The ticket.
    id: String,
    /// As `ticket attachments` lists it.
    number: u8,
    /// The file to write; there must be none.
    #[arg(long)]
    out: PathBuf,
}

impl AttachmentVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Attach(args) => &args.common,
            Self::Attachments(args) => &args.common,
            Self::Fetch(args) => &args.common,
        }
    }
}

pub(crate) async fn run(verb: &AttachmentVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        AttachmentVerb::Attach(args) => attach(args, output).await,
        AttachmentVerb::Attachments(args) => {
            let found = attachments(&Api::from_common(&args.common)?, &args.id).await?;
            for EnclosureView { number, name, bytes, .. } in &found.attachments {
                output.say(format_args!("{number:>2}  {bytes:>9} bytes  {name}"));
            }
            // What opens them is for `fetch`, not for terminals and their histories.
            let shown = found.attachments.iter();
            let shown = shown
                .map(|one| json!({ "number": one.number, "name": one.name, "bytes": one.bytes }));
            output.result(json!({ "attachments": shown.collect::<Vec<_>>() }));
            Ok(())
        }
        AttachmentVerb::Fetch(args) => bring(args, output).await,
    }
}

async fn attachments(api: &Api, ticket: &str) -> Result<EnclosuresView, CliError> {
    api.get(&format!("/v1/tickets/{}/attachments", plain(ticket)?)).await
}

fn ticket(id: &str) -> Result<EntityId, CliError> {
    id.parse().map_err(|_| CliError::usage(format!("{id:?} is no ticket's identifier")))
}

async fn attach(args: &AttachArgs, output: &Output) -> Result<(), CliError> {
    let AttachArgs { common, id, file, to, text } = args;
    let named = |what: &str| CliError::usage(format!("{}: {what}", file.display()));
    let size = files::open(file).and_then(|file| file.metadata()).map(|found| found.len());
    let size = size.map_err(|error| named(&error.to_string()))?;
    if size > u64::from(Enclosure::BYTES_MAX) {
        return Err(named("an attachment has at most 8 MiB"));
    }
    let bytes = files::read(file).map_err(|error| named(&error.to_string()))?;
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| named("the name is not text"))?;
    let api = Api::from_common(common)?;
    let key = configuration(common, &[])?.node.data_dir.join("operator.key");
    let secret = sha256(&files::read(&key).map_err(CliError::failed)?);
    let place = Place { server: &api.server, tls: &api.tls };
    let file = File { name, bytes: &bytes, secret: &secret };
    let enclosure = upload(&place, ticket(id)?, &file).await;
    let enclosure = enclosure.map_err(|error| CliError::refused(error.to_string()))?;
    let number = enclosure.number;
    let enclosure = Some(EnclosureView::of(&enclosure));
    let order = NewOrder::Message { to: (*to).into(), text: text.clone(), enclosure };
    let path = format!("/v1/tickets/{}/orders", plain(id)?);
    let ordered: Ordered = api.post(&path, &order).await?;
    output.say(format_args!("attached as number {number}"));
    output.result(json!({ "ticket": ordered.ticket, "number": number }));
    Ok(())
}

async fn bring(args: &FetchArgs, output: &Output) -> Result<(), CliError> {
    let FetchArgs { common, id, number, out } = args;
    if files::open(out).is_ok() {
        return Err(CliError::usage(format!("{} is there already: name another", out.display())));
    }
    let api = Api::from_common(common)?;
    let found = attachments(&api, id).await?;
    let found = found.attachments.iter().rev().filter(|one| one.number == *number);
    let found: Vec<Enclosure> = found.filter_map(EnclosureView::enclosure).collect();
    if found.is_empty() {
        let text = format!("no message of {id} came with attachment {number}");
        return Err(CliError::refused(text));
    }
    let place = Place { server: &api.server, tls: &api.tls };
    let fetched = fetch(&place, ticket(id)?, &found).await;
    let (found, bytes) = fetched.map_err(|error| CliError::refused(error.to_string()))?;
    device_files::write_new(out, &bytes).map_err(CliError::failed)?;
    output.say(format_args!("{} ({} bytes) is in {}", found.name, found.bytes, out.display()));
    output.result(json!({ "name": found.name, "bytes": found.bytes, "file": out }));
    Ok(())
}
