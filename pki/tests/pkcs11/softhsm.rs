//! SoftHSM2 for the tests: a token per test, processes of their own, and others who use the module.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    object::{Attribute, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use fieldmesh_pki::{
    KeyKind,
    pkcs11::{TokenAddress, TokenKey},
};
use rcgen::PublicKeyData as _;
use zeroize::Zeroizing;

pub(crate) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub(crate) const TOKEN: &str = "CA eu1";
pub(crate) const PIN: &str = "73914-eu1";
pub(crate) const OTHER_PIN: &str = "20586-eu1";
const STAGE: &str = "FIELDMESH_TEST_STAGE";

/// What a process of a test has: a token that the test's earlier processes left.
pub(crate) struct Process {
    dir: PathBuf,
    pub(crate) stage: usize,
}

/// Runs the test of this name in so many processes, one after the other. Nothing in the outer one.
pub(crate) fn in_processes(name: &str, count: usize) -> Option<Process> {
    if let Ok(stage) = std::env::var(STAGE) {
        let configuration = PathBuf::from(std::env::var("SOFTHSM2_CONF").unwrap());
        let dir = configuration.parent().unwrap().to_owned();
        return Some(Process { dir, stage: stage.parse().unwrap() });
    }
    assert!(Path::new(MODULE).exists(), "{MODULE} is missing: install the Debian package softhsm2");
    let dir = tempfile::tempdir().unwrap();
    let (configuration, tokens) = (dir.path().join("softhsm2.conf"), dir.path().join("tokens"));
    std::fs::create_dir(&tokens).unwrap();
    let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display());
    std::fs::write(&configuration, text).unwrap();
    initialize_token(&configuration, TOKEN);
    for stage in 0..count {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(STAGE, stage.to_string())
            .env("SOFTHSM2_CONF", &configuration)
            .output()
            .unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "process {stage}: {}\n{said}", output.status);
        assert!(said.contains("1 passed"), "process {stage} did not run {name}:\n{said}");
    }
    None
}

pub(crate) fn initialize_token(configuration: &Path, label: &str) {
    let output = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--so-pin", "so-90125", "--pin", PIN, "--label", label])
        .env("SOFTHSM2_CONF", configuration)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

impl Process {
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.join(name)).unwrap()
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.dir.join("softhsm2.conf")
    }
}

pub(crate) fn pin() -> Zeroizing<String> {
    Zeroizing::new(PIN.to_owned())
}

pub(crate) fn at(label: &str) -> TokenAddress {
    TokenAddress {
        module: MODULE.to_owned(),
        token_label: TOKEN.to_owned(),
        serial: None,
        key_label: label.to_owned(),
        id: None,
    }
}

/// Another user of the module in this process.
pub(crate) fn module() -> Pkcs11 {
    let module = Pkcs11::new(MODULE).unwrap();
    // Whoever comes second is told so.
    drop(module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)));
    module
}

/// A session beside those of the crate; logged in where they are.
pub(crate) fn beside() -> Session {
    let module = module();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let slot =
        slots.into_iter().find(|slot| module.get_token_info(*slot).unwrap().label() == TOKEN);
    module.open_rw_session(slot.unwrap()).unwrap()
}

pub(crate) fn beside_logged_in() -> Session {
    let session = beside();
    session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
    session
}

pub(crate) fn objects(session: &Session, class: ObjectClass, label: &str) -> Vec<ObjectHandle> {
    let label = Attribute::Label(label.as_bytes().to_vec());
    session.find_objects(&[Attribute::Class(class), label]).unwrap()
}

pub(crate) fn verifies(key: &TokenKey, message: &[u8], signature: &[u8]) -> bool {
    let point = key.der_bytes();
    match key.kind() {
        KeyKind::P384 => UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, point)
            .verify(message, signature)
            .is_ok(),
        _ => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(message, signature)
            .is_ok(),
    }
}
