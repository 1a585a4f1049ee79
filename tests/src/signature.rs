//! Signatures of one length: by certificates and keys of tests, in handshakes and below certificates.
//!
//! An ECDSA signature in DER has a byte more for each of its two numbers that begins with a set bit. That is chance of
//! the cryptography, which no seed has a part in: where a handshake is just at QUIC's amplification limit, which counts
//! bytes (RFC 9000 §8.1), there would be a datagram more or less, and another run of the same seed. So whatever has not
//! the length that half of them have is signed again. **Not here:** signatures in messages, which have one length anyway.

use std::{iter, sync::Arc};

use fieldmesh_pki::tls::{Credentials, LiveCredentials};
use rustls::{
    Error, SignatureAlgorithm, SignatureScheme,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer},
    sign::{CertifiedKey, Signer, SigningKey},
};

/// Bytes of a signature of which just one number begins with a set bit, by the key's curve.
pub(crate) const P256: usize = 71;
pub(crate) const P384: usize = 103;
/// So many in a row have another length in no run that anybody will see.
const TRIES_MAX: usize = 200;

/// What a server shows, or a client, with a key whose signatures have one length.
pub(crate) fn live(credentials: &Credentials) -> Arc<LiveCredentials> {
    let chain = credentials.chain.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credentials.pkcs8.to_vec()));
    let provider = aws_lc_rs::default_provider();
    let mut certified = CertifiedKey::from_der(chain, key, &provider).unwrap();
    certified.key = Arc::new(Even(certified.key));
    Arc::new(LiveCredentials::from(certified))
}

/// The first of what is made again and again that is signed with that many bytes.
pub(crate) fn even<T>(
    length: usize,
    make: impl FnMut() -> T,
    certificate: impl Fn(&T) -> &[u8],
) -> T {
    let mut made = iter::repeat_with(make).take(TRIES_MAX);
    made.find(|one| ends_in(certificate(one), length)).expect("half of them have that length")
}

/// Whether a certificate ends in a signature of that length (RFC 5280 §4.1): a BIT STRING with a SEQUENCE.
fn ends_in(certificate: &[u8], length: usize) -> bool {
    let begin = [0x03, length as u8 + 1, 0, 0x30, length as u8 - 2];
    let at = certificate.len().checked_sub(length + 3);
    at.is_some_and(|at| certificate[at..].starts_with(&begin))
}

#[derive(Debug)]
struct Even(Arc<dyn SigningKey>);

impl SigningKey for Even {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(EvenSigner(self.0.choose_scheme(offered)?)))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[derive(Debug)]
struct EvenSigner(Box<dyn Signer>);

impl Signer for EvenSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        for _ in 0..TRIES_MAX {
            let signature = self.0.sign(message)?;
            if signature.len() == P256 {
                return Ok(signature);
            }
        }
        Err(Error::General(format!("no signature has {P256} bytes")))
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}

#[cfg(test)]
mod tests {
    use fieldmesh_domain::{EntityId, EntityKind};
    use fieldmesh_pki::Kind;

    use super::*;
    use crate::{
        pki::{Authority, REGION},
        world::EPOCH_MS,
    };

    #[test]
    fn what_is_signed_has_one_length() {
        let id = EntityId::new(EntityKind::Customer, REGION.parse().unwrap(), [1; 10]);
        let mut lengths = Vec::new();
        for _ in 0..4 {
            let authority = Authority::new(EPOCH_MS / 1000);
            let credentials = authority.device(id, Kind::Customer);
            assert!(ends_in(&credentials.chain[0], P256) && ends_in(&credentials.chain[1], P384));
            lengths.push((
                credentials.chain.iter().map(Vec::len).collect::<Vec<_>>(),
                authority.root.len(),
            ));
        }
        assert!(lengths.iter().all(|each| *each == lengths[0]), "{lengths:?}");
    }
}
