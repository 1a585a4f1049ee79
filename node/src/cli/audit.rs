//! `ca audit`: the ledger on paper. An export or a proof is checked with the root certificate alone,
//! on any machine.

use std::{io::BufReader, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use fieldmesh_pki::{
    Kind, TrustStore, Usage,
    ledger::{
        Action, Entry, EntryProof, SignedHead, Signer, end_line, entry_line, head_line,
        header_line, signer_line, verify_export,
    },
    merkle::{Hash, leaf_hash},
};
use serde_json::json;

use super::{CliError, Common, Output, api::Api, configuration};
use crate::{
    deployment::pem_objects,
    files::{self, Access, Whole},
    ledger::StoredHead,
    web::ca::{LedgerPage, RecordedView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// Writes the whole ledger to a file, with its signed heads.
    Export(FileArgs),
    /// Checks an export, or a proof, against the root certificate; needs no node.
    Verify(VerifyArgs),
    /// Writes a proof that the ledger lists a certificate's issuance.
    Prove(ProveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    #[command(flatten)]
    common: Common,
    /// The export to write.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    common: Common,
    /// The export, or the proof, whose name ends in .proof.
    file: PathBuf,
    /// Root certificates, PEM; those of the data directory unless given.
    #[arg(long)]
    root: Option<PathBuf>,
    /// A head from an earlier audit, as `verify` printed it with --json: the ledger must still hold
    /// everything that it covered.
    #[arg(long)]
    known: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ProveArgs {
    #[command(flatten)]
    common: Common,
    /// The certificate's serial number in hexadecimal.
    #[arg(long)]
    serial: String,
    /// The proof to write; `verify` knows it by a name that ends in .proof.
    file: PathBuf,
}

impl AuditVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Export(args) => &args.common,
            Self::Verify(args) => &args.common,
            Self::Prove(args) => &args.common,
        }
    }
}

pub(crate) async fn run(verb: &AuditVerb, output: &Output) -> Result<(), CliError> {
    match verb {
        AuditVerb::Export(args) => export(args, output).await,
        AuditVerb::Verify(args) => verify(args, output),
        AuditVerb::Prove(args) => prove(args, output).await,
    }
}

fn damaged(what: &str) -> CliError {
    CliError::failed(format!("the node's answer holds a {what} that does not decode"))
}

/// Everything recorded, in order, page by page.
async fn each(
    api: &Api,
    mut take: impl FnMut(&LedgerPage, Part) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut from = 0;
    loop {
        let page: LedgerPage = api.get(&format!("/v1/ca/ledger?from={from}")).await?;
        for recorded in &page.recorded {
            let part = match recorded {
                RecordedView::Leaf(text) => {
                    Part::Leaf(STANDARD.decode(text).map_err(|_| damaged("leaf"))?)
                }
                RecordedView::Head(text) => {
                    let bytes = STANDARD.decode(text).map_err(|_| damaged("head"))?;
                    Part::Head(Box::new(minicbor::decode(&bytes).map_err(|_| damaged("head"))?))
                }
            };
            take(&page, part)?;
        }
        match page.next {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}

enum Part {
    Leaf(Vec<u8>),
    Head(Box<StoredHead>),
}

/// The heads first, because each stands behind the entry that completes it, and is recorded later.
async fn heads(api: &Api) -> Result<Vec<StoredHead>, CliError> {
    let _: serde_json::Value = api.post("/v1/ca/ledger/heads", &json!({})).await?;
    let mut heads = Vec::new();
    each(api, |_, part| {
        if let Part::Head(head) = part {
            heads.push(*head);
        }
        Ok(())
    })
    .await?;
    Ok(heads)
}

async fn export(args: &FileArgs, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(&args.common)?;
    let heads = heads(&api).await?;
    let failed =
        |error: std::io::Error| CliError::failed(format!("{}: {error}", args.file.display()));
    let mut file = Whole::create(&args.file, Access::Owner).map_err(failed)?;
    let (mut entries, mut signers, mut written, mut begun) = (0_u64, 0_u64, 0_usize, false);
    let mut signer: Option<Vec<Vec<u8>>> = None;
    let covered = heads.last().map_or(0, |head| head.head.size);
    each(&api, |page, part| {
        if !begun {
            file.write(header_line(&page.cluster, &page.region).as_bytes()).map_err(failed)?;
            begun = true;
        }
        let Part::Leaf(leaf) = part else { return Ok(()) };
        // What came after the last head belongs to the next export.
        if entries == covered {
            return Ok(());
        }
        let line = entry_line(&leaf).map_err(|error| CliError::failed(error.to_string()))?;
        file.write(line.as_bytes()).map_err(failed)?;
        entries += 1;
        while let Some(stored) = heads.get(written).filter(|stored| stored.head.size == entries) {
            let chain: Vec<Vec<u8>> = stored.chain.iter().map(|der| der.to_vec()).collect();
            if signer.as_ref() != Some(&chain) {
                file.write(signer_line(&chain).as_bytes()).map_err(failed)?;
                (signers, signer) = (signers + 1, Some(chain));
            }
            file.write(head_line(&stored.head).as_bytes()).map_err(failed)?;
            written += 1;
        }
        Ok(())
    })
    .await?;
    file.write(end_line(entries, written as u64, signers).as_bytes()).map_err(failed)?;
    file.finish().map_err(failed)?;
    output.say(format_args!("{entries} entries under {written} heads: {}", args.file.display()));
    output.result(json!({ "entries": entries, "heads": written }));
    Ok(())
}

/// Whether the signer is the service of its cluster and region, by a chain to one of the roots.
fn is_service(roots: &[Vec<u8>], signer: &Signer<'_>) -> bool {
    let Ok(trust) = TrustStore::new(roots.to_vec(), signer.issuers.to_vec()) else { return false };
    trust.verify(signer.key, &[], Usage::Signing, signer.at_s).is_ok_and(|peer| {
        let identity = &peer.identity;
        identity.kind == Kind::Service
            && identity.cluster == signer.cluster
            && identity.region == signer.region
    })
}

fn verify(args: &VerifyArgs, output: &Output) -> Result<(), CliError> {
    let root = match &args.root {
        Some(path) => path.clone(),
        None => configuration(&args.common, &[])?.node.data_dir.join("root.pem"),
    };
    let read = |path: &PathBuf| {
        files::read(path).map_err(|error| CliError::usage(format!("{}: {error}", path.display())))
    };
    let roots = pem_objects(&read(&root)?);
    if roots.is_empty() {
        return Err(CliError::usage(format!("{} holds no certificate", root.display())));
    }
    let trusted = |signer: &Signer<'_>| is_service(&roots, signer);
    let bytes = files::open(&args.file)
        .map_err(|error| CliError::usage(format!("{}: {error}", args.file.display())))?;
    let refused = |error: String| CliError::failed(format!("{}: {error}", args.file.display()));
    if args.file.extension().is_some_and(|extension| extension == "proof") {
        let proof =
            EntryProof::from_json(&read(&args.file)?).map_err(|e| refused(e.to_string()))?;
        let entry = proof.verify(&trusted).map_err(|error| refused(error.to_string()))?;
        output.say(format_args!("entry {} of {}: {}", entry.number, entry.subject, entry.actor));
        output.result(
            json!({ "entry": entry.number, "subject": entry.subject, "head": proof.head() }),
        );
        return Ok(());
    }
    let known: Option<SignedHead> = match &args.known {
        Some(path) => {
            let value: serde_json::Value = serde_json::from_slice(&read(path)?)
                .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
            let head = value.get("head").unwrap_or(&value).clone();
            let head = serde_json::from_value(head);
            Some(head.map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?)
        }
        None => None,
    };
    let verified = verify_export(BufReader::new(bytes), &trusted, known.as_ref())
        .map_err(|error| refused(error.to_string()))?;
    output.say(format_args!(
        "whole and unchanged: {} entries under {} signed heads",
        verified.entries, verified.heads
    ));
    output.result(
        json!({ "entries": verified.entries, "heads": verified.heads, "head": verified.last }),
    );
    Ok(())
}

async fn prove(args: &ProveArgs, output: &Output) -> Result<(), CliError> {
    let wanted: String = args.serial.chars().filter(|c| *c != ':').collect();
    let wanted = u128::from_str_radix(&wanted, 16)
        .map_err(|_| CliError::usage("a serial number is up to 32 hexadecimal digits"))?;
    let api = Api::from_common(&args.common)?;
    let heads = heads(&api).await?;
    let head = heads.last().ok_or_else(|| CliError::refused("the ledger is empty"))?;
    let (mut hashes, mut found): (Vec<Hash>, _) = (Vec::new(), None);
    each(&api, |_, part| {
        let Part::Leaf(leaf) = part else { return Ok(()) };
        if (hashes.len() as u64) < head.head.size {
            hashes.push(leaf_hash(&leaf));
            if lists(&leaf, wanted) {
                found = Some(leaf);
            }
        }
        Ok(())
    })
    .await?;
    let text = format!("no certificate {} was issued", args.serial);
    let leaf = found.ok_or_else(|| CliError::refused(text))?;
    let chain: Vec<Vec<u8>> = head.chain.iter().map(|der| der.to_vec()).collect();
    let proof = EntryProof::new(&leaf, &hashes, &head.head, &chain)
        .map_err(|error| CliError::failed(error.to_string()))?;
    files::write(&args.file, proof.to_json().as_bytes(), Access::Everybody)
        .map_err(|error| CliError::failed(format!("{}: {error}", args.file.display())))?;
    output.say(format_args!("proof of {} entries: {}", hashes.len(), args.file.display()));
    output.result(json!({ "entries": hashes.len() }));
    Ok(())
}

/// Whether a leaf tells of the issuance of a certificate with this serial number.
fn lists(leaf: &[u8], wanted: u128) -> bool {
    let Ok(entry) = Entry::from_bytes(leaf) else { return false };
    let (Action::Issued(issuance) | Action::Renewed(issuance)) = entry.action else {
        return false;
    };
    let number =
        issuance.serial.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    number == wanted
}
