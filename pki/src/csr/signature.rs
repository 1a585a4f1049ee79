//! Proof of possession: the request is signed with the key it holds (RFC 2986 §3).
//!
//! **Invariants:** the algorithm is one of a closed list for the kind of key; its parameters are
//! exactly those of the standard; MD2, MD5 and SHA-1 are refused by name before any work.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::{
    asn1_rs::{Any, Tag},
    certification_request::X509CertificationRequest,
    signature_algorithm::RsaSsaPssParams,
    x509::AlgorithmIdentifier,
};

use super::{CsrError, key::Key};
use crate::KeyKind;

const MGF1: &str = "1.2.840.113549.1.1.8";

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

enum Scheme {
    Ecdsa(Hash),
    Pkcs1(Hash),
    Pss(Hash),
    Ed25519,
}

/// Verifies the request's signature with its key.
///
/// # Errors
/// An algorithm that is not accepted or not for the key; parameters that are wrong; a signature
/// that is.
pub(super) fn verify(
    request: &X509CertificationRequest<'_>,
    key: &Key<'_>,
) -> Result<(), CsrError> {
    let scheme = scheme(&request.signature_algorithm)?;
    let algorithm = algorithm(key.kind, &scheme).ok_or(CsrError::SignatureNotForKey)?;
    if request.signature_value.unused_bits != 0 {
        return Err(CsrError::Signature);
    }
    UnparsedPublicKey::new(algorithm, key.bytes)
        .verify(request.certification_request_info.raw, &request.signature_value.data)
        .map_err(|_| CsrError::Signature)
}

fn scheme(identifier: &AlgorithmIdentifier<'_>) -> Result<Scheme, CsrError> {
    let parameters = identifier.parameters.as_ref();
    let (scheme, is_right) = match identifier.algorithm.to_id_string().as_str() {
        // RFC 5758 §3.2 and RFC 8410 §3: the parameters are absent.
        "1.2.840.10045.4.3.2" => (Scheme::Ecdsa(Hash::Sha256), parameters.is_none()),
        "1.2.840.10045.4.3.3" => (Scheme::Ecdsa(Hash::Sha384), parameters.is_none()),
        "1.2.840.10045.4.3.4" => (Scheme::Ecdsa(Hash::Sha512), parameters.is_none()),
        "1.3.101.112" => (Scheme::Ed25519, parameters.is_none()),
        // RFC 4055 §5: NULL, and absent must be taken too.
        "1.2.840.113549.1.1.11" => (Scheme::Pkcs1(Hash::Sha256), is_null(parameters)),
        "1.2.840.113549.1.1.12" => (Scheme::Pkcs1(Hash::Sha384), is_null(parameters)),
        "1.2.840.113549.1.1.13" => (Scheme::Pkcs1(Hash::Sha512), is_null(parameters)),
        "1.2.840.113549.1.1.10" => (Scheme::Pss(pss_hash(parameters)?), true),
        "1.2.840.113549.1.1.2" => return Err(CsrError::BrokenHash("MD2")),
        "1.2.840.113549.1.1.4" | "1.3.14.3.2.3" | "1.3.14.3.2.25" => {
            return Err(CsrError::BrokenHash("MD5"));
        }
        "1.2.840.113549.1.1.5"
        | "1.3.14.3.2.29"
        | "1.3.14.3.2.27"
        | "1.2.840.10045.4.1"
        | "1.2.840.10040.4.3" => return Err(CsrError::BrokenHash("SHA-1")),
        _ => return Err(CsrError::SignatureAlgorithm),
    };
    if is_right { Ok(scheme) } else { Err(CsrError::SignatureParameters) }
}

fn is_null(parameters: Option<&Any<'_>>) -> bool {
    parameters.is_none_or(|any| any.tag() == Tag::Null)
}

/// The hash of RSASSA-PSS parameters that name one hash throughout (RFC 4055 §3.1).
fn pss_hash(parameters: Option<&Any<'_>>) -> Result<Hash, CsrError> {
    let parameters = parameters.ok_or(CsrError::SignatureParameters)?;
    let parameters =
        RsaSsaPssParams::try_from(parameters).map_err(|_| CsrError::SignatureParameters)?;
    let mask = parameters.mask_gen_algorithm().map_err(|_| CsrError::SignatureParameters)?;
    let (hash, salt_bytes) = match parameters.hash_algorithm_oid().to_id_string().as_str() {
        "2.16.840.1.101.3.4.2.1" => (Hash::Sha256, 32),
        "2.16.840.1.101.3.4.2.2" => (Hash::Sha384, 48),
        "2.16.840.1.101.3.4.2.3" => (Hash::Sha512, 64),
        "1.3.14.3.2.26" => return Err(CsrError::BrokenHash("SHA-1")),
        _ => return Err(CsrError::PssParameters),
    };
    let is_one_hash = mask.mgf.to_id_string() == MGF1
        && mask.hash == *parameters.hash_algorithm_oid()
        && parameters.salt_length() == salt_bytes
        && parameters.trailer_field() == 1;
    if is_one_hash { Ok(hash) } else { Err(CsrError::PssParameters) }
}

fn algorithm(kind: KeyKind, scheme: &Scheme) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (kind, scheme) {
        (KeyKind::P256, Scheme::Ecdsa(Hash::Sha256)) => &ECDSA_P256_SHA256_ASN1,
        (KeyKind::P256, Scheme::Ecdsa(Hash::Sha384)) => &ECDSA_P256_SHA384_ASN1,
        (KeyKind::P256, Scheme::Ecdsa(Hash::Sha512)) => &ECDSA_P256_SHA512_ASN1,
        (KeyKind::P384, Scheme::Ecdsa(Hash::Sha256)) => &ECDSA_P384_SHA256_ASN1,
        (KeyKind::P384, Scheme::Ecdsa(Hash::Sha384)) => &ECDSA_P384_SHA384_ASN1,
        (KeyKind::P384, Scheme::Ecdsa(Hash::Sha512)) => &ECDSA_P384_SHA512_ASN1,
        (KeyKind::Ed25519, Scheme::Ed25519) => &ED25519,
        (KeyKind::Rsa, Scheme::Pkcs1(Hash::Sha256)) => &RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa, Scheme::Pkcs1(Hash::Sha384)) => &RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa, Scheme::Pkcs1(Hash::Sha512)) => &RSA_PKCS1_2048_8192_SHA512,
        (KeyKind::Rsa, Scheme::Pss(Hash::Sha256)) => &RSA_PSS_2048_8192_SHA256,
        (KeyKind::Rsa, Scheme::Pss(Hash::Sha384)) => &RSA_PSS_2048_8192_SHA384,
        (KeyKind::Rsa, Scheme::Pss(Hash::Sha512)) => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
