//! `ca rotate`: one authority takes over from another, step by step.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, Common, Output, api::Api};
use crate::{
    dates::date,
    files::{self, Access},
    web::ca::{AuthoritiesView, IssuingRequest, NewAuthority, TakeStep},
};

/// Digits of a SHA-256 that are shown, and the fewest that name an authority.
const SHOWN: usize = 16;
const DIGITS_MIN: usize = 6;

#[derive(Debug, Subcommand)]
pub(crate) enum RotateVerb {
    /// Shows all authorities, and which nodes know them.
    Status(StatusArgs),
    /// Makes the key of the next issuing CA, and a request for a root to sign.
    Begin(BeginArgs),
    /// Lets every node believe a new issuing CA or root; it signs nothing yet.
    Introduce(IntroduceArgs),
    /// Lets an introduced authority sign, once every node believes it.
    Activate(ActivateArgs),
    /// Gives back to the authority before.
    Rollback(StepArgs),
    /// Believes one that was introduced no more.
    Drop(RemoveArgs),
    /// Ends the way back: a superseded authority signs revocation lists only.
    Retire(StepArgs),
    /// Ends all belief in a retired authority and in what it issued.
    Remove(RemoveArgs),
    /// Waits no more for a node that is gone.
    ForgetNode(ForgetArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct BeginArgs {
    #[command(flatten)]
    common: Common,
    /// The request, PEM.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct IntroduceArgs {
    #[command(flatten)]
    common: Common,
    /// The certificate, PEM.
    certificate: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    #[command(flatten)]
    common: Common,
    /// The authority: the start of its SHA-256, six digits at least.
    sha256: String,
}

#[derive(Debug, Args)]
pub(crate) struct ActivateArgs {
    #[command(flatten)]
    step: StepArgs,
    /// Others may have the key of the one before: wait for no node, and never go back to it.
    #[arg(long)]
    compromised: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    step: StepArgs,
    /// Also while certificates that it issued are in force: their holders must enroll anew.
    #[arg(long)]
    cut_off: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    #[command(flatten)]
    common: Common,
    /// The node's number.
    number: u64,
}

impl RotateVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Status(args) => &args.common,
            Self::Begin(args) => &args.common,
            Self::Introduce(args) => &args.common,
            Self::Activate(args) => &args.step.common,
            Self::Rollback(args) | Self::Retire(args) => &args.common,
            Self::Remove(args) | Self::Drop(args) => &args.step.common,
            Self::ForgetNode(args) => &args.common,
        }
    }
}

pub(crate) async fn run(verb: &RotateVerb, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(verb.common())?;
    let view = match verb {
        RotateVerb::Begin(args) => return begin(&api, args, output).await,
        RotateVerb::Status(_) => api.get("/v1/ca/authorities").await?,
        RotateVerb::Introduce(args) => {
            let path = &args.certificate;
            let read = files::read(path)
                .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
            let certificate = String::from_utf8(read).map_err(|_| {
                CliError::usage(format!("{} is not a certificate in PEM", path.display()))
            })?;
            api.post("/v1/ca/authorities", &NewAuthority { certificate }).await?
        }
        RotateVerb::Activate(args) => {
            let body = TakeStep { compromised: args.compromised, ..TakeStep::default() };
            step(&api, &args.step.sha256, "activate", &body).await?
        }
        RotateVerb::Rollback(args) => {
            step(&api, &args.sha256, "rollback", &TakeStep::default()).await?
        }
        RotateVerb::Retire(args) => {
            step(&api, &args.sha256, "retire", &TakeStep::default()).await?
        }
        RotateVerb::Remove(args) => {
            let body = TakeStep { cut_off: args.cut_off, ..TakeStep::default() };
            step(&api, &args.step.sha256, "remove", &body).await?
        }
        RotateVerb::Drop(args) => {
            let body = TakeStep { cut_off: args.cut_off, ..TakeStep::default() };
            step(&api, &args.step.sha256, "drop", &body).await?
        }
        RotateVerb::ForgetNode(args) => {
            api.post(&format!("/v1/ca/nodes/{}/forget", args.number), &json!({})).await?
        }
    };
    show(&view, output);
    Ok(())
}

/// What the PEM of a request begins with (RFC 7468 §7).
const REQUEST: &[u8] = b"-----BEGIN CERTIFICATE REQUEST-----";

async fn begin(api: &Api, args: &BeginArgs, output: &Output) -> Result<(), CliError> {
    // The same request may be asked for again; a certificate in its place would be lost.
    if args.out.exists() && !files::read(&args.out).is_ok_and(|there| there.starts_with(REQUEST)) {
        let text = format!("{} holds something else: choose another --out", args.out.display());
        return Err(CliError::usage(text));
    }
    let made: IssuingRequest = api.post("/v1/ca/authorities/requests", &json!({})).await?;
    let path = args.out.display();
    files::write(&args.out, made.request.as_bytes(), Access::Everybody)
        .map_err(|error| CliError::usage(format!("{path}: {error}")))?;
    let IssuingRequest { region, generation, .. } = &made;
    output.say(format_args!(
        "wrote {path}: sign it with `fieldmesh ca root sign --csr {path} --region {region} --generation {generation}`"
    ));
    output.result(json!({
        "request": path.to_string(), "region": region, "generation": generation,
    }));
    Ok(())
}

/// The authority whose SHA-256 starts so, if there is one only.
fn named(view: &AuthoritiesView, start: &str) -> Result<String, CliError> {
    let start = start.to_ascii_lowercase();
    if start.len() < DIGITS_MIN || !start.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(CliError::usage("name the authority by six or more digits of its SHA-256"));
    }
    let mut found = view.authorities.iter().filter(|ca| ca.sha256.starts_with(&start));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.sha256.clone()),
        (None, _) => Err(CliError::refused(format!("there is no authority {start}"))),
        (Some(_), Some(_)) => {
            Err(CliError::usage(format!("{start} is the start of several: give more digits")))
        }
    }
}

async fn step(
    api: &Api,
    start: &str,
    step: &str,
    body: &TakeStep,
) -> Result<AuthoritiesView, CliError> {
    let sha256 = named(&api.get("/v1/ca/authorities").await?, start)?;
    let path = format!("/v1/ca/authorities/{sha256}/{step}");
    api.post(&path, body).await
}

fn show(view: &AuthoritiesView, output: &Output) {
    output.say(format_args!("epoch {}", view.epoch));
    for ca in &view.authorities {
        let left = ca.certificates.map(|left| format!(", {left} certificates in force"));
        let compromised = if ca.compromised { ", compromised" } else { "" };
        output.say(format_args!(
            "{:<SHOWN$} {:<11} {} until {}{}{compromised}",
            &ca.sha256[..SHOWN.min(ca.sha256.len())],
            ca.phase,
            ca.name,
            date(ca.not_after_s),
            left.unwrap_or_default(),
        ));
    }
    for node in &view.nodes {
        let behind = if node.behind { ", behind" } else { "" };
        output.say(format_args!("node {} believes epoch {}{behind}", node.number, node.epoch));
    }
    if let Some(waits) = &view.proposal {
        output.say(format_args!(
            "{} wants to {} {}: a second operator must give the same command within seven days",
            waits.by, waits.step, waits.sha256
        ));
    }
    output.result(json!(view));
}
