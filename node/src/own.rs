//! The certificates that a node has for itself are the authority's like any other: registered, listed,
//! and revoked by their serial number.
//!
//! The node's and its machine's operator have registrations of their own; the service's signer is
//! listed in the ledger alone, because nobody is ever invited to be it. **Not here:** making them
//! (`deployment`).

use fieldmesh_domain::{
    Command, EntityId,
    authority::Deed,
    registration::{self, Approval, Issued, Profile, Proof, Registration, Token},
    time::Millis,
};
use fieldmesh_pki::{Kind, PeerCertificate, Usage, ledger::Issuance, profile};

use crate::{
    deployment::Own,
    issuer::{self, sha256},
    node::Node,
    register,
};

/// In whose name they are registered: no operator is called that.
pub const BY: &str = "authority";

/// Tells the authority of certificates that it does not know yet.
///
/// # Errors
/// Why it was not told of one; it was told of the others.
pub async fn record(node: &Node, own: &[Own]) -> Result<(), String> {
    let mut told = Ok(());
    for own in own {
        told = told.and(record_one(node, own).await);
    }
    told
}

async fn record_one(node: &Node, Own { kind, der }: &Own) -> Result<(), String> {
    let usage = match kind {
        Kind::Service => Usage::Signing,
        _ => Usage::ClientAuth,
    };
    let now_s = node.clock.now_ms() / 1000;
    let peer = node.trust.store().verify(der, &[], usage, now_s);
    let peer = peer.map_err(|error| error.to_string())?;
    let listed = Issuance::of(der, profile(*kind).label, None);
    let signed_part = listed.map_err(|error| error.to_string())?.tbs_hash;
    let issued = issued(&peer, der, signed_part, node)?;
    match issuer::registration_of(&peer.identity) {
        Some(id) => register(node, id, *kind, issued).await,
        None => list(node, issued).await,
    }
}

fn issued(
    peer: &PeerCertificate,
    der: &[u8],
    signed_part: [u8; 32],
    node: &Node,
) -> Result<Issued, String> {
    let mut random = [0; 32];
    node.entropy.fill(&mut random);
    Ok(Issued {
        proof: Proof::Token(random),
        public_key_hash: sha256(&peer.spki),
        issuer: peer.issuer_hash,
        serial: register::serial(&peer.serial).ok_or("a serial number is too long")?,
        not_before: peer.not_before,
        not_after: peer.not_after,
        certificate: der.to_vec(),
        revoked: None,
        fingerprint: peer.thumbprint,
        signed_part,
    })
}

async fn register(node: &Node, id: EntityId, kind: Kind, issued: Issued) -> Result<(), String> {
    let journal = node.journal_of(id).ok_or("the authority group does not run here")?;
    let state: Registration = journal.state(id).map_err(|error| error.to_string())?;
    if state.by_serial(&issued.serial).is_some() {
        return Ok(());
    }
    let Proof::Token(hash) = issued.proof else { return Ok(()) };
    let profile = issuer::registered(kind).ok_or("the profile is not registered")?;
    let (label, by) = (format!("node {}", node.number), BY.to_owned());
    let token = Token { hash, expires: Millis(u64::MAX), by: by.clone(), approval: Approval::None };
    for command in [
        registration::Command::Register { profile, device: None, label, by },
        registration::Command::Invite(token),
        registration::Command::Enroll(issued),
    ] {
        let asked = node.ask(id, Command::Registration(command)).await;
        asked.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn list(node: &Node, issued: Issued) -> Result<(), String> {
    let deed = Deed::Issued {
        profile: Profile::Service,
        issuer: issued.issuer,
        serial: issued.serial,
        not_after: issued.not_after,
        key: issued.public_key_hash,
        signed_part: issued.signed_part,
        approved_by: None,
        renews: None,
    };
    node.note(BY.to_owned(), deed).await.map_err(|error| error.to_string())
}
