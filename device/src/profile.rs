//! A device's directory: identity, certificate, keys; readable by its owner only.
//!
//! ```text
//! device.cbor    identity, certificate, its key, the outbox's key; replaced as a whole at renewal
//! enrolling.cbor the key before it has a certificate, so that an answer that was lost can be asked
//!                for again: a token, or a certificate to be renewed, is good for one key
//! hpke.cbor      the keys that open messages, of the last seven days
//! outbox         messages without a receipt, encrypted
//! nodes.cbor     where the service was last found (`reach`)
//! ```

use std::{io, path::Path, sync::Arc};

use fieldmesh_device::{
    Clock, Entropy,
    enroll::Enrolled,
    files::{self, Lock},
    keys::{DeviceHpke, DeviceKeys},
};
use fieldmesh_domain::EntityId;
use fieldmesh_envelope::{HpkePrivateKey, SoftwareSigner};
use fieldmesh_pki::{KeyMaterial, TrustStore, tls::Credentials};
use minicbor::{Decode, Encode, bytes::ByteVec};
use zeroize::{Zeroize, Zeroizing};

/// The machine's wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the command's clock")]
pub(crate) fn now_ms() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}

/// The machine's random generator.
pub(crate) fn entropy() -> Entropy {
    use aws_lc_rs::rand::{SecureRandom, SystemRandom};
    Arc::new(|bytes| {
        if SystemRandom::new().fill(bytes).is_err() {
            // Keys from a broken generator would be worse than no device.
            std::process::abort();
        }
    })
}

const DEVICE: &str = "device.cbor";
const ENROLLING: &str = "enrolling.cbor";
const HPKE: &str = "hpke.cbor";

#[derive(Encode, Decode)]
struct Stored {
    #[n(0)]
    id: EntityId,
    #[n(1)]
    devices: String,
    #[n(2)]
    chain: Vec<ByteVec>,
    #[cbor(n(3), with = "minicbor::bytes")]
    root: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    key: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    outbox_key: [u8; 32],
    /// Where certificates come from, host:port; several are parted by commas.
    #[n(6)]
    server: Option<String>,
    /// Roots beside the first.
    #[cbor(n(7), default)]
    other_roots: Vec<ByteVec>,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.key.zeroize();
        self.outbox_key.zeroize();
    }
}

/// A key on its way to a certificate.
#[derive(Encode, Decode)]
struct Enrolling {
    #[n(0)]
    id: EntityId,
    #[cbor(n(1), with = "minicbor::bytes")]
    key: Vec<u8>,
}

impl Drop for Enrolling {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[derive(Encode, Decode)]
struct StoredHpke {
    #[cbor(n(0), with = "minicbor::bytes")]
    pair: Vec<u8>,
    #[n(1)]
    made_s: u64,
}

impl Drop for StoredHpke {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

/// An enrolled device.
pub(crate) struct Profile {
    pub(crate) id: EntityId,
    /// Where messages go, host:port; several are parted by commas.
    pub(crate) devices: String,
    pub(crate) outbox_key: Zeroizing<[u8; 32]>,
    stored: Stored,
}

fn damaged(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} does not decode", path.display()))
}

fn secret_if_there(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("{} cannot be read: {error}", path.display()))
    };
    match files::read_secret(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(error)),
    }
}

fn store(path: &Path, value: &impl Encode<()>) -> io::Result<()> {
    let bytes = Zeroizing::new(minicbor::to_vec(value).map_err(io::Error::other)?);
    files::write_secret(path, &bytes).map_err(|error| {
        io::Error::new(error.kind(), format!("{} cannot be written: {error}", path.display()))
    })
}

/// Nobody else enrolls or renews here while it is held.
fn lock(dir: &Path) -> io::Result<Lock> {
    files::lock(&dir.join("enrolling.lock"))?.ok_or_else(|| {
        let fact = format!("another process enrolls in {}: wait until it ends", dir.display());
        io::Error::new(io::ErrorKind::WouldBlock, fact)
    })
}

/// The key of an earlier attempt, or a new one that is kept first.
fn kept_key(dir: &Path, id: EntityId) -> io::Result<KeyMaterial> {
    let path = dir.join(ENROLLING);
    if let Some(bytes) = secret_if_there(&path)? {
        let kept: Enrolling = minicbor::decode(&bytes).map_err(|_| damaged(&path))?;
        if kept.id == id {
            return KeyMaterial::from_pkcs8(&kept.key).map_err(io::Error::other);
        }
    }
    let key = KeyMaterial::generate().map_err(io::Error::other)?;
    store(&path, &Enrolling { id, key: key.pkcs8().to_vec() })?;
    Ok(key)
}

impl Profile {
    /// The key to enroll with: the one of an earlier attempt, or a new one that is kept first. Nobody
    /// else enrolls here while the lock is held.
    pub(crate) fn key(dir: &Path, id: EntityId) -> io::Result<(KeyMaterial, Lock)> {
        files::make_dir(dir)?;
        let lock = lock(dir)?;
        if files::read_if_there(&dir.join(DEVICE))?.is_some() {
            let fact = format!("{} holds a device already: choose another --dir", dir.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, fact));
        }
        Ok((kept_key(dir, id)?, lock))
    }

    /// The key to renew with, kept like the first one.
    pub(crate) fn next_key(&self, dir: &Path) -> io::Result<(KeyMaterial, Lock)> {
        let lock = lock(dir)?;
        Ok((kept_key(dir, self.id)?, lock))
    }

    pub(crate) fn create(
        dir: &Path,
        id: EntityId,
        [server, devices]: [&str; 2],
        enrolled: &Enrolled,
        key: &KeyMaterial,
    ) -> io::Result<()> {
        let mut outbox_key = [0; 32];
        entropy()(&mut outbox_key);
        let stored = Stored {
            id,
            devices: devices.to_owned(),
            chain: enrolled.chain.iter().cloned().map(Into::into).collect(),
            root: enrolled.root.clone(),
            key: key.pkcs8().to_vec(),
            outbox_key,
            server: Some(server.to_owned()),
            other_roots: enrolled.other_roots.iter().cloned().map(Into::into).collect(),
        };
        store(&dir.join(DEVICE), &stored)?;
        files::remove(&dir.join(ENROLLING))
    }

    /// Puts a new certificate and its key in the place of the old ones.
    pub(crate) fn replace(
        &mut self,
        dir: &Path,
        renewed: &Enrolled,
        key: &KeyMaterial,
    ) -> io::Result<()> {
        self.stored.chain = renewed.chain.iter().cloned().map(Into::into).collect();
        // The authority may have new roots, and vouches for them under one that is known.
        self.stored.root.clone_from(&renewed.root);
        self.stored.other_roots = renewed.other_roots.iter().cloned().map(Into::into).collect();
        self.stored.key.zeroize();
        self.stored.key = key.pkcs8().to_vec();
        store(&dir.join(DEVICE), &self.stored)?;
        files::remove(&dir.join(ENROLLING))
    }

    pub(crate) fn server(&self) -> Option<&str> {
        self.stored.server.as_deref()
    }

    /// All roots that are believed.
    pub(crate) fn roots(&self) -> Vec<Vec<u8>> {
        let others = self.stored.other_roots.iter().map(|root| root.to_vec());
        std::iter::once(self.stored.root.clone()).chain(others).collect()
    }

    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(DEVICE);
        let bytes = secret_if_there(&path)?.ok_or_else(|| {
            let fact = format!("{} is not there: enroll first", path.display());
            io::Error::new(io::ErrorKind::NotFound, fact)
        })?;
        let stored: Stored = minicbor::decode(&bytes).map_err(|_| damaged(&path))?;
        let outbox_key = Zeroizing::new(stored.outbox_key);
        Ok(Self { id: stored.id, devices: stored.devices.clone(), outbox_key, stored })
    }

    /// The name of the service's host, for TLS: who answers is known by its certificate's identity,
    /// whatever the name.
    pub(crate) fn host(&self) -> String {
        let first = self.devices.split(',').next().unwrap_or_default().trim();
        let host = first.rsplit_once(':').map_or(first, |(host, _)| host);
        host.trim_matches(['[', ']']).to_owned()
    }

    pub(crate) fn credentials(&self) -> Credentials {
        let chain = self.stored.chain.iter().map(|der| der.to_vec()).collect();
        Credentials { chain, pkcs8: Zeroizing::new(self.stored.key.clone()) }
    }

    pub(crate) fn trust(&self) -> io::Result<Arc<TrustStore>> {
        let trust = TrustStore::new(self.roots(), Vec::new());
        trust.map(Arc::new).map_err(io::Error::other)
    }

    /// The keys, with the HPKE keys rotated and stored. The caller has the outbox open, so that no
    /// other process does the same.
    pub(crate) fn keys(&self, dir: &Path, now_s: u64) -> io::Result<DeviceKeys> {
        let path = dir.join(HPKE);
        let rows: Vec<StoredHpke> = match secret_if_there(&path)? {
            Some(bytes) => minicbor::decode(&bytes).map_err(|_| damaged(&path))?,
            None => Vec::new(),
        };
        let mut hpke = Vec::with_capacity(rows.len());
        for row in rows {
            let (private, public) =
                HpkePrivateKey::from_bytes(&row.pair).map_err(io::Error::other)?;
            hpke.push(DeviceHpke { private: Arc::new(private), public, made_s: row.made_s });
        }
        let leaf = self.stored.chain.first().ok_or_else(|| damaged(&dir.join(DEVICE)))?;
        let signer =
            SoftwareSigner::from_pkcs8(&self.stored.key, leaf).map_err(io::Error::other)?;
        let mut keys = DeviceKeys { signer: Arc::new(signer), hpke };
        if keys.rotate(now_s).map_err(io::Error::other)? {
            let rows: Vec<StoredHpke> = keys
                .hpke
                .iter()
                .map(|key| StoredHpke { pair: key.private.to_bytes().to_vec(), made_s: key.made_s })
                .collect();
            store(&path, &rows)?;
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    const CUSTOMER: &str = "506575310001150a0a0a0a0a0a0a0a0a0a";

    fn unhex(text: &str) -> Vec<u8> {
        let text = text.replace("<cus>", CUSTOMER);
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
    }

    /// What the text says, which is written as the same bytes.
    fn kept<T: Encode<()> + for<'b> Decode<'b, ()>>(text: &str) -> T {
        let bytes = unhex(text);
        let value = minicbor::decode(&bytes).unwrap();
        assert_eq!(minicbor::to_vec(&value).unwrap(), bytes);
        value
    }

    /// A device is renewed years after it was enrolled, with the files of then.
    #[test]
    fn the_bytes_of_a_devices_files_are_frozen() {
        let id =
            EntityId::new(fieldmesh_domain::EntityKind::Customer, "eu1".parse().unwrap(), [10; 10]);
        let outbox_key = "08".repeat(32);
        let first = format!("<cus> 6164 81 4101 4102 4103 5820{outbox_key}");
        let stored: Stored = kept(&format!("88 {first} 6173 81 4104"));
        assert_eq!((stored.id, stored.devices.as_str()), (id, "d"));
        assert_eq!((stored.root.as_slice(), stored.key.as_slice()), (&[2][..], &[3][..]));
        assert_eq!((stored.outbox_key, stored.server.as_deref()), ([8; 32], Some("s")));
        assert_eq!(
            (stored.chain[0].as_slice(), stored.other_roots[0].as_slice()),
            (&[1][..], &[4][..])
        );
        // Before it knew where certificates come from, and of more than one root.
        let older: Stored = minicbor::decode(&unhex(&format!("86 {first}"))).unwrap();
        assert!(older.server.is_none() && older.other_roots.is_empty());
        let enrolling: Enrolling = kept("82 <cus> 4103");
        assert_eq!((enrolling.id, enrolling.key.as_slice()), (id, &[3][..]));
        let hpke: Vec<StoredHpke> = kept("81 82 4106 07");
        assert_eq!((hpke[0].pair.as_slice(), hpke[0].made_s), (&[6][..], 7));
    }
}
