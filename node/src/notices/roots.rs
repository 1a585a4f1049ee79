//! Whom a target's certificate is believed from: the machine's list, or the authorities that the target names.
//!
//! **Invariants:** the machine's list is read once; a target with its own authorities is believed from no
//! other. **Not here:** the certificates of this cluster (`trust`), which say nothing of targets.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::files;

/// Where systems keep their list (Debian, Fedora, SUSE, Alpine, macOS).
const LISTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/private/etc/ssl/cert.pem",
];

/// The machine's list, read when it is first needed.
#[derive(Default)]
pub(super) struct Roots(OnceLock<Arc<RootCertStore>>);

impl Roots {
    /// For a target that names these authorities, or none.
    ///
    /// # Errors
    /// What is missing, for people.
    pub(super) fn tls(&self, cas: &[Vec<u8>]) -> Result<Arc<ClientConfig>, String> {
        let roots = if cas.is_empty() {
            Arc::clone(self.0.get_or_init(|| Arc::new(machine())))
        } else {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(cas.iter().cloned().map(CertificateDer::from));
            Arc::new(roots)
        };
        if roots.is_empty() {
            return Err("this machine has no list of certification authorities: install \
                        ca-certificates, or give the target its `ca`"
                .into());
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}

fn machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for list in LISTS {
        let Ok(text) = files::read(Path::new(list)) else { continue };
        // What cannot be read is one authority less.
        let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
        roots.add_parsable_certificates(certificates);
        break;
    }
    roots
}
