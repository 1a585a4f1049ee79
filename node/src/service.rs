//! The enterprise service's own identity: it signs what goes out and holds the keys that open what
//! comes in.
//!
//! **Invariants:** an HPKE key is used for new messages for a day, opens for two, and is then
//! destroyed; the newest bundle is signed by the service signer. **Not here:** where the secrets are
//! kept (`deployment`), who may send (`intake`).

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use fieldmesh_actors::commit::DraftMessage;
use fieldmesh_device::wire::{ServiceKeys, service_audience};
use fieldmesh_domain::MessageKind;
use fieldmesh_envelope::{
    Claims, Content, HpkePrivateKey, HpkePublicKey, KeyBundle, KeyRing, Message, MessageType,
    SignError, Signed, Signer, SoftwareSigner, VerifyError, sign, sign_bundle, verify,
};

use crate::sealing::Key;

/// A message may wait this long for its device; then it is no longer opened.
pub const MESSAGE_LIFE_S: u64 = 7 * 24 * 3600;
/// An HPKE key is offered for this long, and opens for twice as long.
pub const HPKE_OFFERED_S: u64 = 24 * 3600;
pub const HPKE_ACCEPTED_S: u64 = 48 * 3600;

/// Why the service cannot speak for itself.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("the service's signing key cannot be used")]
    Signer(#[from] SignError),
    #[error("an HPKE key cannot be made or read: {0}")]
    Hpke(String),
}

/// An HPKE key of the service with its life.
#[derive(Clone)]
pub struct StoredHpke {
    pub private: Arc<HpkePrivateKey>,
    pub public: HpkePublicKey,
    /// Unix seconds.
    pub made_s: u64,
}

/// What the service is made of.
pub struct ServiceSecrets {
    pub id: [u8; 16],
    pub region: String,
    pub region_key: Key,
    pub signer: SoftwareSigner,
    /// The signer's certificate, then its issuer's, DER.
    pub chain: Vec<Vec<u8>>,
    pub hpke: Vec<StoredHpke>,
}

/// The service of a region.
pub struct Service {
    id: [u8; 16],
    audience: String,
    region_key: Key,
    voice: RwLock<Arc<Voice>>,
    keys: RwLock<Keys>,
}

/// What the service signs with; its certificate is renewed while the node runs.
struct Voice {
    signer: SoftwareSigner,
    /// The signer's certificate, then its issuer's, DER.
    chain: Vec<Vec<u8>>,
    /// How many there were before it.
    generation: u64,
}

struct Keys {
    stored: Vec<StoredHpke>,
    ring: Arc<KeyRing>,
    bundle: Vec<u8>,
}

impl Service {
    /// # Errors
    /// Where the keys do not work.
    pub fn new(secrets: ServiceSecrets, now_s: u64) -> Result<Self, ServiceError> {
        let audience = service_audience(&secrets.region);
        let keys = build(secrets.hpke, &secrets.signer, &audience, now_s)?;
        Ok(Self {
            id: secrets.id,
            audience,
            region_key: secrets.region_key,
            voice: RwLock::new(Arc::new(Voice {
                signer: secrets.signer,
                chain: secrets.chain,
                generation: 0,
            })),
            keys: RwLock::new(keys),
        })
    }

    fn voice(&self) -> Arc<Voice> {
        // It is replaced as a whole.
        Arc::clone(&self.voice.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often the signer's certificate was renewed: a device that heard of an earlier one must
    /// hear of this before it believes a message.
    pub fn generation(&self) -> u64 {
        self.voice().generation
    }

    /// Signs with a new certificate from now on.
    ///
    /// # Errors
    /// Where the keys do not work; the old certificate stays.
    pub fn recertify(
        &self,
        signer: SoftwareSigner,
        chain: Vec<Vec<u8>>,
        now_s: u64,
    ) -> Result<(), ServiceError> {
        let stored = self.keys().stored.clone();
        let keys = build(stored, &signer, &self.audience, now_s)?;
        let generation = self.generation() + 1;
        let voice = Arc::new(Voice { signer, chain, generation });
        *self.voice.write().unwrap_or_else(PoisonError::into_inner) = voice;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// The name that messages to the service carry.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    pub fn region_key(&self) -> &Key {
        &self.region_key
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        // The keys are replaced as a whole, so a panic leaves the old or the new ones.
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys that open messages now.
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys().ring)
    }

    /// What a device needs to write to the service.
    pub fn public_keys(&self) -> ServiceKeys {
        ServiceKeys {
            id: self.id,
            chain: self.voice().chain.iter().cloned().map(Into::into).collect(),
            bundle: self.keys().bundle.clone(),
        }
    }

    /// Makes a new HPKE key where the newest is a day old, and destroys those past their life.
    /// Returns all keys for storing where something changed.
    ///
    /// # Errors
    /// Where a key cannot be made.
    pub fn rotate(&self, now_s: u64) -> Result<Option<Vec<StoredHpke>>, ServiceError> {
        let stored = self.keys().stored.clone();
        let Some(next) = rotated(&stored, now_s)? else {
            return Ok(None);
        };
        let keys = build(next.clone(), &self.voice().signer, &self.audience, now_s)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(Some(next))
    }

    /// The signed bytes of a message for a device.
    ///
    /// # Errors
    /// Where the signer fails.
    pub fn compose(
        &self,
        message: DraftMessage,
        message_id: [u8; 16],
        seq: u64,
        now_s: u64,
    ) -> Result<Vec<u8>, SignError> {
        let kind = match message.kind {
            MessageKind::Receipt => MessageType::Receipt,
            MessageKind::Alert => MessageType::Alert,
            MessageKind::Confirmation => MessageType::Confirmation,
            MessageKind::Note => MessageType::Note,
        };
        let claims = Claims {
            iss: self.audience.clone(),
            aud: message.to.to_string(),
            iat: now_s,
            exp: now_s + MESSAGE_LIFE_S,
            cti: message_id,
        };
        let content = Content { kind, seq, correlation: message.correlation, body: message.body };
        let voice = self.voice();
        let signed: Signed = sign(&Message { claims, content }, &voice.signer as &dyn Signer)?;
        Ok(signed.as_bytes().to_vec())
    }
}

impl Service {
    /// A stored message as its device can verify it: one that was signed under an earlier
    /// certificate of the same key is signed again under the present one.
    ///
    /// # Errors
    /// Where it was not signed by this service, or the signer fails.
    pub fn renewed(&self, signed: Signed) -> Result<Signed, RenewError> {
        let voice = self.voice();
        if *signed.x5t() == voice.signer.certificate_thumbprint() {
            return Ok(signed);
        }
        let claims = signed.unverified_claims();
        let key = voice.signer.verifying_key();
        let message = verify(&signed, key, signed.x5t(), &claims.aud, claims.iat)?;
        Ok(sign(&message, &voice.signer as &dyn Signer)?)
    }
}

/// Why a stored message cannot be sent any more.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    #[error("the service did not sign it")]
    Verify(#[from] VerifyError),
    #[error("it cannot be signed again")]
    Sign(#[from] SignError),
}

/// The keys as they should be now, or none where they are.
pub fn rotated(stored: &[StoredHpke], now_s: u64) -> Result<Option<Vec<StoredHpke>>, ServiceError> {
    let mut next: Vec<StoredHpke> =
        stored.iter().filter(|key| key.made_s + HPKE_ACCEPTED_S > now_s).cloned().collect();
    let newest = next.iter().map(|key| key.made_s).max();
    if newest.is_none_or(|made_s| made_s + HPKE_OFFERED_S <= now_s) {
        let (private, public) =
            HpkePrivateKey::generate().map_err(|error| ServiceError::Hpke(error.to_string()))?;
        next.push(StoredHpke { private: Arc::new(private), public, made_s: now_s });
    } else if next.len() == stored.len() {
        return Ok(None);
    }
    Ok(Some(next))
}

fn build(
    stored: Vec<StoredHpke>,
    signer: &SoftwareSigner,
    audience: &str,
    now_s: u64,
) -> Result<Keys, ServiceError> {
    let stored = rotated(&stored, now_s)?.unwrap_or(stored);
    let mut ring = KeyRing::default();
    for key in &stored {
        ring.insert(Arc::clone(&key.private), key.made_s, key.made_s + HPKE_ACCEPTED_S)
            .map_err(|error| ServiceError::Hpke(error.to_string()))?;
    }
    let newest = stored
        .iter()
        .max_by_key(|key| key.made_s)
        .ok_or_else(|| ServiceError::Hpke("no key".into()))?;
    let bundle = KeyBundle {
        owner: audience.to_owned(),
        serial: newest.made_s,
        not_before: newest.made_s,
        not_after: newest.made_s + HPKE_ACCEPTED_S,
        keys: vec![newest.public.clone()],
    };
    let bundle = sign_bundle(&bundle, signer as &dyn Signer)?;
    Ok(Keys { stored, ring: Arc::new(ring), bundle })
}
