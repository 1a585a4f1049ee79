//! Key bundles: a recipient's HPKE keys, signed by its identity key, with a rising serial.

use crate::{
    DecodeError, HpkePublicKey, SignError, Signer, VerifyError, VerifyingKey,
    cbor::{ARRAY, MAP, Reader, Writer},
    sign1::{
        ALG_ESP256, NAME_BYTES_MAX, Sign1, read_alg, read_constant, read_name, read_x5t, write_x5t,
    },
};

const TYPE: &str = "application/vnd.esd.keybundle+cbor";
/// Keys in one bundle.
const KEYS_MAX: u64 = 8;
/// Bytes of a bundle.
const BUNDLE_BYTES_MAX: usize = 4096;
/// A sender's clock may be this far ahead.
const CLOCK_AHEAD_S: u64 = 300;

/// Where to seal messages for somebody, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBundle {
    pub owner: String,
    /// Never goes back.
    pub serial: u64,
    /// Unix seconds.
    pub not_before: u64,
    pub not_after: u64,
    /// The best first.
    pub keys: Vec<HpkePublicKey>,
}

impl KeyBundle {
    /// The key to use now.
    pub fn best(&self, now_s: u64) -> Option<&HpkePublicKey> {
        self.keys.first().filter(|_| now_s < self.not_after)
    }
}

/// Signs a bundle.
///
/// # Errors
/// Where the key store refuses.
pub fn sign_bundle(bundle: &KeyBundle, signer: &dyn Signer) -> Result<Vec<u8>, SignError> {
    let fits = (1..=KEYS_MAX).contains(&(bundle.keys.len() as u64))
        && bundle.owner.len() <= NAME_BYTES_MAX;
    if !fits {
        return Err(SignError::TooLarge);
    }
    let mut protected = Writer::default();
    protected.head(MAP, 3).uint(1).int(ALG_ESP256).uint(16).text(TYPE);
    write_x5t(&mut protected, &signer.certificate_thumbprint());
    let mut payload = Writer::default();
    payload.head(MAP, 5).uint(1).text(&bundle.owner).uint(2).uint(bundle.serial);
    payload
        .uint(3)
        .uint(bundle.not_before)
        .uint(4)
        .uint(bundle.not_after)
        .uint(5)
        .head(ARRAY, bundle.keys.len() as u64);
    for key in &bundle.keys {
        key.write(&mut payload);
    }
    let signature = signer.sign(&Sign1::to_be_signed(&protected.0, &payload.0))?;
    Ok(Sign1::write(&protected.0, &payload.0, &signature))
}

/// The bundle, if this owner signed it under this certificate and it is alive.
///
/// # Errors
/// The first fact that is wrong.
pub fn verify_bundle(
    bytes: &[u8],
    key: &VerifyingKey,
    x5t: &[u8; 32],
    owner: &str,
    now_s: u64,
) -> Result<KeyBundle, VerifyError> {
    if bytes.len() > BUNDLE_BYTES_MAX {
        return Err(DecodeError::TooLarge.into());
    }
    let parts = Sign1::read(bytes)?;
    let mut protected = Reader::new(parts.protected);
    protected.exactly(MAP, 3)?;
    read_alg(&mut protected, ALG_ESP256)?;
    protected.key(16)?;
    read_constant(&mut protected, TYPE)?;
    if read_x5t(&mut protected)? != *x5t {
        return Err(VerifyError::Certificate);
    }
    protected.end()?;
    let bundle = read_payload(parts.payload)?;
    key.check(&Sign1::to_be_signed(parts.protected, parts.payload), &parts.signature)?;
    if bundle.owner != owner {
        return Err(VerifyError::Audience);
    }
    if bundle.not_before > now_s.saturating_add(CLOCK_AHEAD_S) {
        return Err(VerifyError::Time);
    }
    if bundle.not_after <= now_s {
        return Err(VerifyError::Expired { exp: bundle.not_after, now: now_s });
    }
    Ok(bundle)
}

fn read_payload(bytes: &[u8]) -> Result<KeyBundle, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.exactly(MAP, 5)?;
    reader.key(1)?;
    let owner = read_name(&mut reader)?;
    reader.key(2)?;
    let serial = reader.uint()?;
    reader.key(3)?;
    let not_before = reader.uint()?;
    reader.key(4)?;
    let not_after = reader.uint()?;
    reader.key(5)?;
    let count = reader.count(ARRAY, KEYS_MAX)?;
    // A newer bundle takes the place of an older one, so one without a key would be a way to mute.
    if count == 0 {
        return Err(reader.shape());
    }
    let keys = (0..count).map(|_| HpkePublicKey::read(&mut reader)).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(KeyBundle { owner, serial, not_before, not_after, keys })
}
