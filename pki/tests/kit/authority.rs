//! A region's authority with an OCSP signer, and the programs that judge what it makes.

use std::{fs, path::Path, process::Command, time::SystemTime};

use fieldmesh_pki::{
    Certificate, Identity, IssuingCa, KeyMaterial, Kind, RootCa,
    ocsp::{IssuerRef, Responder},
    profile,
};
use tempfile::TempDir;

pub(crate) const HOUR_S: u64 = 3600;
const CLUSTER: &str = "mesh";

/// The programs read the machine's clock, so the certificates have to follow it.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) struct Authority {
    pub(crate) ca: IssuingCa,
    pub(crate) now_s: u64,
    region: String,
    directory: TempDir,
}

impl Authority {
    /// Root, issuing CA, and a directory with `chain.pem` (both) and `ca.pem`.
    pub(crate) fn new(region: &str) -> Self {
        let now_s = now_s();
        let root = RootCa::create(CLUSTER, now_s, [1; 16]).unwrap();
        let (ca, _) = root.issue_issuing(region, 1, now_s, [2; 16]).unwrap();
        let (region, directory) = (region.to_owned(), tempfile::tempdir().unwrap());
        let authority = Self { ca, now_s, region, directory };
        authority.write("root.der", root.certificate());
        authority.write("ca.der", authority.ca.certificate());
        let pem = |file| authority.openssl(&["x509", "-inform", "DER", "-in", file]).1;
        let (root, ca) = (pem("root.der"), pem("ca.der"));
        authority.write("ca.pem", ca.as_bytes());
        authority.write("chain.pem", format!("{root}{ca}").as_bytes());
        authority
    }

    pub(crate) fn issuer(&self) -> IssuerRef {
        IssuerRef::new(self.ca.certificate()).unwrap()
    }

    /// A certificate as its profile says.
    pub(crate) fn issue(&self, kind: Kind, key: &KeyMaterial, serial: u8) -> Certificate {
        let (cluster, region) = (CLUSTER.into(), self.region.clone());
        let identity = Identity { cluster, region, kind, id: [serial; 16] };
        let life = profile(kind).life(self.now_s, 0);
        self.ca.issue(&key.spki(), &identity, &[], life, [serial; 16]).unwrap()
    }

    /// A node's certificate, also as `<name>.pem`.
    pub(crate) fn leaf(&self, name: &str, serial: u8) -> Certificate {
        let leaf = self.issue(Kind::Node, &KeyMaterial::generate().unwrap(), serial);
        self.write("leaf.der", &leaf.der);
        let pem = self.openssl(&["x509", "-inform", "DER", "-in", "leaf.der"]).1;
        self.write(&format!("{name}.pem"), pem.as_bytes());
        leaf
    }

    pub(crate) fn responder(&self) -> Responder {
        let key = KeyMaterial::generate().unwrap();
        let certificate = self.issue(Kind::OcspSigner, &key, 0x55).der;
        Responder::new(key, certificate).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).unwrap()
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs openssl in the directory: whether it succeeded, and what it said.
    pub(crate) fn openssl(&self, arguments: &[&str]) -> (bool, String) {
        let output =
            Command::new("openssl").args(arguments).current_dir(self.path()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }
}
