//! The sealed message format against python-cwt, both ways.
//!
//! Needs `python3` with `venv`, and the package index.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests fail by panicking"
)]

#[path = "kit/messages.rs"]
mod messages;

use std::{fmt::Write as _, fs, process::Command, sync::Arc};

use fieldmesh_envelope::{
    HpkePrivateKey, KeyBundle, KeyRing, OpenError, OuterKind, open, outer_algorithm, seal, sign,
    sign_bundle, verify,
};
use messages::{FRAME, NOW, identity, message};

const PACKAGE: &str = "cwt==3.3.0";
/// What python-cwt is made to do.
const PEER: &str = include_str!("cwt_interop.py");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn python_cwt_opens_what_is_sealed_here_and_seals_what_opens_here() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let put = |name: &str, bytes: &[u8]| fs::write(at(name), hex(bytes)).unwrap();
    let get = |name: &str| unhex(&fs::read_to_string(at(name)).unwrap());

    let alice = identity(b"certificate of alice");
    let (private, public) = HpkePrivateKey::generate().unwrap();
    let signed = sign(&message(b"a body to find again"), &alice.signer).unwrap();
    let sealed = seal(&signed, &FRAME, &public).unwrap();
    let bundle = KeyBundle {
        owner: "alice".into(),
        serial: 1,
        not_before: NOW,
        not_after: NOW + 60,
        keys: vec![public.clone()],
    };
    // ["ESD1", frame]
    let aad = [b"\x82\x64ESD1", &FRAME.encode()[..]].concat();
    put("kid", &public.kid());
    put("aad", &aad);
    put("recipient", &private.to_bytes());
    put("signer", &alice.point);
    put("signed", signed.as_bytes());
    put("sealed", &sealed);
    put("bundle", &sign_bundle(&bundle, &alice.signer).unwrap());

    run(Command::new("python3").args(["-m", "venv"]).arg(at("venv")));
    let python = at("venv").join("bin/python");
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", PACKAGE]));
    run(Command::new(&python).args(["-c", PEER]).arg(directory.path()));

    let found = |name: &str, part: &[u8]| get(name).windows(part.len()).any(|it| it == part);
    assert!(found("payload", b"a body to find again"));
    assert!(found("bundle_payload", &public.as_sec1()[1..33]));

    let mut ring = KeyRing::default();
    ring.insert(Arc::new(private), NOW, NOW + 60).unwrap();
    let resealed = get("resealed");
    assert_ne!(resealed, sealed);
    assert_eq!(outer_algorithm(&resealed), Ok(OuterKind::Hpke { kid: public.kid() }));
    // The same headers to the byte: only the encapsulated key and the ciphertext differ.
    assert_eq!(resealed[..23], sealed[..23]);
    assert_eq!(resealed.len(), sealed.len());
    let opened = open(&resealed, &FRAME, &ring, NOW).unwrap();
    assert_eq!(opened, signed);
    assert_eq!(
        verify(&opened, &alice.key, &alice.x5t, "bob", NOW).unwrap(),
        message(b"a body to find again")
    );
    assert_eq!(open(&get("misbound"), &FRAME, &ring, NOW), Err(OpenError::Failed));
}
