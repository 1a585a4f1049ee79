//! What a request asks for beyond its key: extensions and the challenge password.
//!
//! **Invariants:** nothing of it reaches a certificate; names are compared with the registered
//! identity, and what differs is refused by the field's name. Uses that every profile may give
//! (digitalSignature, clientAuth and the like) are passed over: the profile decides. **Not here:**
//! the subject: common tools demand one, so any that is well-formed is let by, and none is read.

use x509_parser::{
    certification_request::X509CertificationRequestInfo,
    cri_attributes::ParsedCriAttribute,
    extensions::{
        ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension, SubjectAlternativeName,
        X509Extension,
    },
};

use super::CsrError;
use crate::{Identity, der::Element};

/// RFC 2985 §5.4.1 allows 255 characters.
const CHALLENGE_BYTES_MAX: usize = 256;

/// The names and the challenge password of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Requested {
    uris: Vec<String>,
    dns_names: Vec<String>,
    /// The first general name that is neither.
    other_name: Option<&'static str>,
    pub(super) challenge: Option<String>,
    /// How a key made by the server is to be encrypted.
    pub(super) sealing: Option<&'static str>,
}

/// Attributes of RFC 7030 §4.4.1: by a shared key, by a public one.
const SEALING: [(&str, &str); 2] = [
    ("1.2.840.113549.1.9.16.2.37", "decryptKeyIdentifier"),
    ("1.2.840.113549.1.9.16.2.54", "asymmetricDecryptKeyIdentifier"),
];

impl Requested {
    /// Reads what is asked for.
    ///
    /// # Errors
    /// The first thing that no certificate gets, whoever it is for, or that cannot be read.
    pub(super) fn read(info: &X509CertificationRequestInfo<'_>) -> Result<Self, CsrError> {
        let mut requested = Self::default();
        let mut has_extensions = false;
        for attribute in info.attributes() {
            match attribute.parsed_attribute() {
                ParsedCriAttribute::ExtensionRequest(request) => {
                    if has_extensions {
                        return Err(CsrError::RepeatedAttribute("extensionRequest"));
                    }
                    has_extensions = true;
                    requested.read_extensions(&request.extensions)?;
                }
                ParsedCriAttribute::ChallengePassword(password) => {
                    if requested.challenge.is_some() {
                        return Err(CsrError::RepeatedAttribute("challengePassword"));
                    }
                    if password.0.len() > CHALLENGE_BYTES_MAX {
                        return Err(CsrError::LongChallenge);
                    }
                    requested.challenge = Some(password.0.clone());
                }
                ParsedCriAttribute::UnsupportedAttribute => {
                    let oid = attribute.oid.to_id_string();
                    let sealing = SEALING.iter().find(|(known, _)| *known == oid);
                    requested.sealing = requested.sealing.or(sealing.map(|(_, name)| *name));
                }
            }
        }
        Ok(requested)
    }

    fn read_extensions(&mut self, extensions: &[X509Extension<'_>]) -> Result<(), CsrError> {
        for (at, extension) in extensions.iter().enumerate() {
            if extensions.iter().take(at).any(|before| before.oid == extension.oid) {
                return Err(CsrError::RepeatedExtension);
            }
            self.read_extension(extension)?;
        }
        Ok(())
    }

    fn read_extension(&mut self, extension: &X509Extension<'_>) -> Result<(), CsrError> {
        let parsed = extension.parsed_extension();
        // What is interpreted is DER too, and nothing follows it.
        let name = name(extension);
        if let Some(name) = name
            && (parsed.error().is_some() || Element::only(extension.value).is_err())
        {
            return Err(CsrError::MalformedExtension(name));
        }
        match parsed {
            ParsedExtension::SubjectAlternativeName(names) => self.read_names(names),
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                Err(CsrError::AsksForCa)
            }
            ParsedExtension::BasicConstraints(constraints)
                if constraints.path_len_constraint.is_some() =>
            {
                Err(CsrError::AuthorityExtension("pathLenConstraint"))
            }
            ParsedExtension::KeyUsage(usage) => check_key_usage(usage),
            ParsedExtension::ExtendedKeyUsage(usage) => check_extended_key_usage(usage),
            ParsedExtension::NameConstraints(_)
            | ParsedExtension::PolicyConstraints(_)
            | ParsedExtension::PolicyMappings(_)
            | ParsedExtension::InhibitAnyPolicy(_) => {
                Err(CsrError::AuthorityExtension(name.unwrap_or("extensionRequest")))
            }
            ParsedExtension::BasicConstraints(_) => Ok(()),
            _ if extension.critical => Err(CsrError::CriticalExtension),
            _ => Ok(()),
        }
    }

    fn read_names(&mut self, names: &SubjectAlternativeName<'_>) -> Result<(), CsrError> {
        if names.general_names.is_empty() {
            return Err(CsrError::MalformedExtension("subjectAltName"));
        }
        for name in &names.general_names {
            let other = match name {
                GeneralName::URI(uri) => {
                    self.uris.push((*uri).to_owned());
                    continue;
                }
                GeneralName::DNSName(dns) => {
                    self.dns_names.push((*dns).to_owned());
                    continue;
                }
                GeneralName::OtherName(..) => "otherName",
                GeneralName::RFC822Name(_) => "rfc822Name",
                GeneralName::X400Address(_) => "x400Address",
                GeneralName::DirectoryName(_) => "directoryName",
                GeneralName::EDIPartyName(_) => "ediPartyName",
                GeneralName::IPAddress(_) => "iPAddress",
                GeneralName::RegisteredID(_) => "registeredID",
                GeneralName::Invalid(..) => {
                    return Err(CsrError::MalformedExtension("subjectAltName"));
                }
            };
            self.other_name.get_or_insert(other);
        }
        Ok(())
    }

    /// Refuses alternative names that are not the identity's.
    ///
    /// # Errors
    /// The first name that is not.
    pub(super) fn check_identity(&self, identity: &Identity) -> Result<(), CsrError> {
        if let Some(name) = self.other_name {
            return Err(CsrError::OtherName(name));
        }
        let (uri, dns) = (identity.to_string(), identity.dns_name());
        match &self.uris[..] {
            [] => {}
            [asked] if *asked == uri => {}
            [_] => return Err(CsrError::ForeignUri),
            [..] => return Err(CsrError::SeveralUris),
        }
        match &self.dns_names[..] {
            [] => Ok(()),
            [asked] if *asked == dns => Ok(()),
            [_] => Err(CsrError::ForeignDnsName),
            [..] => Err(CsrError::SeveralDnsNames),
        }
    }
}

/// The name of an extension that is interpreted here.
fn name(extension: &X509Extension<'_>) -> Option<&'static str> {
    Some(match extension.oid.to_id_string().as_str() {
        "2.5.29.15" => "keyUsage",
        "2.5.29.17" => "subjectAltName",
        "2.5.29.19" => "basicConstraints",
        "2.5.29.30" => "nameConstraints",
        "2.5.29.33" => "policyMappings",
        "2.5.29.36" => "policyConstraints",
        "2.5.29.37" => "extendedKeyUsage",
        "2.5.29.54" => "inhibitAnyPolicy",
        _ => return None,
    })
}

fn check_key_usage(usage: &KeyUsage) -> Result<(), CsrError> {
    if usage.key_cert_sign() {
        return Err(CsrError::KeyUsage("keyCertSign"));
    }
    if usage.crl_sign() { Err(CsrError::KeyUsage("cRLSign")) } else { Ok(()) }
}

fn check_extended_key_usage(usage: &ExtendedKeyUsage<'_>) -> Result<(), CsrError> {
    let refused = [
        (usage.any, "anyExtendedKeyUsage"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
        (!usage.other.is_empty(), "other than clientAuth and serverAuth"),
    ];
    match refused.into_iter().find(|(is_asked, _)| *is_asked) {
        Some((_, name)) => Err(CsrError::ExtendedKeyUsage(name)),
        None => Ok(()),
    }
}
