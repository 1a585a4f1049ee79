//! The node's secrets as they are sealed: under a passphrase, or under a key in a PKCS#11 token.
//!
//! With a token the issuing CA's key is in it too, and never here. **Invariant:** what is unsealed is
//! wiped when it is dropped.

use std::{mem, path::Path, sync::Arc};

use fieldmesh_actors::seams::Entropy;
use fieldmesh_pki::{
    CaKey, IssuingCa, KeyMaterial,
    pkcs11::{TokenAddress, TokenKey, TokenSecret},
    vault,
};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use super::{DeploymentError, file, key_error, random};
use crate::{
    files::{self, Access},
    store::rows,
};

/// What the token's secret is derived for.
const SEAL_LABEL: &[u8] = b"fieldmesh seal v1";

/// The secrets as they are sealed.
#[derive(Encode, Decode)]
pub(super) struct Secrets {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(super) region_key: [u8; 32],
    /// PKCS#8; empty where the key is in a token.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) issuing_key: Vec<u8>,
    /// Empty until the root has signed it.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(super) issuing_certificate: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    pub(super) node_key: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    pub(super) service_key: Vec<u8>,
    /// The signer's certificate: messages that wait name it, so it changes only when it must.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub(super) service_certificate: Vec<u8>,
    #[n(6)]
    pub(super) hpke: Vec<HpkeRow>,
    /// The node's own certificate, and the names in it that depend on the configuration.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub(super) node_certificate: Vec<u8>,
    #[n(8)]
    pub(super) node_names: Vec<String>,
    /// The issuing key's label in the token, where it is not the deployment's first.
    #[n(9)]
    pub(super) issuing_label: Option<String>,
    /// Issuing keys that do not sign certificates: the next one, and those before until they are
    /// removed.
    #[cbor(n(10), default)]
    pub(super) others: Vec<IssuingRow>,
}

/// An issuing CA's key with its certificate.
#[derive(Encode, Decode)]
pub(super) struct IssuingRow {
    /// PKCS#8; empty where the key is in a token.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(super) key: Vec<u8>,
    /// Empty until a root has signed it.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) certificate: Vec<u8>,
    #[n(2)]
    pub(super) label: Option<String>,
}

impl Drop for IssuingRow {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.key.zeroize();
    }
}

#[derive(Encode, Decode)]
pub(super) struct HpkeRow {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(super) pair: Vec<u8>,
    #[n(1)]
    pub(super) made_s: u64,
}

impl Secrets {
    /// Another issuing CA takes the place of the one that signs, and that one its place.
    pub(super) fn swap_issuing(&mut self, at: usize) {
        let Some(other) = self.others.get_mut(at) else { return };
        mem::swap(&mut other.key, &mut self.issuing_key);
        mem::swap(&mut other.certificate, &mut self.issuing_certificate);
        mem::swap(&mut other.label, &mut self.issuing_label);
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.region_key.zeroize();
        self.issuing_key.zeroize();
        self.node_key.zeroize();
        self.service_key.zeroize();
        for row in &mut self.hpke {
            row.pair.zeroize();
        }
    }
}

/// What opens and seals the secrets.
pub(super) enum Seal {
    Passphrase(Zeroizing<Vec<u8>>),
    Token { address: TokenAddress, pin: Zeroizing<String>, key: Zeroizing<[u8; 32]> },
}

/// The address of the secret that stands beside the issuing key in a token.
fn beside(address: &TokenAddress) -> TokenAddress {
    let key_label = format!("{} seal", address.key_label);
    TokenAddress { key_label, id: None, ..address.clone() }
}

/// Where another issuing key is in the same token.
fn labelled(address: &TokenAddress, label: Option<&str>) -> TokenAddress {
    match label {
        None => address.clone(),
        Some(label) => TokenAddress { key_label: label.to_owned(), id: None, ..address.clone() },
    }
}

fn pin(secret: &[u8]) -> Result<Zeroizing<String>, DeploymentError> {
    let text = std::str::from_utf8(secret);
    text.map(|text| Zeroizing::new(text.to_owned())).map_err(|_| key_error("the PIN is not text"))
}

impl Seal {
    /// What opens an existing deployment: `secret` is its passphrase, or the PIN of its token.
    pub(super) fn of(token: Option<&str>, secret: &[u8]) -> Result<Self, DeploymentError> {
        let Some(token) = token else {
            return Ok(Self::Passphrase(Zeroizing::new(secret.to_vec())));
        };
        let address: TokenAddress = token.parse().map_err(key_error)?;
        let pin = pin(secret)?;
        let sealing = TokenSecret::open(&beside(&address), &pin).map_err(key_error)?;
        let key = sealing.derive(SEAL_LABEL).map_err(key_error)?;
        Ok(Self::Token { address, pin, key })
    }

    /// Makes the keys that a new deployment needs in a token.
    pub(super) fn in_token(address: &TokenAddress, secret: &[u8]) -> Result<Self, DeploymentError> {
        let pin = pin(secret)?;
        TokenKey::generate(address, &pin).map_err(key_error)?;
        let sealing = TokenSecret::generate(&beside(address), &pin).map_err(key_error)?;
        let key = sealing.derive(SEAL_LABEL).map_err(key_error)?;
        Ok(Self::Token { address: address.clone(), pin, key })
    }

    /// Replaces a file by sealed content.
    pub(super) fn write(
        &self,
        path: &Path,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<(), DeploymentError> {
        let sealed = match self {
            Self::Passphrase(passphrase) => {
                vault::seal(passphrase, plain, random(entropy), random(entropy))
            }
            Self::Token { key, .. } => vault::seal_with_key(key, plain, random(entropy)),
        };
        let sealed =
            sealed.map_err(|source| DeploymentError::Vault { path: path.to_owned(), source })?;
        files::write(path, &sealed, Access::Owner).map_err(file(path))
    }

    pub(super) fn write_secrets(
        &self,
        path: &Path,
        secrets: &Secrets,
        entropy: &dyn Entropy,
    ) -> Result<(), DeploymentError> {
        self.write(path, &Zeroizing::new(rows::encode(secrets)), entropy)
    }

    pub(super) fn read_secrets(&self, path: &Path) -> Result<Secrets, DeploymentError> {
        let sealed = files::read(path).map_err(file(path))?;
        let plain = match self {
            Self::Passphrase(passphrase) => vault::open(passphrase, &sealed),
            Self::Token { key, .. } => vault::open_with_key(key, &sealed),
        };
        let plain =
            plain.map_err(|source| DeploymentError::Vault { path: path.to_owned(), source })?;
        rows::whole(&plain).map_err(|_| DeploymentError::Damaged { path: path.to_owned() })
    }

    /// The issuing CA's key, wherever it is.
    pub(super) fn issuing_key(&self, secrets: &Secrets) -> Result<Arc<dyn CaKey>, DeploymentError> {
        self.key(&secrets.issuing_key, secrets.issuing_label.as_deref())
    }

    fn key(&self, pkcs8: &[u8], label: Option<&str>) -> Result<Arc<dyn CaKey>, DeploymentError> {
        Ok(match self {
            Self::Passphrase(_) => Arc::new(KeyMaterial::from_pkcs8(pkcs8).map_err(key_error)?),
            Self::Token { address, pin, .. } => {
                let address = labelled(address, label);
                Arc::new(TokenKey::open(&address, pin).map_err(key_error)?)
            }
        })
    }

    /// The key of a row.
    pub(super) fn row_key(&self, row: &IssuingRow) -> Result<Arc<dyn CaKey>, DeploymentError> {
        self.key(&row.key, row.label.as_deref())
    }

    /// A new issuing key, in the token where there is one; the label names it there.
    pub(super) fn new_issuing(&self, label: String) -> Result<IssuingRow, DeploymentError> {
        let certificate = Vec::new();
        Ok(match self {
            Self::Passphrase(_) => {
                let key = KeyMaterial::generate().map_err(key_error)?.pkcs8().to_vec();
                IssuingRow { key, certificate, label: None }
            }
            Self::Token { address, pin, .. } => {
                TokenKey::generate(&labelled(address, Some(&label)), pin).map_err(key_error)?;
                IssuingRow { key: Vec::new(), certificate, label: Some(label) }
            }
        })
    }

    /// Removes a row's key from the token where it is in one; twice is once.
    pub(super) fn destroy(&self, row: &IssuingRow) -> Result<(), DeploymentError> {
        match self {
            Self::Passphrase(_) => Ok(()),
            Self::Token { address, pin, .. } => {
                let address = labelled(address, row.label.as_deref());
                TokenKey::destroy(&address, pin).map_err(key_error)
            }
        }
    }

    /// The label of another key beside the deployment's first; nothing is there under it yet.
    pub(super) fn other_label(&self, entropy: &dyn Entropy) -> String {
        let random: [u8; 4] = random(entropy);
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Passphrase(_) => String::new(),
            Self::Token { address, .. } => format!("{} {digits}", address.key_label),
        }
    }

    pub(super) fn issuing(&self, secrets: &Secrets) -> Result<IssuingCa, DeploymentError> {
        let key = self.issuing_key(secrets)?;
        Ok(IssuingCa::from_parts(key, secrets.issuing_certificate.clone())?)
    }
}
