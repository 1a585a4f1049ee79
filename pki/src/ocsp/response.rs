//! Answering OCSP requests (RFC 6960 §4.2) with a key that the CA delegated this to.
//!
//! **Invariants:** the signer's certificate is for OCSP and belongs to the key; an answer does not
//! outlive it; a nonce comes back as it was sent. **Not here:** whether a certificate is revoked:
//! the caller knows; answers signed by the CA's own key.

use yasna::{DERWriter, Tag, models::GeneralizedTime};

use super::{
    CertIdHash, INTERNAL_ERROR, IssuerRef, NONCE, OcspRequest, Status, TRY_LATER, UNAUTHORIZED,
};
use crate::{
    KeyKind, KeyMaterial, sha256,
    signed::{self, sign, write_extension, write_oid},
    x509,
};

/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1.
const BASIC: &[u8] = &[43, 6, 1, 5, 5, 7, 48, 1, 1];

/// Why a certificate does not serve to sign answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    #[error("the signer's certificate does not parse or has no authority key identifier")]
    Malformed,
    #[error("the signer's certificate is another key's")]
    OtherKey,
    #[error("the signer's key is not P-256")]
    KeyKind,
    #[error("the signer's certificate has not the extended usage OCSPSigning")]
    Usage,
}

/// Why there is no answer with content.
#[derive(Debug, thiserror::Error)]
pub enum OcspError {
    #[error("no certificate that is asked about is from the CA that this signer speaks for")]
    Unauthorized,
    #[error("the next answer would be due at {next}, not after this one at {this}")]
    Order { this: u64, next: u64 },
    #[error(
        "the answer would be valid until {next}, the signer's certificate ends at {signer}: renew \
         the signer first"
    )]
    OutlivesSigner { next: u64, signer: u64 },
    #[error("{0} is not a time that an answer can say: the year 9999 is the last")]
    Time(u64),
    #[error("signing failed: see that the signer's key is at hand")]
    Sign(#[source] rcgen::Error),
}

impl OcspError {
    /// What to send in this case.
    pub fn answer(&self) -> &'static [u8] {
        match self {
            Self::Unauthorized => UNAUTHORIZED,
            Self::Order { .. } | Self::Time(_) => INTERNAL_ERROR,
            Self::OutlivesSigner { .. } | Self::Sign(_) => TRY_LATER,
        }
    }
}

/// The times of an answer, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTimes {
    /// When what it says was known to be right.
    pub this_update_s: u64,
    /// When newer knowledge will be there: until then clients may keep it.
    pub next_update_s: u64,
    /// When it is signed.
    pub produced_at_s: u64,
}

/// Signs answers for one CA.
#[derive(Debug)]
pub struct Responder {
    key: KeyMaterial,
    certificate: Vec<u8>,
    /// SHA-1 of the public key: how answers name the signer.
    key_hash: Vec<u8>,
    /// The CA that delegated: SHA-256 of its name, and its key identifier.
    issuer_hash: [u8; 32],
    issuer_key_id: Vec<u8>,
    not_after_s: u64,
}

/// What an answer says of one certificate.
struct Single<'a> {
    cert_id: &'a [u8],
    status: Status,
}

impl Responder {
    /// A signer from its key and its certificate in DER.
    ///
    /// # Errors
    /// See [`SignerError`].
    pub fn new(key: KeyMaterial, certificate: Vec<u8>) -> Result<Self, SignerError> {
        let parsed = x509::parse(&certificate).ok_or(SignerError::Malformed)?;
        if parsed.public_key().raw != key.spki() {
            return Err(SignerError::OtherKey);
        }
        if key.kind() != KeyKind::P256 {
            return Err(SignerError::KeyKind);
        }
        let extended = parsed.extended_key_usage().ok().flatten().ok_or(SignerError::Usage)?;
        if !extended.value.ocsp_signing {
            return Err(SignerError::Usage);
        }
        let issuer_key_id = x509::authority_key_id(&parsed).ok_or(SignerError::Malformed)?;
        Ok(Self {
            key_hash: CertIdHash::Sha1.digest(key.public_point()),
            issuer_hash: sha256(parsed.issuer().as_raw()),
            issuer_key_id: issuer_key_id.to_vec(),
            not_after_s: x509::life(&parsed).ok_or(SignerError::Malformed)?.not_after_s,
            key,
            certificate,
        })
    }

    /// Whether answers about this CA's certificates will be believed: it issued the signer's
    /// certificate (RFC 6960 §4.2.2.2).
    pub fn speaks_for(&self, issuer: &IssuerRef) -> bool {
        self.issuer_hash == issuer.issuer_hash && self.issuer_key_id == issuer.key_id
    }

    /// The answer to a request, DER. `status` is asked with an issuer's hash and a serial of its,
    /// and must say [`Status::Good`] only of what was issued. Of certificates that are not from an
    /// issuer this signer speaks for the answer says `unknown`.
    ///
    /// # Errors
    /// See [`OcspError`]; [`OcspError::answer`] is what to send then.
    pub fn respond(
        &self,
        request: &OcspRequest,
        issuers: &[IssuerRef],
        status: &dyn Fn(&[u8; 32], &[u8; 16]) -> Status,
        times: AnswerTimes,
    ) -> Result<Vec<u8>, OcspError> {
        let mut is_ours = false;
        let singles: Vec<_> = request
            .certificates
            .iter()
            .map(|id| {
                let issuer = issuers.iter().find(|issuer| id.is_of(issuer));
                let issuer = issuer.filter(|issuer| self.speaks_for(issuer));
                is_ours |= issuer.is_some();
                let status = match (issuer, &id.serial) {
                    (Some(issuer), Some(serial)) => status(&issuer.issuer_hash, serial),
                    _ => Status::Unknown,
                };
                Single { cert_id: &id.der, status }
            })
            .collect();
        if !is_ours {
            return Err(OcspError::Unauthorized);
        }
        self.sign(&singles, request.nonce.as_deref(), times)
    }

    /// The answer to a request about this certificate alone without a nonce, made before it comes:
    /// see [`OcspRequest::presignable`]. `hash` must be the request's: clients look for the name
    /// of the certificate that they sent.
    ///
    /// # Errors
    /// See [`OcspError`].
    pub fn presign(
        &self,
        issuer: &IssuerRef,
        hash: CertIdHash,
        serial: &[u8; 16],
        status: Status,
        times: AnswerTimes,
    ) -> Result<Vec<u8>, OcspError> {
        if !self.speaks_for(issuer) {
            return Err(OcspError::Unauthorized);
        }
        let cert_id = cert_id(issuer, hash, serial);
        self.sign(&[Single { cert_id: &cert_id, status }], None, times)
    }

    fn sign(
        &self,
        singles: &[Single<'_>],
        nonce: Option<&[u8]>,
        times: AnswerTimes,
    ) -> Result<Vec<u8>, OcspError> {
        let AnswerTimes { this_update_s: this, next_update_s: next, produced_at_s } = times;
        if next <= this {
            return Err(OcspError::Order { this, next });
        }
        if next > self.not_after_s {
            return Err(OcspError::OutlivesSigner { next, signer: self.not_after_s });
        }
        let update = (generalized(this)?, generalized(next)?);
        let produced_at = generalized(produced_at_s)?;
        let content = yasna::try_construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_tagged(Tag::context(2), |writer| {
                    writer.write_bytes(&self.key_hash);
                });
                writer.next().write_generalized_time(&produced_at);
                writer.next().write_sequence(|writer| {
                    singles
                        .iter()
                        .try_for_each(|single| write_single(writer.next(), single, &update))
                })?;
                if let Some(nonce) = nonce {
                    let nonce = yasna::construct_der(|writer| writer.write_bytes(nonce));
                    writer.next().write_tagged(Tag::context(1), |writer| {
                        writer.write_sequence(|writer| {
                            write_extension(writer.next(), NONCE, &nonce);
                        });
                    });
                }
                Ok(())
            })
        })?;
        let basic = sign(&content, &self.key, &[&self.certificate]).map_err(OcspError::Sign)?;
        Ok(successful(&basic))
    }
}

fn generalized(unix_s: u64) -> Result<GeneralizedTime, OcspError> {
    signed::generalized(unix_s).ok_or(OcspError::Time(unix_s))
}

/// A CertID as OpenSSL writes it: with a NULL after the digest's name.
fn cert_id(issuer: &IssuerRef, hash: CertIdHash, serial: &[u8; 16]) -> Vec<u8> {
    let (name, key) = issuer.hashes(hash);
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                write_oid(writer.next(), hash.oid());
                writer.next().write_null();
            });
            writer.next().write_bytes(name);
            writer.next().write_bytes(key);
            writer.next().write_bigint_bytes(serial, true);
        });
    })
}

fn write_single(
    writer: DERWriter<'_>,
    single: &Single<'_>,
    (this, next): &(GeneralizedTime, GeneralizedTime),
) -> Result<(), OcspError> {
    writer.write_sequence(|writer| {
        writer.next().write_der(single.cert_id);
        match single.status {
            Status::Good => {
                writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_null());
            }
            Status::Revoked { at_s, reason } => {
                let at = generalized(at_s)?;
                writer.next().write_tagged_implicit(Tag::context(1), |writer| {
                    writer.write_sequence(|writer| {
                        writer.next().write_generalized_time(&at);
                        if let Some(code) = reason.code() {
                            writer
                                .next()
                                .write_tagged(Tag::context(0), |writer| writer.write_enum(code));
                        }
                    });
                });
            }
            Status::Unknown => {
                writer.next().write_tagged_implicit(Tag::context(2), |writer| writer.write_null());
            }
        }
        writer.next().write_generalized_time(this);
        writer.next().write_tagged(Tag::context(0), |writer| writer.write_generalized_time(next));
        Ok(())
    })
}

fn successful(basic: &[u8]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_enum(0);
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_sequence(|writer| {
                    write_oid(writer.next(), BASIC);
                    writer.next().write_bytes(basic);
                });
            });
        });
    })
}
