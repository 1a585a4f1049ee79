//! Sessions that are lost, PINs and keys that change meanwhile, threads that sign at once.

use std::sync::Barrier;

use cryptoki::{object::ObjectClass, session::UserType, types::AuthPin};
use fieldmesh_pki::pkcs11::{TokenError, TokenKey, TokenSecret};
use rcgen::SigningKey as _;

use crate::softhsm::{
    OTHER_PIN, PIN, TOKEN, at, beside, in_processes, initialize_token, module, objects, pin,
    verifies,
};

#[test]
fn a_lost_session_is_opened_again() {
    let name = "loss::a_lost_session_is_opened_again";
    let Some(process) = in_processes(name, 1) else { return };
    let key = TokenKey::generate(&at("issuing"), &pin()).unwrap();
    let secret = TokenSecret::generate(&at("issuing"), &pin()).unwrap();
    let before = secret.derive(b"use").unwrap();
    let logout = || beside().logout().unwrap();
    let finalize = || module().finalize().unwrap();
    let restart = || {
        finalize();
        module();
    };
    for lose in [&logout as &dyn Fn(), &restart, &finalize] {
        lose();
        assert!(verifies(&key, b"message", &key.sign(b"message").unwrap()));
        lose();
        assert_eq!(secret.derive(b"use").unwrap(), before);
        key.check().unwrap();
    }
    // Opened anew after somebody's C_Finalize, while nobody has found out.
    finalize();
    TokenKey::open(&at("issuing"), &pin()).unwrap();
    // It is the same token, not another that has its label since.
    initialize_token(&process.configuration(), TOKEN);
    restart();
    key.check().unwrap();
    let refused = TokenKey::open(&at("issuing"), &pin()).unwrap_err();
    assert_eq!(refused, TokenError::SeveralTokens(at("issuing").to_string()));
}

#[test]
fn a_pin_that_was_changed_is_tried_once() {
    let name = "loss::a_pin_that_was_changed_is_tried_once";
    if in_processes(name, 1).is_none() {
        return;
    }
    let key = TokenKey::generate(&at("issuing"), &pin()).unwrap();
    let (first, second) = (AuthPin::new(PIN.into()), AuthPin::new(OTHER_PIN.into()));
    beside().set_pin(&first, &second).unwrap();
    key.check().unwrap();
    beside().logout().unwrap();
    assert_eq!(key.check(), Err(TokenError::WrongPin(TOKEN.to_owned())));
    // Right again, which another try would find.
    let session = beside();
    session.login(UserType::User, Some(&second)).unwrap();
    session.set_pin(&second, &first).unwrap();
    drop(session);
    assert_eq!(key.check(), Err(TokenError::WrongPin(TOKEN.to_owned())));
    assert!(key.sign(b"message").is_err());
    let opened = TokenKey::open(&at("issuing"), &pin()).unwrap();
    assert_eq!(opened.check(), Ok(()));
}

#[test]
fn another_key_in_its_place_is_noticed() {
    let name = "loss::another_key_in_its_place_is_noticed";
    if in_processes(name, 1).is_none() {
        return;
    }
    let key = TokenKey::generate(&at("issuing"), &pin()).unwrap();
    let session = beside();
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        for object in objects(&session, class, "issuing") {
            session.destroy_object(object).unwrap();
        }
    }
    let refused = key.check().unwrap_err();
    assert!(matches!(refused, TokenError::NoSuchKey { .. }), "{refused:?}");
    let other = TokenKey::generate(&at("issuing"), &pin()).unwrap();
    assert_eq!(key.check(), Err(TokenError::Mismatch(at("issuing").to_string())));
    assert!(key.sign(b"message").is_err());
    other.check().unwrap();
}

#[test]
fn four_threads_sign_and_others_come_and_go() {
    let name = "loss::four_threads_sign_and_others_come_and_go";
    if in_processes(name, 1).is_none() {
        return;
    }
    drop(TokenKey::generate(&at("first"), &pin()).unwrap());
    drop(TokenKey::generate(&at("second"), &pin()).unwrap());
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (start, label) = (&start, if thread % 2 == 0 { "first" } else { "second" });
            scope.spawn(move || {
                start.wait();
                // The last to drop its key logs the process out.
                for round in 0..20u8 {
                    let key = TokenKey::open(&at(label), &pin()).unwrap();
                    for number in 0..5u8 {
                        let message = [thread, round, number];
                        assert!(verifies(&key, &message, &key.sign(&message).unwrap()));
                    }
                }
            });
        }
    });
    let key = TokenKey::open(&at("first"), &pin()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let key = &key;
            scope.spawn(move || {
                for number in 0..100u8 {
                    let message = [thread, number];
                    assert!(verifies(key, &message, &key.sign(&message).unwrap()));
                }
            });
        }
    });
}
