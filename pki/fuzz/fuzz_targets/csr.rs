//! Changed and arbitrary bytes into the path of a request: none panics, and what is accepted is
//! one value whose signature another verifier takes, and suits at most one identity by name.
//!
//! The first byte chooses the request and what is changed: the part that is signed (and then
//! signed again), the whole, or the encoded body. The empty list of changes leaves it valid.

#![no_main]

use std::sync::LazyLock;

use fieldmesh_pki::{CheckedCsr, check_csr, estwire};
use fieldmesh_pki_fuzz::{Made, changed, identity};
use libfuzzer_sys::fuzz_target;
use x509_parser::{
    certification_request::X509CertificationRequest, extensions::ParsedExtension,
    prelude::FromDer as _,
};

static MADE: LazyLock<Made> = LazyLock::new(Made::new);

fuzz_target!(|data: &[u8]| {
    let made = &*MADE;
    let Some((choice, changes)) = data.split_first() else { return };
    let original = &made.requests[usize::from(choice & 7) % made.requests.len()];
    let body = match choice >> 3 & 3 {
        0 | 1 => {
            let info = changed(&original.info, changes);
            estwire::encode(&made.signed(&info, &original.algorithm)).into_bytes()
        }
        2 => {
            let der = made.signed(&original.info, &original.algorithm);
            estwire::encode_wrapped(&changed(&der, changes)).into_bytes()
        }
        _ => {
            let der = made.signed(&original.info, &original.algorithm);
            changed(&with_label(&estwire::encode_wrapped(&der)), changes)
        }
    };
    let accepted = enroll(&body);
    if changes.len() < 4 {
        assert!(accepted, "a valid request");
    }
    enroll(changes);
});

fn with_label(lines: &str) -> Vec<u8> {
    let label = "CERTIFICATE REQUEST-----";
    format!("-----BEGIN {label}\r\n{lines}-----END {label}\r\n").into_bytes()
}

fn enroll(body: &[u8]) -> bool {
    let Ok(der) = estwire::decode(body) else { return false };
    assert_eq!(estwire::decode(estwire::encode(&der).as_bytes()).as_ref(), Ok(&der));
    let Ok(checked) = check_csr(&der) else { return false };
    let (rest, request) = X509CertificationRequest::from_der(&der).expect("it was read");
    assert!(rest.is_empty());
    assert_eq!(request.certification_request_info.subject_pki.raw, checked.spki());
    request.verify_signature().expect("it was verified");
    assert!(MADE.knows(&request.certification_request_info.subject_pki.subject_public_key.data));
    assert_eq!(check_csr(&der).as_ref(), Ok(&checked));
    one_identity(&request, &checked);
    true
}

/// What suits two identities names neither.
fn one_identity(request: &X509CertificationRequest<'_>, checked: &CheckedCsr) {
    let suits = |id| checked.check_identity(&identity(id)).is_ok();
    if suits(1) && suits(2) {
        let is_names = |parsed: &ParsedExtension<'_>| {
            matches!(parsed, ParsedExtension::SubjectAlternativeName(_))
        };
        assert!(!request.requested_extensions().into_iter().flatten().any(is_names));
    }
}
