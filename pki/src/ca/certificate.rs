//! An authority's certificate that somebody brings: what it is, and whether a root signed it.
//!
//! **Invariant:** what is read here has the form that this crate gives to roots and issuing CAs, so
//! that nothing else gets into the bundle that everybody believes.

use super::{IssueError, content::CaFacts, root};
use crate::{KeyKind, identity::is_region, is_self_signed, key::SubjectKey, sha256, x509};

/// A root's or an issuing CA's certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaCertificate {
    /// Its common name.
    pub name: String,
    /// SHA-256 of its subject, DER: the issuer in what it signs.
    pub name_hash: [u8; 32],
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_hash: [u8; 32],
    /// SHA-256 of all of it.
    pub fingerprint: [u8; 32],
    /// Unix seconds.
    pub not_before_s: u64,
    pub not_after_s: u64,
    /// Whether it is a root, which signed itself.
    pub is_root: bool,
    /// The DNS subtrees that it may sign; none for a root.
    pub permitted: Vec<String>,
}

impl CaCertificate {
    /// # Errors
    /// [`IssueError::CaCertificate`]: what keeps it from being one of a cluster's authorities.
    pub fn read(der: &[u8]) -> Result<Self, IssueError> {
        let refuse = IssueError::CaCertificate;
        let parsed = x509::parse(der).ok_or_else(|| refuse("it does not parse"))?;
        let is_root = parsed.subject().as_raw() == parsed.issuer().as_raw();
        let facts = CaFacts::of(&parsed, u32::from(is_root))?;
        let spki = parsed.public_key().raw;
        let kind = SubjectKey::from_spki(spki).map(|key| key.kind);
        if is_root {
            if kind != Ok(KeyKind::P384) || !is_self_signed(der) || !root::is_name(&facts.name) {
                return Err(refuse("it is not a root that `fieldmesh ca root create` made"));
            }
        } else if kind != Ok(KeyKind::P256) {
            return Err(refuse("its key is not P-256"));
        } else if facts.permitted.is_empty() {
            return Err(refuse("it is not constrained to a region's DNS names"));
        }
        Ok(Self {
            name_hash: sha256(&facts.subject),
            key_hash: sha256(spki),
            fingerprint: sha256(der),
            not_before_s: facts.life.not_before_s,
            not_after_s: facts.life.not_after_s,
            name: facts.name,
            is_root,
            permitted: facts.permitted,
        })
    }

    /// Whether it is a cluster's: by its name for a root, by what it may sign for an issuing CA.
    pub fn is_of(&self, cluster: &str) -> bool {
        if self.is_root {
            return root::is_name_of(&self.name, cluster);
        }
        let is_own = |tree: &&String| {
            tree.split_once('.').is_some_and(|(region, of)| is_region(region) && of == cluster)
        };
        let is_local = |tree: &&String| *tree == root::LOCAL;
        self.permitted.iter().any(|tree| is_own(&tree))
            && self.permitted.iter().all(|tree| is_own(&tree) || is_local(&tree))
    }

    /// Whether an issuing CA with this certificate was signed by a root.
    pub fn is_signed_by(der: &[u8], root: &[u8]) -> bool {
        let (Some(parsed), Some(root)) = (x509::parse(der), x509::parse(root)) else {
            return false;
        };
        parsed.issuer().as_raw() == root.subject().as_raw()
            && parsed.verify_signature(Some(root.public_key())).is_ok()
    }
}
