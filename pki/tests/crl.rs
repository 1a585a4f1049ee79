//! What openssl makes of our certificate revocation lists.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests fail by panicking; openssl works on files and reads the clock"
)]
#![allow(dead_code, reason = "each test file uses a part of the kit")]

#[path = "kit/authority.rs"]
mod authority;

use authority::{Authority, HOUR_S};
use fieldmesh_pki::{Reason, Revoked, crl};

const VERIFY: [&str; 8] = [
    "verify",
    "-x509_strict",
    "-crl_check",
    "-check_ss_sig",
    "-CAfile",
    "chain.pem",
    "-CRLfile",
    "crl.pem",
];

fn write_crl(authority: &Authority, this_update_s: u64, revoked: &[Revoked]) {
    let next = this_update_s + HOUR_S;
    authority.write("crl.der", &crl(&authority.ca, 17, this_update_s, next, revoked).unwrap());
    let convert = ["crl", "-inform", "DER", "-in", "crl.der", "-out", "crl.pem"];
    assert!(authority.openssl(&convert).0);
}

fn verify(authority: &Authority, file: &str) -> (bool, String) {
    authority.openssl(&[&VERIFY[..], &[file]].concat())
}

#[test]
fn openssl_refuses_what_is_listed_and_takes_the_rest() {
    let authority = Authority::new("eu");
    let (_good, bad) = (authority.leaf("good", 3), authority.leaf("bad", 4));
    write_crl(&authority, authority.now_s, &[]);
    assert!(verify(&authority, "bad.pem").0);
    let reason = Reason::KeyCompromise;
    let revoked = Revoked { serial: bad.serial, at_s: authority.now_s - 60, reason };
    write_crl(&authority, authority.now_s, &[revoked]);
    let (is_good, said) = verify(&authority, "good.pem");
    assert!(is_good, "{said}");
    let (is_good, said) = verify(&authority, "bad.pem");
    assert!(!is_good && said.contains("certificate revoked"), "{said}");
    // A list whose time is over proves nothing.
    write_crl(&authority, authority.now_s - 2 * HOUR_S, &[revoked]);
    let (is_good, said) = verify(&authority, "good.pem");
    assert!(!is_good && said.contains("CRL has expired"), "{said}");
}

#[test]
fn openssl_reads_what_was_written() {
    let authority = Authority::new("eu");
    let entry = |serial, reason| Revoked { serial: [serial; 16], at_s: 3_000_000_000, reason };
    let revoked = [entry(0x61, Reason::CessationOfOperation), entry(0x60, Reason::Unspecified)];
    write_crl(&authority, 2_600_000_000, &revoked);
    let (_, text) = authority.openssl(&["crl", "-in", "crl.pem", "-noout", "-text"]);
    let (_, ca) =
        authority.openssl(&["x509", "-in", "ca.pem", "-noout", "-ext", "subjectKeyIdentifier"]);
    let key_id = ca.lines().nth(1).unwrap().trim();
    for part in [
        "Version 2 (0x1)",
        "Signature Algorithm: ecdsa-with-SHA256",
        "Issuer: CN = mesh eu issuing 1",
        "Last Update: May 22 14:13:20 2052 GMT",
        "X509v3 CRL Number: \n                17",
        "Revocation Date: Jan 24 05:20:00 2065 GMT",
        "Cessation Of Operation",
        key_id,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(text.matches("CRL Reason Code").count(), 1, "{text}");
    assert!(text.find(&"60".repeat(16)) < text.find(&"61".repeat(16)), "{text}");
    let (is_right, said) =
        authority.openssl(&["crl", "-in", "crl.pem", "-noout", "-CAfile", "chain.pem"]);
    assert!(is_right && said.contains("verify OK"), "{said}");
}
