//! Requests written byte by byte: one for each fact that is refused, and those that must pass.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use aws_lc_rs::signature::KeyPair as _;
use fieldmesh_pki::{CsrError, Identity, KeyKind, KeyMaterial, Kind, check_csr, create_csr};

#[path = "csr/request.rs"]
mod request;

use request::*;

fn identity() -> Identity {
    Identity {
        cluster: "fieldmesh.internal".into(),
        region: "eu1".into(),
        kind: Kind::Customer,
        id: [0x11; 16],
    }
}

/// Refused, with the field and the class that the answer is made of.
fn refused(der: &[u8], error: CsrError, field: Option<&str>, is_policy: bool) {
    assert_eq!(check_csr(der), Err(error));
    assert_eq!((error.field(), error.is_policy()), (field, is_policy), "{error}");
    assert!(!error.to_string().contains('\n'));
}

fn asked(extension: Vec<u8>, error: CsrError, field: &str) {
    let der = Request::with(asking(&[extension])).der();
    refused(&der, error, Some(field), !matches!(error, CsrError::MalformedExtension(_)));
}

#[test]
fn our_own_request_is_taken() {
    let key = KeyMaterial::generate().unwrap();
    let checked = check_csr(&create_csr(&key).unwrap()).unwrap();
    assert_eq!(checked.key_kind(), KeyKind::P256);
    assert_eq!(checked.spki(), p256(key.public_point()));
    assert_eq!(checked.challenge_password(), None);
    assert_eq!(checked.check_identity(&identity()), Ok(()));
}

#[test]
fn bytes_that_are_not_one_request_in_der_are_refused() {
    let request = Request::new();
    let (good, info) = (request.der(), request.info());
    assert!(check_csr(&good).is_ok());
    for cut in 0..good.len() {
        assert_eq!(check_csr(&good[..cut]), Err(CsrError::NotDer), "cut at {cut}");
    }
    let filled = Request::with(attribute(&[1, 2, 3], &[tlv(4, &[0; 8192])]));
    refused(&filled.der(), CsrError::TooLarge, None, false);
    refused(&[&good[..], &[0]].concat(), CsrError::Trailing, None, false);
    refused(&tlv(4, &good), CsrError::Malformed, None, false);
    refused(&tlv(0x30, &info), CsrError::Malformed, None, false);
    let (newer, field) = (Request { version: 1, ..Request::new() }, Some("version"));
    refused(&newer.der(), CsrError::Version, field, false);

    // The same request with a length in two bytes where one would do.
    let long = [&[0x30, 0x82, 0, u8::try_from(good.len() - 3).unwrap()][..], &good[3..]].concat();
    refused(&long, CsrError::NotDer, None, false);
    let indefinite = [&[0x30, 0x80][..], &good[3..], &[0, 0]].concat();
    refused(&indefinite, CsrError::NotDer, None, false);

    // Something more in each structure, under a signature that is right.
    let more = tlv(5, &[]);
    let with_more = |parts: &[Vec<u8>]| tlv(0x30, &[parts.concat(), more.clone()].concat());
    let attributes = tlv(0xa0, &[]);
    let parts = [tlv(2, &[0]), request.subject.clone(), request.spki.clone(), attributes];
    refused(&request.signed(&with_more(&parts)), CsrError::Malformed, None, false);
    let point = tlv(3, &[&[0], request.key.public_key().as_ref()].concat());
    let algorithm =
        sequence(&[oid(&[1, 2, 840, 10_045, 2, 1]), oid(&[1, 2, 840, 10_045, 3, 1, 7])]);
    for spki in [with_more(&[algorithm.clone(), point.clone()]), {
        let algorithm = sequence(&[algorithm[2..].to_vec(), more.clone()]);
        sequence(&[algorithm, point])
    }] {
        let request = Request { spki, ..Request::new() };
        refused(&request.der(), CsrError::Malformed, None, false);
    }
    for attribute in [
        sequence(&[oid(&[1, 2, 3]), set(&[text("a")]), more.clone()]),
        attribute(&[1, 2, 3], &[]),
        attribute(EXTENSION_REQUEST, &[sequence(&[])]),
        attribute(EXTENSION_REQUEST, &[tlv(4, &[])]),
        attribute(CHALLENGE_PASSWORD, &[text("a"), text("b")]),
        asking(&[sequence(&[oid(KEY_USAGE), tlv(4, &[3, 2, 7, 0x80]), more.clone()])]),
    ] {
        refused(&Request::with(attribute).der(), CsrError::Malformed, None, false);
    }
    let pair = sequence(&[oid(COMMON_NAME), text("a"), more]);
    refused(&Request::named(&[set(&[pair])]).der(), CsrError::Malformed, None, false);
}

#[test]
fn a_request_is_signed_by_its_own_key() {
    let request = Request::new();
    let other = Request { spki: Request::new().spki, ..Request::new() };
    refused(&other.der(), CsrError::Signature, Some("signature"), false);
    let good = request.der();
    for at in 0..good.len() {
        for bit in [1, 0x10, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= bit;
            assert!(check_csr(&bytes).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn signature_algorithms_are_named() {
    let field = Some("signatureAlgorithm");
    let check = |parts: &[Vec<u8>], error, is_policy| {
        let request = Request { signature_algorithm: sequence(parts), ..Request::new() };
        refused(&request.der(), error, field, is_policy);
    };
    let null = tlv(5, &[]);
    check(&[oid(&[1, 2, 840, 10_045, 4, 1])], CsrError::BrokenHash("SHA-1"), true);
    check(&[oid(&[1, 2, 840, 113_549, 1, 1, 5])], CsrError::BrokenHash("SHA-1"), true);
    check(&[oid(&[1, 2, 840, 113_549, 1, 1, 4])], CsrError::BrokenHash("MD5"), true);
    check(&[oid(&[1, 2, 840, 113_549, 1, 1, 2])], CsrError::BrokenHash("MD2"), true);
    check(&[oid(&[1, 2, 840, 10_045, 4, 3, 1])], CsrError::SignatureAlgorithm, true);
    check(&[oid(&[1, 3, 101, 112])], CsrError::SignatureNotForKey, true);
    check(
        &[oid(&[1, 2, 840, 113_549, 1, 1, 11]), null.clone()],
        CsrError::SignatureNotForKey,
        true,
    );
    check(&[oid(ECDSA_SHA256), null], CsrError::SignatureParameters, false);
    check(&[oid(&[1, 2, 840, 113_549, 1, 1, 10])], CsrError::SignatureParameters, false);
    check(
        &[oid(&[1, 2, 840, 113_549, 1, 1, 10]), sequence(&[])],
        CsrError::BrokenHash("SHA-1"),
        true,
    );
}

#[test]
fn keys_are_refused_by_name() {
    let ec: &[u64] = &[1, 2, 840, 10_045, 2, 1];
    let curve = |arcs: &[u64]| key(ec, oid(arcs), &[4; 65]);
    let good = Request::new();
    let point = good.key.public_key().as_ref().to_vec();
    let mut off_curve = point.clone();
    off_curve[64] ^= 1;
    let compressed = [&[2 | point[64] & 1][..], &point[1..33]].concat();
    let hybrid = [&[6 | point[64] & 1][..], &point[1..]].concat();
    let generator = from_hex(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
         4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    );
    let ed25519 = |bits: &[u8]| sequence(&[sequence(&[oid(&[1, 3, 101, 112])]), tlv(3, bits)]);
    let mut refusals = vec![
        (curve(&[1, 3, 132, 0, 35]), CsrError::KeyKind("P-521")),
        (curve(&[1, 3, 132, 0, 33]), CsrError::KeyKind("P-224")),
        (curve(&[1, 3, 132, 0, 10]), CsrError::KeyKind("secp256k1")),
        (curve(&[1, 2, 3]), CsrError::KeyKind("on an unknown curve")),
        (key(ec, sequence(&[tlv(2, &[1])]), &point), CsrError::ExplicitCurve),
        (p256(&compressed), CsrError::CompressedPoint),
        (p256(&off_curve), CsrError::NotOnCurve),
        (p256(&generator), CsrError::KnownKey),
        (ed25519(&[0; 33]), CsrError::SmallOrder),
        (key(&[1, 2, 840, 113_549, 1, 1, 1], tlv(5, &[]), &rsa(128)), CsrError::RsaTooSmall(1024)),
        (key(&[1, 2, 840, 113_549, 1, 1, 1], tlv(5, &[]), &rsa(513)), CsrError::RsaTooLarge(4104)),
    ];
    for (algorithm, name) in [
        (&[1, 2, 840, 10_040, 4, 1][..], "DSA"),
        (&[1, 2, 840, 113_549, 1, 1, 10], "RSA for RSASSA-PSS only"),
        (&[1, 3, 101, 113], "Ed448"),
        (&[1, 3, 101, 110], "X25519"),
        (&[1, 2, 3], "of an unknown algorithm"),
    ] {
        refusals.push((key(algorithm, vec![], &[1; 32]), CsrError::KeyKind(name)));
    }
    let malformed = [
        p256(&hybrid),
        p256(&point[..64]),
        p256(&[]),
        key(ec, tlv(5, &[]), &point),
        key(ec, vec![], &point),
        ed25519(&[0; 32]),
        key(&[1, 3, 101, 112], tlv(5, &[]), &[9; 32]),
        key(&[1, 2, 840, 113_549, 1, 1, 1], vec![], &rsa(256)),
        key(&[1, 2, 840, 113_549, 1, 1, 1], tlv(5, &[]), &[rsa(256), vec![0]].concat()),
    ];
    for (spki, error) in refusals {
        let request = Request { spki, ..Request::new() };
        refused(&request.der(), error, Some("publicKey"), true);
    }
    for spki in malformed {
        let request = Request { spki, ..Request::new() };
        refused(&request.der(), CsrError::MalformedKey, Some("publicKey"), false);
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap();
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).unwrap())
        .collect()
}

/// An RSAPublicKey with a modulus of so many bytes.
fn rsa(bytes: usize) -> Vec<u8> {
    let modulus = [&[0][..], &vec![0xff; bytes]].concat();
    sequence(&[tlv(2, &modulus), tlv(2, &[1, 0, 1])])
}

#[test]
fn authority_is_refused_and_ordinary_use_passed_over() {
    let true_ = tlv(1, &[0xff]);
    let usage = |bits: &[u8]| extension(KEY_USAGE, tlv(3, bits));
    let purpose = |arcs: &[u64]| extension(EXTENDED_KEY_USAGE, sequence(&[oid(arcs)]));
    let kp = |last: u64| purpose(&[1, 3, 6, 1, 5, 5, 7, 3, last]);
    let basic = |parts: &[Vec<u8>]| extension(BASIC_CONSTRAINTS, sequence(parts));
    asked(basic(std::slice::from_ref(&true_)), CsrError::AsksForCa, "basicConstraints");
    asked(basic(&[true_.clone(), tlv(2, &[0])]), CsrError::AsksForCa, "basicConstraints");
    let length = CsrError::AuthorityExtension("pathLenConstraint");
    asked(basic(&[tlv(2, &[0])]), length, "pathLenConstraint");
    asked(usage(&[2, 0x84]), CsrError::KeyUsage("keyCertSign"), "keyUsage");
    asked(usage(&[1, 0x82]), CsrError::KeyUsage("cRLSign"), "keyUsage");
    for (asking, name) in [
        (purpose(&[2, 5, 29, 37, 0]), "anyExtendedKeyUsage"),
        (kp(3), "codeSigning"),
        (kp(4), "emailProtection"),
        (kp(8), "timeStamping"),
        (kp(9), "OCSPSigning"),
        (kp(17), "other than clientAuth and serverAuth"),
    ] {
        asked(asking, CsrError::ExtendedKeyUsage(name), "extendedKeyUsage");
    }
    let constraint = tlv(0xa0, &sequence(&[tlv(DNS, b"a")]));
    let constraints = extension(&[2, 5, 29, 30], sequence(&[constraint]));
    asked(constraints, CsrError::AuthorityExtension("nameConstraints"), "nameConstraints");
    let unknown = sequence(&[oid(&[1, 2, 3]), true_, tlv(4, b"x")]);
    asked(unknown, CsrError::CriticalExtension, "extensionRequest");
    for (kind, name, value) in [
        (BASIC_CONSTRAINTS, "basicConstraints", sequence(&[text("a")])),
        (BASIC_CONSTRAINTS, "basicConstraints", [sequence(&[]), vec![0]].concat()),
        (KEY_USAGE, "keyUsage", tlv(3, &[1, 0x81])),
        (EXTENDED_KEY_USAGE, "extendedKeyUsage", text("a")),
        (SUBJECT_ALT_NAME, "subjectAltName", sequence(&[])),
        (SUBJECT_ALT_NAME, "subjectAltName", sequence(&[tlv(DNS, &[0xff])])),
    ] {
        asked(extension(kind, value), CsrError::MalformedExtension(name), name);
    }

    let client_and_server =
        sequence(&[oid(&[1, 3, 6, 1, 5, 5, 7, 3, 1]), oid(&[1, 3, 6, 1, 5, 5, 7, 3, 2])]);
    let ordinary = asking(&[
        usage(&[3, 0xa8]),
        extension(EXTENDED_KEY_USAGE, client_and_server),
        basic(&[]),
        extension(&[2, 5, 29, 14], tlv(4, b"identifier")),
    ]);
    let checked = Request::with(ordinary).check().unwrap();
    assert_eq!(checked.check_identity(&identity()), Ok(()));
}

#[test]
fn nothing_is_asked_for_twice() {
    let asking_once = names(&[(DNS, "a")]);
    let twice = Request { attributes: vec![asking_once.clone(), asking_once], ..Request::new() };
    let error = CsrError::RepeatedAttribute("extensionRequest");
    refused(&twice.der(), error, Some("extensionRequest"), true);
    let name = extension(SUBJECT_ALT_NAME, sequence(&[tlv(DNS, b"a")]));
    let usage = extension(KEY_USAGE, tlv(3, &[7, 0x80]));
    let same = Request::with(asking(&[name.clone(), usage, name]));
    refused(&same.der(), CsrError::RepeatedExtension, Some("extensionRequest"), true);
}

#[test]
fn a_challenge_password_comes_back_within_its_limit() {
    let with = |password: Vec<u8>| Request::with(attribute(CHALLENGE_PASSWORD, &[password]));
    for (password, expected) in
        [(text("bind me"), "bind me"), (tlv(0x13, b"printable"), "printable")]
    {
        let checked = with(password).check().unwrap();
        assert_eq!(checked.challenge_password(), Some(expected));
    }
    assert!(with(text(&"x".repeat(256))).check().is_ok());
    let long = with(text(&"x".repeat(257)));
    refused(&long.der(), CsrError::LongChallenge, Some("challengePassword"), true);
    let password = attribute(CHALLENGE_PASSWORD, &[text("a")]);
    let twice = Request { attributes: vec![password.clone(), password], ..Request::new() };
    let error = CsrError::RepeatedAttribute("challengePassword");
    refused(&twice.der(), error, Some("challengePassword"), true);
}

#[test]
fn names_are_the_identity_s_own_or_absent() {
    let (uri, dns) = (identity().to_string(), identity().dns_name());
    let check = |request: &Request| request.check().unwrap().check_identity(&identity());
    for own in [
        names(&[(URI, &uri)]),
        names(&[(DNS, &dns)]),
        names(&[(URI, &uri), (DNS, &dns)]),
        names(&[(DNS, &dns), (URI, &uri)]),
    ] {
        assert_eq!(check(&Request::with(own)), Ok(()));
    }

    let other = Identity { id: [0x12; 16], ..identity() };
    for (asked, error) in [
        (names(&[(URI, &other.to_string())]), CsrError::ForeignUri),
        (names(&[(URI, &format!("{uri}/"))]), CsrError::ForeignUri),
        (names(&[(URI, &uri), (URI, &uri)]), CsrError::SeveralUris),
        (names(&[(DNS, &other.dns_name())]), CsrError::ForeignDnsName),
        (names(&[(DNS, &format!("{dns}\0.evil"))]), CsrError::ForeignDnsName),
        (names(&[(URI, &uri), (DNS, &dns), (DNS, &dns)]), CsrError::SeveralDnsNames),
        (names(&[(URI, &uri), (0x81, "a@b")]), CsrError::OtherName("rfc822Name")),
        (names(&[(0x87, "\u{1}\u{1}\u{1}\u{1}")]), CsrError::OtherName("iPAddress")),
        (names(&[(0x88, "*")]), CsrError::OtherName("registeredID")),
        (names(&[(0xa4, "0\0")]), CsrError::OtherName("directoryName")),
        (names(&[(0xa0, "\u{6}\u{1}*\u{a0}")]), CsrError::MalformedExtension("subjectAltName")),
    ] {
        let request = Request::with(asked);
        let found = request.check().and_then(|checked| checked.check_identity(&identity()));
        assert_eq!(found, Err(error));
        assert_eq!(error.field(), Some("subjectAltName"));
    }
    let other_name = asking(&[extension(
        SUBJECT_ALT_NAME,
        sequence(&[tlv(0xa0, &[oid(&[1, 2, 3]), tlv(0xa0, &text("a"))].concat())]),
    )]);
    assert_eq!(check(&Request::with(other_name)), Err(CsrError::OtherName("otherName")));
}

#[test]
fn a_subject_passes_whatever_it_says_and_leads_to_nothing() {
    let other = Identity { id: [0x12; 16], ..identity() };
    let country = set(&[sequence(&[oid(COUNTRY), tlv(0x13, b"FR")])]);
    let number = set(&[sequence(&[oid(COMMON_NAME), tlv(2, &[1])])]);
    let several =
        set(&[sequence(&[oid(COMMON_NAME), text("a")]), sequence(&[oid(ORGANIZATION), text("b")])]);
    let bare = Request::new();
    let checked = bare.check().unwrap();
    for subject in [
        vec![country, rdn(ORGANIZATION, "x"), rdn(COMMON_NAME, "anything")],
        vec![rdn(COMMON_NAME, &other.dns_name())],
        vec![rdn(COMMON_NAME, "a"), rdn(COMMON_NAME, "b")],
        vec![rdn(COMMON_NAME, "")],
        vec![number],
        vec![several],
    ] {
        let info = [tlv(2, &[0]), sequence(&subject), bare.spki.clone(), tlv(0xa0, &[])];
        assert_eq!(check_csr(&bare.signed(&sequence(&info))), Ok(checked.clone()));
    }
    for who in [identity(), other] {
        assert_eq!(checked.check_identity(&who), Ok(()));
    }
}
