//! What openssl makes of our OCSP answers, and we of its requests.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests fail by panicking; openssl works on files and reads the clock"
)]

#[path = "kit/authority.rs"]
mod authority;

use authority::{Authority, HOUR_S};
use fieldmesh_pki::{
    Certificate, KeyMaterial, Kind, Reason,
    ocsp::{
        AnswerTimes, CertIdHash, INTERNAL_ERROR, IssuerError, IssuerRef, MALFORMED_REQUEST,
        OcspError, OcspRequest, Responder, SignerError, Status, TRY_LATER, UNAUTHORIZED,
    },
    profile,
};
use proptest::prelude::*;

fn times(authority: &Authority) -> AnswerTimes {
    let now = authority.now_s;
    AnswerTimes { this_update_s: now - 5, next_update_s: now + HOUR_S / 2, produced_at_s: now }
}

/// openssl's request about certificates; `options` come before them.
fn request(authority: &Authority, options: &[&str], files: &[&str]) -> OcspRequest {
    let mut arguments = vec!["ocsp", "-reqout", "request.der", "-issuer", "ca.pem"];
    arguments.extend(options);
    arguments.extend(files.iter().flat_map(|file| ["-cert", file]));
    let (is_done, said) = authority.openssl(&arguments);
    assert!(is_done, "{said}");
    OcspRequest::from_der(&authority.read("request.der")).unwrap()
}

/// What openssl says of `answer.der` for a certificate.
fn judge(authority: &Authority, option: &str, file: &str) -> String {
    let (_, said) = authority.openssl(&[
        "ocsp",
        "-respin",
        "answer.der",
        "-CAfile",
        "chain.pem",
        "-no_nonce",
        "-issuer",
        "ca.pem",
        option,
        "-cert",
        file,
    ]);
    said
}

struct Leaves {
    good: Certificate,
    revoked: Certificate,
}

/// `good.pem` and `revoked.pem`, and `foreign.pem` that no record knows.
fn leaves(authority: &Authority) -> Leaves {
    authority.leaf("foreign", 9);
    Leaves { good: authority.leaf("good", 3), revoked: authority.leaf("revoked", 4) }
}

impl Leaves {
    fn status(&self, serial: &[u8; 16], now_s: u64) -> Status {
        match serial {
            serial if *serial == self.good.serial => Status::Good,
            serial if *serial == self.revoked.serial => {
                Status::Revoked { at_s: now_s - 100, reason: Reason::KeyCompromise }
            }
            _ => Status::Unknown,
        }
    }
}

#[test]
fn openssl_believes_what_each_certificate_is_said_to_be() {
    let authority = Authority::new("eu");
    let (leaves, responder, issuers) =
        (leaves(&authority), authority.responder(), [authority.issuer()]);
    let files = ["good.pem", "revoked.pem", "foreign.pem"];
    for option in ["-sha1", "-sha256"] {
        let request = request(&authority, &[option, "-nonce"], &files);
        let status = |issuer: &[u8; 32], serial: &[u8; 16]| {
            assert_eq!(issuer, issuers[0].issuer_hash());
            leaves.status(serial, authority.now_s)
        };
        let answer = responder.respond(&request, &issuers, &status, times(&authority)).unwrap();
        authority.write("answer.der", &answer);
        let check = ["ocsp", "-reqin", "request.der", "-respin", "answer.der"];
        let check = [&check[..], &["-CAfile", "chain.pem", "-x509_strict"]].concat();
        let (is_right, said) = authority.openssl(&check);
        assert!(is_right && said.contains("Response verify OK"), "{said}");
        assert!(!said.contains("WARNING") && !said.contains("Nonce"), "{said}");
        let said = judge(&authority, option, "good.pem");
        assert!(said.contains("good.pem: good"), "{said}");
        let said = judge(&authority, option, "revoked.pem");
        assert!(said.contains("revoked.pem: revoked"), "{said}");
        assert!(said.contains("Reason: keyCompromise"), "{said}");
        let said = judge(&authority, option, "foreign.pem");
        assert!(said.contains("foreign.pem: unknown"), "{said}");
        // The same answer does not serve another request: its nonce differs.
        self::request(&authority, &[option, "-nonce"], &files);
        let (_, said) = authority.openssl(&check);
        assert!(said.contains("Nonce Verify error"), "{said}");
    }
}

#[test]
fn openssl_believes_an_answer_that_was_made_ahead() {
    let authority = Authority::new("eu");
    let (leaves, responder, issuers) =
        (leaves(&authority), authority.responder(), [authority.issuer()]);
    for (option, expected) in [("-sha1", CertIdHash::Sha1), ("-sha256", CertIdHash::Sha256)] {
        let asked = request(&authority, &[option, "-no_nonce"], &["revoked.pem"]);
        let (issuer, hash, serial) = asked.presignable(&issuers).unwrap();
        assert_eq!((hash, serial), (expected, leaves.revoked.serial));
        let revoked = Status::Revoked { at_s: authority.now_s - 9, reason: Reason::Unspecified };
        let answer = responder.presign(issuer, hash, &serial, revoked, times(&authority)).unwrap();
        authority.write("answer.der", &answer);
        let said = judge(&authority, option, "revoked.pem");
        assert!(said.contains("Response verify OK"), "{said}");
        assert!(said.contains("revoked.pem: revoked"), "{said}");
        assert!(!said.contains("Reason"), "{said}");
        let said = judge(&authority, option, "good.pem");
        assert!(said.contains("No Status found"), "{said}");
    }
    assert!(request(&authority, &["-nonce"], &["good.pem"]).presignable(&issuers).is_none());
    let two = request(&authority, &["-no_nonce"], &["good.pem", "revoked.pem"]);
    assert!(two.presignable(&issuers).is_none());
    let other = [Authority::new("us").issuer()];
    let one = request(&authority, &["-no_nonce"], &["good.pem"]);
    assert!(one.presignable(&other).is_none());
}

#[test]
fn only_the_ca_that_delegated_is_spoken_for() {
    let (authority, other) = (Authority::new("eu"), Authority::new("us"));
    let leaves = leaves(&authority);
    let responder = other.responder();
    let issuers = [authority.issuer(), other.issuer()];
    assert!(!responder.speaks_for(&issuers[0]) && responder.speaks_for(&issuers[1]));
    let asked = request(&authority, &[], &["good.pem"]);
    let never = |_: &[u8; 32], _: &[u8; 16]| Status::Good;
    let refused = responder.respond(&asked, &issuers, &never, times(&other)).unwrap_err();
    assert_eq!(refused.answer(), UNAUTHORIZED);
    let serial = &leaves.good.serial;
    let refused =
        responder.presign(&issuers[0], CertIdHash::Sha1, serial, Status::Good, times(&other));
    assert!(matches!(refused, Err(OcspError::Unauthorized)));
    // A CA with the same name and another key is another CA.
    let namesake = Authority::new("us");
    assert_eq!(namesake.issuer().issuer_hash(), issuers[1].issuer_hash());
    assert!(!responder.speaks_for(&namesake.issuer()));
}

#[test]
fn signers_and_times_that_do_not_serve_are_refused() {
    let authority = Authority::new("eu");
    leaves(&authority);
    let key = || KeyMaterial::generate().unwrap();
    let mine = key();
    let refused = |key, certificate| Responder::new(key, certificate).unwrap_err();
    let signer = authority.issue(Kind::OcspSigner, &mine, 6).der;
    assert_eq!(refused(key(), signer.clone()), SignerError::OtherKey);
    assert_eq!(refused(key(), [&signer[..], &[0]].concat()), SignerError::Malformed);
    assert_eq!(refused(key(), vec![0x30, 0]), SignerError::Malformed);
    let service = authority.issue(Kind::Service, &mine, 7).der;
    assert_eq!(refused(mine, service), SignerError::Usage);
    let p384 = KeyMaterial::generate_p384().unwrap();
    let customer = authority.issue(Kind::Customer, &p384, 8).der;
    assert_eq!(refused(p384, customer), SignerError::KeyKind);
    assert_eq!(IssuerRef::new(&[0x30, 0]), Err(IssuerError));

    let (responder, issuers) = (authority.responder(), [authority.issuer()]);
    let asked = request(&authority, &[], &["good.pem"]);
    let now = times(&authority);
    let answer =
        |times| responder.respond(&asked, &issuers, &|_, _| Status::Good, times).unwrap_err();
    let refused = answer(AnswerTimes { next_update_s: now.this_update_s, ..now });
    assert_eq!(refused.answer(), INTERNAL_ERROR);
    let lifetime_s = profile(Kind::OcspSigner).lifetime_s;
    let last = AnswerTimes { next_update_s: authority.now_s + lifetime_s, ..now };
    assert!(responder.respond(&asked, &issuers, &|_, _| Status::Good, last).is_ok());
    let refused = answer(AnswerTimes { next_update_s: last.next_update_s + 1, ..now });
    assert!(matches!(refused, OcspError::OutlivesSigner { .. }), "{refused}");
    let refused = answer(AnswerTimes { produced_at_s: u64::MAX, ..now });
    assert!(matches!(refused, OcspError::Time(u64::MAX)), "{refused}");
}

#[test]
fn openssl_knows_the_answers_without_content() {
    let authority = Authority::new("eu");
    for (answer, name) in [
        (MALFORMED_REQUEST, "malformedrequest (1)"),
        (INTERNAL_ERROR, "internalerror (2)"),
        (TRY_LATER, "trylater (3)"),
        (UNAUTHORIZED, "unauthorized (6)"),
    ] {
        authority.write("answer.der", answer);
        let (_, said) = authority.openssl(&["ocsp", "-respin", "answer.der"]);
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn a_changed_request_gets_an_answer_or_a_refusal() {
    let authority = Authority::new("eu");
    let leaves = leaves(&authority);
    let (responder, issuers) = (authority.responder(), [authority.issuer()]);
    request(&authority, &["-sha256", "-nonce"], &["good.pem", "revoked.pem"]);
    let der = authority.read("request.der");
    let status = |_: &[u8; 32], serial: &[u8; 16]| leaves.status(serial, authority.now_s);
    proptest!(|(at in 0..der.len(), byte in any::<u8>())| {
        let mut changed = der.clone();
        changed[at] = byte;
        if let Ok(request) = OcspRequest::from_der(&changed) {
            match responder.respond(&request, &issuers, &status, times(&authority)) {
                Ok(answer) => prop_assert!(answer.len() > der.len()),
                Err(refused) => prop_assert_eq!(refused.answer(), UNAUTHORIZED),
            }
        }
    });
}
