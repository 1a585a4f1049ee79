//! Requests made by openssl: each kind of key and signature that is accepted, and those that are
//! refused by name.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "tests fail by panicking")]

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use fieldmesh_pki::{CsrError, Identity, KeyKind, Kind, check_csr, estwire};

fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {complaint}");
    output.stdout
}

/// A private key, PEM.
fn key(algorithm: &str, options: &[&str]) -> Vec<u8> {
    let options = options.iter().flat_map(|option| ["-pkeyopt", option]);
    let args: Vec<&str> = ["genpkey", "-algorithm", algorithm].into_iter().chain(options).collect();
    openssl(&args, &[])
}

fn curve(name: &str) -> Vec<u8> {
    key("EC", &[&format!("ec_paramgen_curve:{name}")])
}

/// A request as openssl prints it, PEM.
fn request(key: &[u8], args: &[&str]) -> Vec<u8> {
    let fixed =
        ["req", "-new", "-batch", "-config", "/dev/null", "-key", "/dev/stdin", "-subj", "/"];
    openssl(&[&fixed[..], args].concat(), key)
}

fn check(key: &[u8], args: &[&str]) -> Result<KeyKind, CsrError> {
    let der = estwire::decode(&request(key, args)).unwrap();
    check_csr(&der).map(|checked| {
        let spki = openssl(&["pkey", "-pubout", "-outform", "DER"], key);
        assert_eq!(checked.spki(), spki);
        checked.key_kind()
    })
}

#[test]
fn each_curve_is_taken_with_each_hash() {
    for kind in [KeyKind::P256, KeyKind::P384] {
        let name = kind.name();
        let key = curve(name);
        for hash in ["-sha256", "-sha384", "-sha512"] {
            assert_eq!(check(&key, &[hash]), Ok(kind), "{name} {hash}");
        }
        assert_eq!(check(&key, &["-sha1"]), Err(CsrError::BrokenHash("SHA-1")));
        assert_eq!(check(&key, &["-sha224"]), Err(CsrError::SignatureAlgorithm));
    }
    assert_eq!(check(&key("ED25519", &[]), &[]), Ok(KeyKind::Ed25519));
}

#[test]
fn rsa_is_taken_with_each_hash_and_both_paddings() {
    for bits in [2048, 3072, 4096] {
        let key = key("RSA", &[&format!("rsa_keygen_bits:{bits}")]);
        assert_eq!(check(&key, &["-sha256"]), Ok(KeyKind::Rsa));
        if bits > 2048 {
            continue;
        }
        let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt"];
        for hash in ["-sha256", "-sha384", "-sha512"] {
            assert_eq!(check(&key, &[hash]), Ok(KeyKind::Rsa), "{hash}");
            let args = [&[hash][..], &pss, &["rsa_pss_saltlen:digest"]].concat();
            assert_eq!(check(&key, &args), Ok(KeyKind::Rsa), "{hash} PSS");
        }
        let salt = [&pss[..], &["rsa_pss_saltlen:20"]].concat();
        assert_eq!(check(&key, &salt), Err(CsrError::PssParameters));
        let mask = [&pss[..], &["rsa_pss_saltlen:32", "-sigopt", "rsa_mgf1_md:sha512"]].concat();
        assert_eq!(check(&key, &mask), Err(CsrError::PssParameters));
        assert_eq!(check(&key, &["-sha1"]), Err(CsrError::BrokenHash("SHA-1")));
        assert_eq!(check(&key, &["-md5"]), Err(CsrError::BrokenHash("MD5")));
    }
}

#[test]
fn other_keys_are_refused_by_name() {
    let parameters = openssl(
        &["genpkey", "-genparam", "-algorithm", "DSA", "-pkeyopt", "dsa_paramgen_bits:1024"],
        &[],
    );
    let dsa = openssl(&["genpkey", "-paramfile", "/dev/stdin"], &parameters);
    let explicit = key("EC", &["ec_paramgen_curve:P-256", "ec_param_enc:explicit"]);
    let compress = ["ec", "-conv_form", "compressed"];
    let compressed = openssl(&compress, &curve("P-256"));
    for (key, error) in [
        (curve("P-521"), CsrError::KeyKind("P-521")),
        (curve("P-224"), CsrError::KeyKind("P-224")),
        (curve("secp256k1"), CsrError::KeyKind("secp256k1")),
        (key("ED448", &[]), CsrError::KeyKind("Ed448")),
        (dsa, CsrError::KeyKind("DSA")),
        (key("RSA-PSS", &["rsa_keygen_bits:2048"]), CsrError::KeyKind("RSA for RSASSA-PSS only")),
        (key("RSA", &["rsa_keygen_bits:1024"]), CsrError::RsaTooSmall(1024)),
        (key("RSA", &["rsa_keygen_pubexp:3"]), CsrError::RsaExponent),
        (explicit, CsrError::ExplicitCurve),
        (compressed, CsrError::CompressedPoint),
    ] {
        assert_eq!(check(&key, &[]), Err(error));
    }
}

#[test]
fn what_openssl_asks_for_is_compared() {
    let identity = Identity {
        cluster: "fieldmesh.internal".into(),
        region: "eu1".into(),
        kind: Kind::Technician,
        id: [7; 16],
    };
    let key = curve("P-256");
    let own = format!("subjectAltName=URI:{identity},DNS:{}", identity.dns_name());
    let names = |args: &[&str]| {
        let der = estwire::decode(&request(&key, args)).unwrap();
        check_csr(&der).and_then(|checked| checked.check_identity(&identity))
    };
    let usage = "keyUsage=critical,digitalSignature,keyAgreement";
    let purposes = "extendedKeyUsage=clientAuth,serverAuth";
    let leaf = "basicConstraints=critical,CA:FALSE";
    assert_eq!(names(&["-addext", &own, "-addext", usage, "-addext", purposes]), Ok(()));
    assert_eq!(names(&["-addext", leaf, "-subj", "/C=FR/O=x/CN=anything"]), Ok(()));
    for (asked, error) in [
        ("subjectAltName=IP:127.0.0.1", CsrError::OtherName("iPAddress")),
        ("subjectAltName=email:a@b.example", CsrError::OtherName("rfc822Name")),
        ("basicConstraints=CA:TRUE", CsrError::AsksForCa),
        ("keyUsage=keyCertSign", CsrError::KeyUsage("keyCertSign")),
        ("extendedKeyUsage=OCSPSigning", CsrError::ExtendedKeyUsage("OCSPSigning")),
    ] {
        assert_eq!(names(&["-addext", asked]), Err(error), "{asked}");
    }
}
