//! Why a request is refused: one variant for each fact, the field at fault, and whether the bytes
//! are wrong or what they ask for.
//!
//! **Invariant:** a text names the fact in one line and holds nothing of the request but numbers
//! and names from a closed list, so it can go into an answer and a log.

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error("it has more than 8192 bytes")]
    TooLarge,
    #[error("bytes follow its end")]
    Trailing,
    #[error("it is not DER: send the request as its tool wrote it")]
    NotDer,
    #[error("it is not a PKCS#10 request")]
    Malformed,
    #[error("its version is not v1 (0)")]
    Version,
    #[error("its {0} extension cannot be read")]
    MalformedExtension(&'static str),
    #[error("its signature is not by its own key")]
    Signature,
    #[error("the parameters of its signature algorithm are not those of the algorithm")]
    SignatureParameters,

    #[error("its signature is made with {0}, which is broken: sign with SHA-256")]
    BrokenHash(&'static str),
    #[error(
        "its signature algorithm is not accepted: sign with ECDSA or RSA and SHA-256, SHA-384 or \
         SHA-512, or with Ed25519"
    )]
    SignatureAlgorithm,
    #[error("its signature algorithm is not one for its key")]
    SignatureNotForKey,
    #[error(
        "its RSASSA-PSS parameters are not accepted: use one of SHA-256, SHA-384 and SHA-512 for \
         message and mask, and a salt as long as the hash"
    )]
    PssParameters,

    #[error("its public key cannot be read")]
    MalformedKey,
    #[error(
        "its key is {0}, which is not accepted: use what the profile says, P-256 always \
         bits"
    )]
    KeyKind(&'static str),
    #[error("its curve is given by parameters: name it instead")]
    ExplicitCurve,
    #[error("its public point is compressed: send it uncompressed")]
    CompressedPoint,
    #[error("its public point is not on the curve")]
    NotOnCurve,
    #[error("its public point is of small order: anybody can sign for it")]
    SmallOrder,
    #[error("its RSA key has {0} bits, fewer than 2048")]
    RsaTooSmall(u32),
    #[error("its RSA key has {0} bits, more than 4096")]
    RsaTooLarge(u32),
    #[error("its RSA exponent is not an odd number from 65537 to 2^33")]
    RsaExponent,
    #[error("its RSA modulus has a small factor")]
    RsaSmallFactor,
    #[error("its RSA modulus has factors so close that they can be found")]
    RsaCloseFactors,
    #[error("its RSA key was made by a broken generator (ROCA, CVE-2017-15361)")]
    RsaRoca,
    #[error("its private key is published: make a new key")]
    KnownKey,

    #[error("it holds several {0} attributes")]
    RepeatedAttribute(&'static str),
    #[error("it asks for the same extension twice")]
    RepeatedExtension,
    #[error("it asks for a critical extension that is not known here")]
    CriticalExtension,
    #[error("its challengePassword has more than 256 bytes")]
    LongChallenge,
    #[error("it asks to be a certification authority")]
    AsksForCa,
    #[error("it asks for the key usage {0}, which only an authority has")]
    KeyUsage(&'static str),
    #[error("it asks for the extended key usage {0}, which no profile gives")]
    ExtendedKeyUsage(&'static str),
    #[error("it asks for {0}, which only an authority has")]
    AuthorityExtension(&'static str),

    #[error("it asks for several URIs: a certificate has one identity")]
    SeveralUris,
    #[error("it asks for several DNS names: a certificate has the identity's only")]
    SeveralDnsNames,
    #[error("it asks for a URI that is not the registered identity")]
    ForeignUri,
    #[error("it asks for a DNS name that is not the registered identity's")]
    ForeignDnsName,
    #[error("it asks for a name of the kind {0}, which no profile gives")]
    OtherName(&'static str),
}

impl CsrError {
    /// The field at fault, as the standards spell it; none where the whole is not a request.
    pub fn field(&self) -> Option<&'static str> {
        Some(match self {
            Self::TooLarge | Self::Trailing | Self::NotDer | Self::Malformed => return None,
            Self::Version => "version",
            Self::MalformedExtension(name) | Self::AuthorityExtension(name) => name,
            Self::LongChallenge => "challengePassword",
            Self::Signature => "signature",
            Self::SignatureParameters
            | Self::BrokenHash(_)
            | Self::SignatureAlgorithm
            | Self::SignatureNotForKey
            | Self::PssParameters => "signatureAlgorithm",
            Self::MalformedKey
            | Self::KeyKind(_)
            | Self::ExplicitCurve
            | Self::CompressedPoint
            | Self::NotOnCurve
            | Self::SmallOrder
            | Self::RsaTooSmall(_)
            | Self::RsaTooLarge(_)
            | Self::RsaExponent
            | Self::RsaSmallFactor
            | Self::RsaCloseFactors
            | Self::RsaRoca
            | Self::KnownKey => "publicKey",
            Self::RepeatedAttribute(name) => name,
            Self::RepeatedExtension | Self::CriticalExtension => "extensionRequest",
            Self::AsksForCa => "basicConstraints",
            Self::KeyUsage(_) => "keyUsage",
            Self::ExtendedKeyUsage(_) => "extendedKeyUsage",
            Self::SeveralUris
            | Self::SeveralDnsNames
            | Self::ForeignUri
            | Self::ForeignDnsName
            | Self::OtherName(_) => "subjectAltName",
        })
    }

    /// Whether the request is well formed and what it asks for is refused (HTTP 422), rather than
    /// its bytes being wrong (HTTP 400).
    pub fn is_policy(&self) -> bool {
        !matches!(
            self,
            Self::TooLarge
                | Self::Trailing
                | Self::NotDer
                | Self::Malformed
                | Self::Version
                | Self::MalformedExtension(_)
                | Self::MalformedKey
                | Self::Signature
                | Self::SignatureParameters
        )
    }
}
