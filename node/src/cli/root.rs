//! `ca root`: the root's ceremony, with files in and files out, on a machine without a network.
//!
//! A root's directory holds `root.pem` and `root.key.sealed`. **Invariant:** the key leaves the
//! passphrase only in memory, for one signature. **Not here:** the issuing CA's side (`init`).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fieldmesh_actors::seams::{Clock as _, Entropy as _};
use fieldmesh_pki::{KeyMaterial, RootCa, vault};
use serde_json::json;

use super::{CliError, Common, Output, output::chain, unlock::Unlock};
use crate::{
    deployment::{armour, pem, pem_objects},
    files::{self, Access},
    os::{SystemClock, SystemEntropy},
    web::est::hex,
};

#[derive(Debug, Subcommand)]
pub(crate) enum RootVerb {
    /// Makes a root: its certificate, and its key under a passphrase.
    Create(CreateArgs),
    /// Signs an issuing CA's request.
    Sign(SignArgs),
    /// Shows a root's certificate.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    unlock: Unlock,
    /// The cluster's name, which is in every certificate.
    #[arg(long)]
    cluster: String,
    /// Directory for the new root.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    unlock: Unlock,
    /// Directory of the root.
    #[arg(long)]
    root: PathBuf,
    /// File of the root's key in the directory: of several roots in root.pem, the one it is for signs.
    #[arg(long, default_value = "root.key.sealed")]
    key: PathBuf,
    /// The request, PEM or DER.
    #[arg(long)]
    csr: PathBuf,
    /// The region whose names the issuing CA may give out.
    #[arg(long)]
    region: String,
    /// 1 for a region's first issuing CA, and one more for each that follows.
    #[arg(long)]
    generation: u32,
    /// The certificate.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    common: Common,
    /// Directory of the root.
    #[arg(long)]
    root: PathBuf,
}

impl RootVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Create(args) => &args.common,
            Self::Sign(args) => &args.common,
            Self::Show(args) => &args.common,
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemEntropy::default().fill(&mut bytes);
    bytes
}

fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> CliError {
    let path = path.display().to_string();
    move |error| CliError::usage(format!("{path}: {error}"))
}

pub(crate) fn run(verb: &RootVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        RootVerb::Create(args) => create(args, output),
        RootVerb::Sign(args) => sign(args, output),
        RootVerb::Show(args) => show(args, output),
    }
}

fn create(args: &CreateArgs, output: &Output) -> Result<(), CliError> {
    let certificate = args.out.join("root.pem");
    if certificate.exists() {
        let text = format!("{} holds a root already: choose another --out", args.out.display());
        return Err(CliError::usage(text));
    }
    let passphrase = args.unlock.secret(false)?;
    let now_s = SystemClock.now_ms() / 1000;
    let root = RootCa::create(&args.cluster, now_s, random())
        .map_err(|error| CliError::usage(chain(&error)))?;
    files::make_private_dir(&args.out).map_err(file(&args.out))?;
    let sealed = vault::seal(&passphrase, root.key().pkcs8(), random(), random())
        .map_err(|error| CliError::failed(error.to_string()))?;
    let key = args.out.join("root.key.sealed");
    files::write(&key, &sealed, Access::Owner).map_err(file(&key))?;
    let text = pem(root.certificate());
    files::write(&certificate, text.as_bytes(), Access::Everybody).map_err(file(&certificate))?;
    let pin = hex(&crate::issuer::sha256(root.certificate()));
    output.say(format_args!("made {}\nSHA-256 {pin}", certificate.display()));
    output.result(json!({ "certificate": certificate.display().to_string(), "sha256": pin }));
    Ok(())
}

/// The certificates of a root's directory; at least one.
fn certificates(dir: &std::path::Path) -> Result<Vec<Vec<u8>>, CliError> {
    let path = dir.join("root.pem");
    let found = pem_objects(&files::read(&path).map_err(file(&path))?);
    if found.is_empty() {
        return Err(CliError::usage(format!("{} holds no certificate", path.display())));
    }
    Ok(found)
}

/// The root of a directory that a key, PKCS#8, is for.
fn root_of(dir: &std::path::Path, key: &[u8]) -> Result<RootCa, CliError> {
    let mut failed = None;
    for certificate in certificates(dir)? {
        let key = KeyMaterial::from_pkcs8(key);
        let key = key.map_err(|error| CliError::usage(error.to_string()))?;
        match RootCa::from_parts(key, certificate) {
            Ok(root) => return Ok(root),
            Err(error) => failed = Some(chain(&error)),
        }
    }
    Err(CliError::usage(failed.unwrap_or_default()))
}

fn sign(args: &SignArgs, output: &Output) -> Result<(), CliError> {
    let csr = files::read(&args.csr).map_err(file(&args.csr))?;
    let csr = if csr.starts_with(b"-----") {
        let found = pem_objects(&csr).into_iter().next();
        found.ok_or_else(|| CliError::usage(format!("{} is damaged", args.csr.display())))?
    } else {
        csr
    };
    if args.out.exists() {
        let text = format!("{} is there already: choose another --out", args.out.display());
        return Err(CliError::usage(text));
    }
    let path = args.root.join(&args.key);
    let sealed = files::read(&path).map_err(file(&path))?;
    let passphrase = args.unlock.secret(false)?;
    let key = vault::open(&passphrase, &sealed)
        .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
    let root = root_of(&args.root, &key)?;
    let now_s = SystemClock.now_ms() / 1000;
    let signed = root
        .sign_issuing(&csr, &args.region, args.generation, now_s, random())
        .map_err(|error| CliError::usage(format!("{}: {}", args.csr.display(), chain(&error))))?;
    let text = armour("CERTIFICATE", &signed.der);
    files::write(&args.out, text.as_bytes(), Access::Everybody).map_err(file(&args.out))?;
    output.say(format_args!("signed {} until {}", args.out.display(), signed.not_after));
    output.result(json!({
        "certificate": args.out.display().to_string(),
        "serial": hex(&signed.serial),
        "not_after_s": signed.not_after,
    }));
    Ok(())
}

fn show(args: &ShowArgs, output: &Output) -> Result<(), CliError> {
    let mut pins = Vec::new();
    for root in certificates(&args.root)? {
        let pin = hex(&crate::issuer::sha256(&root));
        output.say(format_args!("{}SHA-256 {pin}", pem(&root)));
        pins.push(pin);
    }
    output.result(json!({ "sha256": pins.first(), "all_sha256": pins }));
    Ok(())
}
