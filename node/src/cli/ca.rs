//! `ca`: the certification authority, as operators use it.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    CliError, Common, Output,
    api::Api,
    audit::{self, AuditVerb},
    import,
    lists::{ImportArgs, plain},
    root::{self, RootVerb},
    rotate::{self, RotateVerb},
};
use crate::{
    dates::date,
    web::ca::{
        CertificateView, Decide, MintedToken, NewToken, RegistrationView, Registrations, Revoke,
    },
};

#[derive(Debug, Subcommand)]
pub(crate) enum CaVerb {
    /// Mints a one-time token: for an identity, or for a new one of a profile.
    Token(TokenArgs),
    /// Lists the requests that wait for an operator.
    Requests(PageArgs),
    /// Approves the request of an identity.
    Approve(IdArgs),
    /// Denies the request of an identity; its holder is told why.
    Deny(WhyArgs),
    /// Lists identities with where they stand.
    List(ListArgs),
    /// Shows an identity, or a certificate by --serial.
    Show(ShowArgs),
    /// Revokes the certificates of an identity, or one by --serial; the identity may enroll again.
    Revoke(RevokeArgs),
    /// Bans an identity: revoked, and refused until it is re-admitted.
    Ban(WhyArgs),
    /// Lets a banned identity have tokens again.
    Readmit(IdArgs),
    /// Registers identities from CSV: profile,label and optionally id.
    Import(ImportArgs),
    /// Replaces the issuing CA or a root, while traffic runs.
    #[command(subcommand)]
    Rotate(RotateVerb),
    /// The root's ceremony, with files alone.
    #[command(subcommand)]
    Root(RootVerb),
    /// The tamper-evident ledger of all of this.
    #[command(subcommand)]
    Audit(AuditVerb),
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    common: Common,
    /// Customer, technician or registration.
    id: Option<String>,
    /// customer-device, technician-device, operator, node or gateway.
    #[arg(long)]
    profile: Option<String>,
    /// What a new identity is called in lists.
    #[arg(long, default_value = "")]
    label: String,
    /// No operator needs to approve the request that it is used for.
    #[arg(long)]
    pre_approved: bool,
    /// Hours until it expires.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=168))]
    valid_h: u64,
}

#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    #[command(flatten)]
    common: Common,
    /// Rows at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Rows behind this identifier.
    #[arg(long)]
    after: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    page: PageArgs,
    /// Only registered, pending, active, revoked or banned ones.
    #[arg(long)]
    state: Option<String>,
    /// Only of this profile.
    #[arg(long)]
    profile: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    #[command(flatten)]
    common: Common,
    /// Customer, technician or registration.
    id: String,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    #[command(flatten)]
    common: Common,
    /// Customer, technician or registration.
    id: String,
    /// The reason, for the record.
    #[arg(long)]
    why: String,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    common: Common,
    /// Customer, technician or registration.
    #[arg(required_unless_present = "serial")]
    id: Option<String>,
    /// A certificate's serial number in hexadecimal.
    #[arg(long, conflicts_with = "id")]
    serial: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    show: ShowArgs,
    /// unspecified, keyCompromise, affiliationChanged, superseded or cessationOfOperation.
    #[arg(long)]
    reason: Option<String>,
    /// Also a certificate that no registration knows.
    #[arg(long)]
    unregistered: bool,
}

impl CaVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Token(args) => &args.common,
            Self::Requests(args) => &args.common,
            Self::Approve(args) | Self::Readmit(args) => &args.common,
            Self::Deny(args) | Self::Ban(args) => &args.common,
            Self::List(args) => &args.page.common,
            Self::Show(args) => &args.common,
            Self::Revoke(args) => &args.show.common,
            Self::Import(args) => &args.common,
            Self::Rotate(verb) => verb.common(),
            Self::Root(verb) => verb.common(),
            Self::Audit(verb) => verb.common(),
        }
    }
}

/// Keeps what a user typed from changing the path: labels have hyphens, serial numbers colons.
fn word(text: &str) -> Result<String, CliError> {
    let kept: String = text.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    plain(&kept)?;
    Ok(text.replace(':', ""))
}

pub(crate) async fn run(verb: &CaVerb, output: &Output) -> Result<(), CliError> {
    // These need no node, or find it themselves.
    match verb {
        CaVerb::Import(args) => return import::registrations(args, output).await,
        CaVerb::Audit(verb) => return audit::run(verb, output).await,
        CaVerb::Rotate(verb) => return rotate::run(verb, output).await,
        CaVerb::Root(verb) => return root::run(verb, output),
        _ => {}
    }
    let api = Api::from_common(verb.common())?;
    match verb {
        CaVerb::Token(args) => token(&api, args, output).await,
        CaVerb::Requests(args) => registrations(&api, args, Some("pending"), None, output).await,
        CaVerb::List(args) => {
            let (state, profile) = (args.state.as_deref(), args.profile.as_deref());
            registrations(&api, &args.page, state, profile, output).await
        }
        CaVerb::Approve(args) => {
            let key_sha256 = waiting(&api, &args.id, output).await?;
            let body = json!(Decide { key_sha256, ..Decide::default() });
            decide(&api, &args.id, "approve", &body, output).await
        }
        CaVerb::Readmit(args) => decide(&api, &args.id, "readmit", &json!({}), output).await,
        CaVerb::Deny(args) => {
            let key_sha256 = waiting(&api, &args.id, output).await?;
            let body = json!(Decide { why: args.why.clone(), key_sha256 });
            decide(&api, &args.id, "deny", &body, output).await
        }
        CaVerb::Ban(args) => {
            let body = json!(Decide { why: args.why.clone(), ..Decide::default() });
            decide(&api, &args.id, "ban", &body, output).await
        }
        CaVerb::Show(args) => show(&api, args, output).await,
        CaVerb::Revoke(args) => revoke(&api, args, output).await,
        CaVerb::Import(_) | CaVerb::Audit(_) | CaVerb::Root(_) | CaVerb::Rotate(_) => Ok(()),
    }
}

async fn token(api: &Api, args: &TokenArgs, output: &Output) -> Result<(), CliError> {
    let wanted = NewToken {
        id: args.id.clone(),
        profile: args.profile.clone(),
        label: args.label.clone(),
        pre_approved: args.pre_approved,
        valid_s: Some(args.valid_h * 3600),
    };
    let token: MintedToken = api.post("/v1/ca/tokens", &wanted).await?;
    output.say(format_args!("user   {}\nsecret {}", token.user, token.secret));
    if token.needs_approval {
        output.say("its request waits until an operator runs `fieldmesh ca approve`");
    }
    output.result(json!(token));
    Ok(())
}

async fn registrations(
    api: &Api,
    args: &PageArgs,
    state: Option<&str>,
    profile: Option<&str>,
    output: &Output,
) -> Result<(), CliError> {
    let mut path = format!("/v1/ca/registrations?limit={}", args.limit);
    for (key, value) in [("after", args.after.as_deref()), ("state", state), ("profile", profile)] {
        if let Some(value) = value {
            path = format!("{path}&{key}={}", word(value)?);
        }
    }
    let page: Registrations = api.get(&path).await?;
    for row in &page.rows {
        let whose = row.device.as_deref().unwrap_or(&row.id);
        let until = row.not_after_s.map(date).unwrap_or_default();
        output.say(format_args!("{whose:<30} {:<18} {:<10} {until}", row.profile, row.state));
    }
    if let Some(next) = &page.next {
        output.say(format_args!("more behind --after {next}"));
    }
    output.result(json!(page));
    Ok(())
}

/// The key that waits, shown, so that it is the one that is decided.
async fn waiting(api: &Api, id: &str, output: &Output) -> Result<Option<String>, CliError> {
    let path = format!("/v1/ca/registrations/{}", word(id)?);
    let view: RegistrationView = api.get(&path).await?;
    if let Some(key) = &view.key_sha256 {
        output.say(format_args!("key SHA-256 {key}"));
    }
    Ok(view.key_sha256)
}

async fn decide(
    api: &Api,
    id: &str,
    what: &str,
    body: &serde_json::Value,
    output: &Output,
) -> Result<(), CliError> {
    let path = format!("/v1/ca/registrations/{}/{what}", word(id)?);
    let view: RegistrationView = api.post(&path, body).await?;
    let decision = view.decision.as_deref().filter(|_| matches!(what, "approve" | "deny"));
    output.say(format_args!("{id} is {}", decision.unwrap_or(&view.state)));
    output.result(json!(view));
    Ok(())
}

async fn show(api: &Api, args: &ShowArgs, output: &Output) -> Result<(), CliError> {
    if let Some(serial) = &args.serial {
        let path = format!("/v1/ca/certificates/{}", word(serial)?);
        let view: CertificateView = api.get(&path).await?;
        let state = if view.revoked_ms.is_some() { "revoked" } else { "good" };
        output.say(format_args!("{} of {} is {state}", view.serial, view.registration));
        output.result(json!(view));
        return Ok(());
    }
    let id = args.id.as_deref().unwrap_or_default();
    let path = format!("/v1/ca/registrations/{}", word(id)?);
    let view: RegistrationView = api.get(&path).await?;
    let label = view.label.as_deref().unwrap_or_default();
    output.say(format_args!("{} is {}, {} {label}", view.id, view.state, view.profile));
    if let (Some(decision), Some(key)) = (&view.decision, &view.key_sha256) {
        output.say(format_args!("  request for key SHA-256 {key}: {decision}"));
    }
    for issued in view.certificates.iter().flatten() {
        let revoked = if issued.revoked_ms.is_some() { "revoked" } else { "" };
        let (from, until) = (date(issued.not_before_s), date(issued.not_after_s));
        output.say(format_args!("  {} {from} to {until} {revoked}", issued.serial));
    }
    output.result(json!(view));
    Ok(())
}

async fn revoke(api: &Api, args: &RevokeArgs, output: &Output) -> Result<(), CliError> {
    let body = json!(Revoke { reason: args.reason.clone(), unregistered: args.unregistered });
    if let Some(serial) = &args.show.serial {
        let path = format!("/v1/ca/certificates/{}/revoke", word(serial)?);
        let answer: serde_json::Value = api.post(&path, &body).await?;
        output.say(format_args!("{serial} is revoked"));
        if answer["told"] == false {
            output.say("the cluster could not be told again: nobody leads its record");
        }
        output.result(answer);
        return Ok(());
    }
    decide(api, args.show.id.as_deref().unwrap_or_default(), "revoke", &body, output).await
}
