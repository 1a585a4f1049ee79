//! Keys in a token, against SoftHSM2: found again, right, and kept.
//!
//! SoftHSM2 learns from its environment where its tokens are and initialises once per process, so
//! each test runs again in processes of its own, with a token of its own. **Not here:** the address
//! and the forms of points and signatures (unit tests of `pkcs11`).

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "tests fail by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "SoftHSM2 and OpenSSL read files; threads sign at once"
)]

#[path = "pkcs11/loss.rs"]
mod loss;
#[path = "pkcs11/refusals.rs"]
mod refusals;
#[path = "pkcs11/softhsm.rs"]
mod softhsm;

use std::{process::Command, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cryptoki::object::{Attribute, AttributeInfo, AttributeType, ObjectClass};
use fieldmesh_pki::{
    Identity, IssuingCa, KeyKind, KeyMaterial, Kind, RootCa,
    pkcs11::{TokenError, TokenKey, TokenSecret},
    profile, vault,
};
use rcgen::{CertificateParams, PublicKeyData as _, SigningKey as _};

use softhsm::{at, beside, in_processes, objects, pin, verifies};

const NOW: u64 = 1_800_000_000;

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for at in (0..text.len()).step_by(64) {
        pem.push_str(&text[at..text.len().min(at + 64)]);
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem.into_bytes()
}

#[test]
fn a_key_is_found_again_by_another_process_and_signs_what_openssl_verifies() {
    let name = "a_key_is_found_again_by_another_process_and_signs_what_openssl_verifies";
    let Some(process) = in_processes(name, 2) else { return };
    let files = [("issuing", "issuing.spki"), ("root", "root.spki")];
    if process.stage == 0 {
        let issuing = TokenKey::generate(&at("issuing"), &pin()).unwrap();
        let mut with_id = at("root");
        with_id.id = Some(vec![1, 0xff]);
        let root = TokenKey::generate_p384(&with_id, &pin()).unwrap();
        assert_eq!((issuing.kind(), root.kind()), (KeyKind::P256, KeyKind::P384));
        process.write("issuing.spki", &issuing.subject_public_key_info());
        process.write("root.spki", &root.subject_public_key_info());
        let again = TokenKey::generate(&at("issuing"), &pin()).unwrap_err();
        assert_eq!(again, TokenError::KeyExists(at("issuing").to_string()));
        return;
    }
    for ((label, file), hash) in files.into_iter().zip(["-sha256", "-sha384"]) {
        let key = TokenKey::open(&at(label), &pin()).unwrap();
        assert_eq!(key.subject_public_key_info(), process.read(file), "{label}");
        let message = process.write("message", b"to be signed");
        let signature = key.sign(b"to be signed").unwrap();
        assert!(verifies(&key, b"to be signed", &signature));
        assert!(!verifies(&key, b"to be changed", &signature));
        let public = pem("PUBLIC KEY", &key.subject_public_key_info());
        let output = Command::new("openssl")
            .args(["dgst", hash, "-verify"])
            .arg(process.write("public.pem", &public))
            .arg("-signature")
            .arg(process.write("signature", &signature))
            .arg(message)
            .output()
            .unwrap();
        assert!(output.status.success(), "{label}: {output:?}");
    }
}

#[test]
fn an_issuing_ca_in_a_token_issues_what_openssl_accepts_strictly() {
    let name = "an_issuing_ca_in_a_token_issues_what_openssl_accepts_strictly";
    let Some(process) = in_processes(name, 1) else { return };
    let key = TokenKey::generate(&at("issuing"), &pin()).unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let root = RootCa::create("acme.test", NOW, [1; 16]).unwrap();
    let signed = root.sign_issuing(request.der(), "eu1", 1, NOW, [2; 16]).unwrap();
    let issuing = IssuingCa::from_parts(Arc::new(key), signed.der.clone()).unwrap();
    let who = Identity {
        cluster: "acme.test".into(),
        region: "eu1".into(),
        kind: Kind::Operator,
        id: [9; 16],
    };
    let spki = KeyMaterial::generate().unwrap().spki();
    let life = profile(Kind::Operator).life(NOW, 99);
    let leaf = issuing.issue(&spki, &who, &[], life, [3; 16]).unwrap();
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslclient", "-attime", &NOW.to_string()])
        .arg("-CAfile")
        .arg(process.write("root.pem", &pem("CERTIFICATE", root.certificate())))
        .arg("-untrusted")
        .arg(process.write("issuing.pem", &pem("CERTIFICATE", &signed.der)))
        .arg(process.write("leaf.pem", &pem("CERTIFICATE", &leaf.der)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_destroyed_key_is_gone_for_everybody_and_no_other_is() {
    let name = "a_destroyed_key_is_gone_for_everybody_and_no_other_is";
    let Some(process) = in_processes(name, 2) else { return };
    let gone = |label: &str| {
        let refused = TokenKey::open(&at(label), &pin()).unwrap_err();
        assert!(matches!(refused, TokenError::NoSuchKey { .. }), "{refused:?}");
    };
    if process.stage == 0 {
        let next = TokenKey::generate(&at("next"), &pin()).unwrap();
        let open = TokenKey::generate(&at("issuing"), &pin()).unwrap();
        TokenKey::destroy(&at("issuing"), &pin()).unwrap();
        // Whoever has it open has it no more.
        assert!(open.sign(b"late").is_err());
        gone("issuing");
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            assert!(objects(&beside(), class, "issuing").is_empty());
        }
        TokenKey::destroy(&at("issuing"), &pin()).unwrap();
        next.check().unwrap();
        return;
    }
    gone("issuing");
    TokenKey::open(&at("next"), &pin()).unwrap();
    TokenKey::generate(&at("issuing"), &pin()).unwrap();
}

#[test]
fn private_bytes_cannot_be_read_out() {
    let name = "private_bytes_cannot_be_read_out";
    if in_processes(name, 1).is_none() {
        return;
    }
    let key = TokenKey::generate(&at("issuing"), &pin()).unwrap();
    let secret = TokenSecret::generate(&at("seal"), &pin()).unwrap();
    let session = beside();
    for (class, label) in [(ObjectClass::PRIVATE_KEY, "issuing"), (ObjectClass::SECRET_KEY, "seal")]
    {
        let object = objects(&session, class, label)[0];
        let value = session.get_attribute_info(object, &[AttributeType::Value]).unwrap();
        assert!(matches!(value[..], [AttributeInfo::Sensitive]), "{label}: {value:?}");
        let types = [
            AttributeType::Private,
            AttributeType::Sensitive,
            AttributeType::AlwaysSensitive,
            AttributeType::Extractable,
            AttributeType::NeverExtractable,
        ];
        let expected = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
        ];
        assert_eq!(session.get_attributes(object, &types).unwrap(), expected, "{label}");
        let softened = [Attribute::Extractable(true)];
        assert!(session.update_attributes(object, &softened).is_err(), "{label}");
    }
    drop((key, secret));
}

#[test]
fn a_derived_key_is_the_same_in_another_process_and_opens_what_it_sealed() {
    let name = "a_derived_key_is_the_same_in_another_process_and_opens_what_it_sealed";
    let Some(process) = in_processes(name, 2) else { return };
    if process.stage == 0 {
        let secret = TokenSecret::generate(&at("seal"), &pin()).unwrap();
        let key = secret.derive(b"fieldmesh seal v1").unwrap();
        let sealed = vault::seal_with_key(&key, b"service key", [5; 12]).unwrap();
        process.write("sealed", &sealed);
        let again = TokenSecret::generate(&at("seal"), &pin()).unwrap_err();
        assert_eq!(again, TokenError::KeyExists(at("seal").to_string()));
        return;
    }
    let secret = TokenSecret::open(&at("seal"), &pin()).unwrap();
    let key = secret.derive(b"fieldmesh seal v1").unwrap();
    let sealed = process.read("sealed");
    assert_eq!(&**vault::open_with_key(&key, &sealed).unwrap(), b"service key");
    let other = secret.derive(b"fieldmesh seal v2").unwrap();
    assert_eq!(vault::open_with_key(&other, &sealed), Err(vault::VaultError::Refused));
    let stranger = TokenSecret::generate(&at("other"), &pin()).unwrap();
    assert_ne!(stranger.derive(b"fieldmesh seal v1").unwrap(), key);
}
