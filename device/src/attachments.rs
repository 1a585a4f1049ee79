//! `attach` and `fetch`: what is too large for a message, by the command line.
//!
//! **Invariants:** a file is written where its owner says, never where its sender says; the message leaves only
//! when all of its file is there. **Not here:** sealing, opening and transport (`fieldmesh_device::attach`).

use std::{path::Path, sync::Arc};

use fieldmesh_device::{
    attach::{self, AttachError, File, Place},
    files,
    session::Said,
};
use fieldmesh_domain::{
    EntityKind,
    message::{Act, Answer, CustomerActBody, Enclosure, ResponseBody},
};
use fieldmesh_pki::tls::{self, PeerVerifier, client_config};
use serde_json::{Value, json};

use crate::{
    AttachArgs, Cli, Failure, FetchArgs, enclosures,
    profile::{Profile, now_ms},
    reach::places,
    verbs::{deliver, demand},
};

fn failed(error: AttachError) -> Failure {
    let code = match error {
        AttachError::Network(_) | AttachError::Later(_) => 75,
        AttachError::Invalid(_) => 2,
        AttachError::Refused(_) | AttachError::Full => 3,
        AttachError::Incomplete | AttachError::Object(_) => 1,
    };
    Failure::caused(code, &error)
}

fn tls(profile: &Profile) -> Result<Arc<rustls::ClientConfig>, Failure> {
    let trust = profile.trust().map_err(|error| Failure::new(1, error))?;
    let clock = now_ms();
    let verifier = PeerVerifier {
        trust: tls::fixed(trust),
        now: Arc::new(move || clock() / 1000),
        revoked: Arc::new(|_, _| false),
        client_may_be_unknown: false,
        lapsed: None,
    };
    let config = client_config(Arc::new(verifier), Some(&profile.credentials()), b"http/1.1");
    config.map(Arc::new).map_err(|error| Failure::new(1, error))
}

/// The servers of the enrollment, in their order.
fn servers(profile: &Profile) -> Result<Vec<&str>, Failure> {
    let servers = profile.server().map(|list| places(list).collect());
    servers
        .ok_or_else(|| Failure::new(2, "the device knows no server: renew its certificate first"))
}

fn content(path: &Path) -> Result<Vec<u8>, Failure> {
    let named = |what: String| Failure::new(2, format!("{}: {what}", path.display()));
    let size = files::size(path).map_err(|error| named(error.to_string()))?;
    if size > u64::from(Enclosure::BYTES_MAX) {
        return Err(named("an attachment has at most 8 MiB".into()));
    }
    let bytes = files::read_if_there(path).map_err(|error| named(error.to_string()))?;
    bytes.ok_or_else(|| named("there is no such file".into()))
}

pub(crate) async fn attach(cli: &Cli, args: &AttachArgs) -> Result<Value, Failure> {
    let AttachArgs { ticket, file, text, offer, wait } = args;
    let profile = Profile::open(&cli.dir).map_err(|error| Failure::new(2, error))?;
    let bytes = content(file)?;
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::new(2, "the file's name is not text"))?;
    if profile.id.kind() == EntityKind::Technician && offer.is_none() {
        return Err(Failure::new(2, "a technician writes under an offer: say which with --offer"));
    }
    let tls = tls(&profile)?;
    let mut last = None;
    let mut enclosure = None;
    for server in servers(&profile)? {
        let file = File { name, bytes: &bytes, secret: &profile.outbox_key };
        match attach::upload(&Place { server, tls: &tls }, *ticket, &file).await {
            Err(error @ (AttachError::Network(_) | AttachError::Later(_))) => last = Some(error),
            brought => {
                enclosure = Some(brought.map_err(failed)?);
                break;
            }
        }
    }
    let unreachable = || last.map_or_else(|| Failure::new(75, "there is no server"), failed);
    let enclosure = enclosure.ok_or_else(unreachable)?;
    let (number, text, enclosure) = (enclosure.number, text.clone(), Some(enclosure));
    let mut sent = match offer {
        None => {
            demand(profile.id, EntityKind::Customer, "customer")?;
            let body = CustomerActBody { ticket: *ticket, act: Act::Message { text, enclosure } };
            body.check().map_err(|error| Failure::new(2, error))?;
            deliver(cli, Said::Act, &body, *wait).await?
        }
        Some(offer) => {
            demand(profile.id, EntityKind::Technician, "technician")?;
            let answer = Answer::Message { text, enclosure };
            let body = ResponseBody { ticket: *ticket, offer: *offer, answer };
            body.check().map_err(|error| Failure::new(2, error))?;
            deliver(cli, Said::Response, &body, *wait).await?
        }
    };
    sent["number"] = json!(number);
    Ok(sent)
}

pub(crate) async fn fetch(cli: &Cli, args: &FetchArgs) -> Result<Value, Failure> {
    let FetchArgs { ticket, number, out } = args;
    let profile = Profile::open(&cli.dir).map_err(|error| Failure::new(2, error))?;
    if files::size(out).is_ok() {
        let text = format!("{} is there already: name another", out.display());
        return Err(Failure::new(2, text));
    }
    let found = enclosures::find(&cli.dir, *ticket, *number);
    let found = found.map_err(|error| Failure::new(1, error))?;
    if found.is_empty() {
        let text = format!("no message told of attachment {number} of {ticket}: listen first");
        return Err(Failure::new(2, text));
    }
    let tls = tls(&profile)?;
    let mut last = None;
    for server in servers(&profile)? {
        match attach::fetch(&Place { server, tls: &tls }, *ticket, &found).await {
            Err(error @ (AttachError::Network(_) | AttachError::Later(_))) => last = Some(error),
            fetched => {
                let (found, bytes) = fetched.map_err(failed)?;
                files::write_new(out, &bytes).map_err(|error| Failure::new(1, error))?;
                return Ok(json!({ "name": found.name, "bytes": found.bytes, "file": out }));
            }
        }
    }
    Err(last.map_or_else(|| Failure::new(75, "there is no server"), failed))
}
