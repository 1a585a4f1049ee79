//! The offline root: made once, signs issuing CAs in a ceremony of files.
//!
//! **Invariant:** of an issuing CA's request only the public key is taken.

use std::sync::Arc;

use rcgen::KeyIdMethod;

use super::{
    Certificate, IssueError, IssuingCa,
    content::{CaFacts, ca_params, serial_number, sign_checked},
};
use crate::{
    KeyKind, KeyMaterial, Life, create_csr,
    csr::proven_spki,
    hex,
    identity::{is_cluster, is_region},
    is_self_signed,
    key::{SubjectKey, key_identifier},
    lint::{COMMON_NAME_MAX, Rules, Subject, is_dns_name},
    profile::BACKDATE_S,
};

const YEAR_S: u64 = 365 * 24 * 3600;
const ROOT_LIFE_S: u64 = 20 * YEAR_S;
const ISSUING_LIFE_S: u64 = 2 * YEAR_S;
/// An issuing CA signs much, and this curve is the fast one.
const ISSUING_KEY_KINDS: &[KeyKind] = &[KeyKind::P256];
/// What follows the cluster in a root's name, before the start of its key's identifier: programs that
/// look an issuer up by name then find the right one of several.
const NAME_END: &str = " root ";
const NAME_KEY_BYTES: usize = 3;
/// A node is reached by it on its own machine, whatever its region.
pub(super) const LOCAL: &str = "localhost";

/// The offline root: signs issuing CAs only.
pub struct RootCa {
    key: KeyMaterial,
    der: Vec<u8>,
    cluster: String,
    facts: CaFacts,
}

impl core::fmt::Debug for RootCa {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "RootCa({:?}, ..)", self.cluster)
    }
}

fn life(now_s: u64, length_s: u64) -> Life {
    Life {
        not_before_s: now_s.saturating_sub(BACKDATE_S),
        not_after_s: now_s.saturating_add(length_s),
    }
}

fn check_name(name: &str) -> Result<(), IssueError> {
    if name.len() <= COMMON_NAME_MAX { Ok(()) } else { Err(IssueError::Name(name.to_owned())) }
}

/// Whether a root may have this common name.
pub(super) fn is_name(name: &str) -> bool {
    name.contains(NAME_END)
}

/// Whether a root of that cluster may have this common name.
pub(super) fn is_name_of(name: &str, cluster: &str) -> bool {
    name.strip_prefix(cluster).is_some_and(|end| end.starts_with(NAME_END))
}

impl RootCa {
    /// A new root for a cluster: P-384, 20 years, one level of CAs below it. A cluster may have
    /// more than one; they differ in their keys.
    ///
    /// # Errors
    /// Where no key or certificate can be made, or the cluster's name does not fit in one.
    pub fn create(cluster: &str, now_s: u64, serial: [u8; 16]) -> Result<Self, IssueError> {
        if !is_cluster(cluster) || !is_dns_name(cluster) {
            return Err(IssueError::Name(cluster.to_owned()));
        }
        let key = KeyMaterial::generate_p384().map_err(|_| IssueError::KeyGeneration)?;
        let id = key_identifier(&key);
        let name = format!("{cluster}{NAME_END}{}", hex(&id[..NAME_KEY_BYTES.min(id.len())]));
        check_name(&name)?;
        let mut params = ca_params(&name, 1, &[], serial_number(serial), life(now_s, ROOT_LIFE_S))?;
        params.key_identifier_method = KeyIdMethod::PreSpecified(id);
        let der = params.self_signed(&key).map_err(IssueError::Sign)?.der().to_vec();
        Self::from_parts(key, der)
    }

    /// The root from its stored key and certificate.
    ///
    /// # Errors
    /// Where the certificate does not parse, is another key's or not a root's.
    pub fn from_parts(key: KeyMaterial, der: Vec<u8>) -> Result<Self, IssueError> {
        let facts = CaFacts::read(&der, &key, 1)?;
        let refuse = IssueError::CaCertificate;
        if !is_self_signed(&der) {
            return Err(refuse("it is not signed by its own key"));
        }
        let parts = facts.name.split_once(NAME_END);
        let (cluster, _) = parts.ok_or_else(|| refuse("it names no root"))?;
        let cluster = cluster.to_owned();
        Ok(Self { key, der, cluster, facts })
    }

    /// Its certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.der
    }

    /// Its key, to be sealed.
    pub fn key(&self) -> &KeyMaterial {
        &self.key
    }

    /// A certificate for the issuing CA whose request this is: P-256, two years, no CA below it,
    /// DNS names of its region only. `generation` tells a region's issuing CAs apart.
    ///
    /// # Errors
    /// [`IssueError::Request`] for a request that is malformed or not signed by its own key;
    /// otherwise see [`IssueError`].
    pub fn sign_issuing(
        &self,
        csr: &[u8],
        region: &str,
        generation: u32,
        now_s: u64,
        serial: [u8; 16],
    ) -> Result<Certificate, IssueError> {
        let spki = proven_spki(csr).map_err(IssueError::Request)?;
        let subject = SubjectKey::from_spki(spki).map_err(|_| IssueError::PublicKey)?;
        if !ISSUING_KEY_KINDS.contains(&subject.kind) {
            let (kind, label, allowed) = (subject.kind, "issuing CA", ISSUING_KEY_KINDS);
            return Err(IssueError::KeyKind { kind, label, allowed });
        }
        if !is_region(region) {
            return Err(IssueError::Name(region.to_owned()));
        }
        let name = format!("{} {region} issuing {generation}", self.cluster);
        check_name(&name)?;
        let life = life(now_s, ISSUING_LIFE_S);
        self.facts.check_life(life, now_s)?;
        // Nodes' certificates also name localhost, for clients such as curl.
        let permitted = [format!("{region}.{}", self.cluster), LOCAL.to_owned()];
        let serial = serial_number(serial);
        let params = ca_params(&name, 0, &permitted, serial, life)?;
        let rules = Rules {
            issuer: &self.facts.subject,
            authority_key: &self.facts.key_id,
            spki,
            life,
            permitted: &permitted,
            subject: Subject::Issuing { name: &name },
        };
        let draft_key =
            KeyMaterial::generate_like(&self.key).map_err(|_| IssueError::KeyGeneration)?;
        let der = sign_checked(params, &subject, &self.facts, &draft_key, &self.key, &rules)?;
        let (not_before, not_after) = (life.not_before_s, life.not_after_s);
        Ok(Certificate { der, serial, not_before, not_after })
    }

    /// A region's issuing CA with a new key in memory, and the key, to be sealed.
    ///
    /// # Errors
    /// As [`Self::sign_issuing`].
    pub fn issue_issuing(
        &self,
        region: &str,
        generation: u32,
        now_s: u64,
        serial: [u8; 16],
    ) -> Result<(IssuingCa, Arc<KeyMaterial>), IssueError> {
        let key = Arc::new(KeyMaterial::generate().map_err(|_| IssueError::KeyGeneration)?);
        let request = create_csr(&key).map_err(|_| IssueError::KeyGeneration)?;
        let signed = self.sign_issuing(&request, region, generation, now_s, serial)?;
        Ok((IssuingCa::from_parts(key.clone(), signed.der)?, key))
    }
}
