//! A region's issuing CA: signs leaves by profile.
//!
//! **Invariant:** a certificate that leaves [`IssuingCa::issue`] was linted before it was signed.

use std::sync::{Arc, OnceLock};

use super::{
    Certificate, IssueError, Urls,
    content::{CaFacts, leaf_params, serial_number, sign_checked},
};
use crate::{
    CaKey, Identity, KeyKind, KeyMaterial, Life,
    key::SubjectKey,
    lint::{Rules, Subject},
    profile::{BACKDATE_S, profile},
};

/// A region's issuing CA: signs leaves only.
pub struct IssuingCa {
    key: Arc<dyn CaKey>,
    der: Vec<u8>,
    facts: CaFacts,
    urls: Option<Urls>,
    /// Signs what the lint reads; made at the first certificate.
    draft_key: OnceLock<KeyMaterial>,
}

impl core::fmt::Debug for IssuingCa {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "IssuingCa({:?}, ..)", self.facts.name)
    }
}

impl IssuingCa {
    /// The CA from its key, wherever that is, and its certificate.
    ///
    /// # Errors
    /// [`IssueError::CaCertificate`] where the certificate does not parse, is another key's, or not
    /// an issuing CA's.
    pub fn from_parts(key: Arc<dyn CaKey>, der: Vec<u8>) -> Result<Self, IssueError> {
        let facts = CaFacts::read(&der, &*key, 0)?;
        let kind = SubjectKey::from_spki(&key.subject_public_key_info()).map(|key| key.kind);
        if kind != Ok(KeyKind::P256) {
            return Err(IssueError::CaCertificate("its key is not P-256"));
        }
        if facts.permitted.is_empty() {
            return Err(IssueError::CaCertificate("it is not constrained to a region's DNS names"));
        }
        Ok(Self { key, der, facts, urls: None, draft_key: OnceLock::new() })
    }

    /// The CA with its key in memory.
    ///
    /// # Errors
    /// As [`Self::from_parts`].
    pub fn from_software(key: KeyMaterial, der: Vec<u8>) -> Result<Self, IssueError> {
        Self::from_parts(Arc::new(key), der)
    }

    /// The CA that says in each certificate where its status is found.
    ///
    /// # Errors
    /// [`IssueError::Name`] for a URL that is not `http://` in printable ASCII.
    pub fn with_urls(mut self, urls: Urls) -> Result<Self, IssueError> {
        for url in [&urls.crl, &urls.ocsp, &urls.ca_issuers] {
            let host = url.strip_prefix("http://").unwrap_or_default();
            if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(IssueError::Name(url.clone()));
            }
        }
        self.urls = Some(urls);
        Ok(self)
    }

    /// The end of its certificate, Unix seconds: no certificate that it signs lives longer.
    pub fn not_after_s(&self) -> u64 {
        self.facts.life.not_after_s
    }

    /// Its certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.der
    }

    /// Its name in DER: what each issued certificate and CRL has as its issuer.
    pub(crate) fn subject(&self) -> &[u8] {
        &self.facts.subject
    }

    /// Its key, for what it signs beside certificates.
    pub fn key(&self) -> &dyn CaKey {
        &*self.key
    }

    /// The subject key identifier: what each issued certificate and CRL has as its authority's.
    pub fn key_identifier(&self) -> &[u8] {
        &self.facts.key_id
    }

    fn draft_key(&self) -> Result<&KeyMaterial, IssueError> {
        if let Some(key) = self.draft_key.get() {
            return Ok(key);
        }
        let key = KeyMaterial::generate_like(self.key()).map_err(|_| IssueError::KeyGeneration)?;
        Ok(self.draft_key.get_or_init(|| key))
    }

    /// A certificate for a key that its holder has proven to have.
    ///
    /// `spki_der` is a SubjectPublicKeyInfo of a kind that the identity's profile allows, `life`
    /// comes from [`crate::Profile::life`], `serial` is random. Extra names are DNS names or IP
    /// addresses by which a server is reached.
    ///
    /// # Errors
    /// See [`IssueError`]; nothing is signed with the CA's key unless all is right.
    pub fn issue(
        &self,
        spki_der: &[u8],
        identity: &Identity,
        extra_names: &[String],
        life: Life,
        serial: [u8; 16],
    ) -> Result<Certificate, IssueError> {
        let profile = profile(identity.kind);
        let subject = SubjectKey::from_spki(spki_der).map_err(|_| IssueError::PublicKey)?;
        if !profile.key_kinds.contains(&subject.kind) {
            let (label, allowed) = (profile.label, profile.key_kinds);
            return Err(IssueError::KeyKind { kind: subject.kind, label, allowed });
        }
        self.facts.check_life(life, life.not_before_s.saturating_add(BACKDATE_S))?;
        let serial = serial_number(serial);
        let urls = self.urls.as_ref();
        let params = leaf_params(profile, identity, extra_names, urls, serial, life)?;
        let rules = Rules {
            issuer: &self.facts.subject,
            authority_key: &self.facts.key_id,
            spki: spki_der,
            life,
            permitted: &self.facts.permitted,
            subject: Subject::Leaf { identity, extra_names, urls },
        };
        let draft_key = self.draft_key()?;
        let der = sign_checked(params, &subject, &self.facts, draft_key, self.key(), &rules)?;
        let (not_before, not_after) = (life.not_before_s, life.not_after_s);
        Ok(Certificate { der, serial, not_before, not_after })
    }
}
