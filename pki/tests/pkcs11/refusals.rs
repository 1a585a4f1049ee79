//! What is said where a token or a key cannot serve.

use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, ObjectClass},
    session::Session,
};
use fieldmesh_pki::pkcs11::{TokenAddress, TokenError, TokenKey, TokenSecret};
use rcgen::{PublicKeyData as _, SigningKey as _};
use zeroize::Zeroizing;

use crate::softhsm::{
    OTHER_PIN, PIN, TOKEN, at, beside_logged_in, in_processes, initialize_token, module, objects,
    pin, verifies,
};

/// prime256v1 as CKA_EC_PARAMS.
const P256_PARAMS: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// A pair as other tools make them, which do not look for the label.
fn foreign_pair(session: &Session, label: &str, id: &[u8]) {
    let named = [
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    let mut public = named.to_vec();
    public.push(Attribute::EcParams(P256_PARAMS.to_vec()));
    let mut private = named.to_vec();
    private.push(Attribute::Sign(true));
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
}

#[test]
fn a_wrong_pin_is_said_and_shown_nowhere() {
    let name = "refusals::a_wrong_pin_is_said_and_shown_nowhere";
    if in_processes(name, 1).is_none() {
        return;
    }
    let key = TokenKey::generate(&at("issuing"), &pin()).unwrap();
    let wrong = Zeroizing::new(OTHER_PIN.to_owned());
    // Logged in already, the token would not look at it.
    let refused = TokenKey::open(&at("issuing"), &wrong).unwrap_err();
    assert_eq!(refused, TokenError::OtherPin(TOKEN.to_owned()));
    assert!(!format!("{key:?}").contains(PIN));
    drop(key);
    // Somebody else's login does not make it right.
    let session = beside_logged_in();
    for _ in 0..2 {
        let refused = TokenKey::open(&at("issuing"), &wrong).unwrap_err();
        assert_eq!(refused, TokenError::WrongPin(TOKEN.to_owned()));
        assert!(refused.to_string().contains("wrong"));
        assert!(!format!("{refused} {refused:?}").contains(OTHER_PIN));
    }
    drop(session);
    for short in ["", "1"] {
        let refused = TokenKey::open(&at("issuing"), &Zeroizing::new(short.into())).unwrap_err();
        assert_eq!(refused, TokenError::WrongPin(TOKEN.to_owned()), "{short:?}");
    }
    TokenKey::open(&at("issuing"), &pin()).unwrap();
}

#[test]
fn what_is_not_there_is_named_beside_what_is() {
    let name = "refusals::what_is_not_there_is_named_beside_what_is";
    let Some(process) = in_processes(name, 1) else { return };
    for (module, fact) in [("/nowhere/p11.so", "/nowhere/p11.so"), ("/bin/true", "/bin/true")] {
        let address = TokenAddress { module: module.to_owned(), ..at("issuing") };
        let refused = TokenKey::open(&address, &pin()).unwrap_err();
        assert!(matches!(&refused, TokenError::Module { .. }), "{refused:?}");
        assert!(refused.to_string().contains(fact), "{refused}");
    }
    initialize_token(&process.configuration(), "shared");
    initialize_token(&process.configuration(), "shared");
    TokenKey::generate(&at("issuing"), &pin()).unwrap();

    let address = TokenAddress { token_label: "CA us1".into(), ..at("issuing") };
    let TokenError::NoSuchToken { present, .. } = TokenKey::open(&address, &pin()).unwrap_err()
    else {
        panic!("another error")
    };
    assert!(present.contains(&TOKEN.to_owned()), "{present:?}");

    let mut address = TokenAddress { token_label: "shared".into(), ..at("issuing") };
    let refused = TokenKey::generate(&address, &pin()).unwrap_err();
    assert_eq!(refused, TokenError::SeveralTokens(address.to_string()));
    let module = module();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let infos = slots.into_iter().map(|slot| module.get_token_info(slot).unwrap());
    let serial = infos.into_iter().find(|info| info.label() == "shared").unwrap();
    address.serial = Some(serial.serial_number().to_owned());
    TokenKey::generate(&address, &pin()).unwrap();
    address.serial = Some("0".into());
    let refused = TokenKey::open(&address, &pin()).unwrap_err();
    assert!(matches!(refused, TokenError::NoSuchToken { .. }), "{refused:?}");

    let refused = TokenKey::open(&at("isuing"), &pin()).unwrap_err();
    let present = vec!["issuing".to_owned()];
    assert_eq!(refused, TokenError::NoSuchKey { address: at("isuing").to_string(), present });
    let refused = TokenSecret::open(&at("issuing"), &pin()).unwrap_err();
    let present = Vec::new();
    assert_eq!(refused, TokenError::NoSuchKey { address: at("issuing").to_string(), present });
}

#[test]
fn the_id_tells_keys_of_one_label_apart() {
    let name = "refusals::the_id_tells_keys_of_one_label_apart";
    if in_processes(name, 1).is_none() {
        return;
    }
    let session = beside_logged_in();
    foreign_pair(&session, "issuing", &[1]);
    foreign_pair(&session, "issuing", &[2]);
    let refused = TokenKey::open(&at("issuing"), &pin()).unwrap_err();
    assert_eq!(refused, TokenError::SeveralKeys(at("issuing").to_string()));
    let points = [1, 2].map(|id| {
        let address = TokenAddress { id: Some(vec![id]), ..at("issuing") };
        let key = TokenKey::open(&address, &pin()).unwrap();
        assert!(verifies(&key, b"message", &key.sign(b"message").unwrap()));
        key.der_bytes().to_vec()
    });
    assert_ne!(points[0], points[1]);
    let third = TokenAddress { id: Some(vec![3]), ..at("issuing") };
    let refused = TokenKey::open(&third, &pin()).unwrap_err();
    assert!(matches!(refused, TokenError::NoSuchKey { .. }), "{refused:?}");
    let refused = TokenKey::generate(&third, &pin()).unwrap_err();
    assert_eq!(refused, TokenError::KeyExists(third.to_string()));
}

#[test]
fn a_key_that_cannot_serve_is_refused_when_opened() {
    let name = "refusals::a_key_that_cannot_serve_is_refused_when_opened";
    if in_processes(name, 1).is_none() {
        return;
    }
    let session = beside_logged_in();
    let opened = |label: &str| TokenKey::open(&at(label), &pin()).unwrap_err();

    let named = |label: &str| [Attribute::Token(true), Attribute::Label(label.into())];
    let mut public = named("rsa").to_vec();
    public.push(Attribute::ModulusBits(2048.into()));
    let mechanism = Mechanism::RsaPkcsKeyPairGen;
    session.generate_key_pair(&mechanism, &public, &named("rsa")).unwrap();
    assert_eq!(opened("rsa"), TokenError::Kind(at("rsa").to_string()));

    // secp521r1.
    let mut public = named("p521").to_vec();
    public.push(Attribute::EcParams(vec![0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23]));
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &named("p521")).unwrap();
    assert_eq!(opened("p521"), TokenError::Kind(at("p521").to_string()));

    // Two private keys, and one public key under the id of both.
    foreign_pair(&session, "first", &[1]);
    foreign_pair(&session, "second", &[2]);
    let public = |label: &str| objects(&session, ObjectClass::PUBLIC_KEY, label)[0];
    session.destroy_object(public("first")).unwrap();
    assert_eq!(opened("first"), TokenError::NoPublicKey(at("first").to_string()));
    session.update_attributes(public("second"), &[Attribute::Id(vec![1])]).unwrap();
    assert_eq!(opened("first"), TokenError::Mismatch(at("first").to_string()));
}

#[test]
fn a_token_without_the_mechanism_is_told_so() {
    let name = "refusals::a_token_without_the_mechanism_is_told_so";
    let Some(process) = in_processes(name, 2) else { return };
    if process.stage == 0 {
        TokenKey::generate(&at("issuing"), &pin()).unwrap();
        TokenSecret::generate(&at("seal"), &pin()).unwrap();
        let mut configuration = process.read("softhsm2.conf");
        configuration.extend_from_slice(b"slots.mechanisms = CKM_SHA256\n");
        process.write("softhsm2.conf", &configuration);
        return;
    }
    let missing = |name: &str| TokenError::MechanismMissing(name.to_owned());
    let refused = TokenKey::open(&at("issuing"), &pin()).unwrap_err();
    assert_eq!(refused, missing("CKM_ECDSA"));
    let refused = TokenKey::generate(&at("new"), &pin()).unwrap_err();
    assert_eq!(refused, missing("CKM_EC_KEY_PAIR_GEN"));
    let refused = TokenSecret::open(&at("seal"), &pin()).unwrap_err();
    assert_eq!(refused, missing("CKM_SHA256_HMAC"));
    let refused = TokenSecret::generate(&at("new"), &pin()).unwrap_err();
    assert_eq!(refused, missing("CKM_GENERIC_SECRET_KEY_GEN"));
}
