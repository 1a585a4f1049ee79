//! Certificates of a cluster that exists for one test. However often they are made, they have as many bytes.

use std::sync::Arc;

use fieldmesh_domain::{
    EntityId, EntityKind, Region,
    registration::{self, Approval, Issued, Profile, Proof, Token},
    time::Millis,
};
use fieldmesh_envelope::{HpkePrivateKey, SoftwareSigner};
use fieldmesh_node::{
    issuer::sha256,
    register,
    sealing::Key,
    service::{ServiceSecrets, StoredHpke},
};
use fieldmesh_pki::{
    Identity, IssuingCa, KeyMaterial, Kind, RootCa, TrustStore, Usage, profile, tls::Credentials,
};
use zeroize::Zeroizing;

use crate::signature::{self, even};

pub const CLUSTER: &str = "sim.internal";
pub const REGION: &str = "eu1";

/// A root, a region's issuing CA and what they signed.
pub struct Authority {
    pub root: Vec<u8>,
    issuing: IssuingCa,
    region: Region,
    /// The root and the issuing CAs of all regions. What one of those who share it proved is proven for all.
    trust: Arc<TrustStore>,
    now_s: u64,
}

impl Authority {
    pub fn new(now_s: u64) -> Self {
        Self::of_regions(&[REGION], now_s).remove(0)
    }

    /// One for each region, below the same root.
    pub fn of_regions(regions: &[&str], now_s: u64) -> Vec<Self> {
        let root = || RootCa::create(CLUSTER, now_s, [1; 16]).unwrap();
        let root = even(signature::P384, root, RootCa::certificate);
        let issuing = |(region, serial): (&&str, u8)| {
            let issuing = || root.issue_issuing(region, 1, now_s, [serial; 16]).unwrap().0;
            even(signature::P384, issuing, IssuingCa::certificate)
        };
        let issuing: Vec<IssuingCa> = regions.iter().zip(2..).map(issuing).collect();
        let all: Vec<Vec<u8>> = issuing.iter().map(|ca| ca.certificate().to_vec()).collect();
        let root = root.certificate().to_vec();
        let trust = Arc::new(TrustStore::new(vec![root.clone()], all).unwrap());
        let of = |(issuing, region): (IssuingCa, &&str)| {
            let (root, region, trust) = (root.clone(), region.parse().unwrap(), Arc::clone(&trust));
            Self { root, issuing, region, trust, now_s }
        };
        issuing.into_iter().zip(regions).map(of).collect()
    }

    pub fn region(&self) -> Region {
        self.region
    }

    /// The certificate of the region's issuing CA, DER.
    pub fn issuing(&self) -> &[u8] {
        self.issuing.certificate()
    }

    pub fn trust(&self) -> Arc<TrustStore> {
        Arc::clone(&self.trust)
    }

    pub fn credentials(&self, kind: Kind, id: [u8; 16]) -> Credentials {
        let key = KeyMaterial::generate().unwrap();
        let identity =
            Identity { cluster: CLUSTER.into(), region: self.region.to_string(), kind, id };
        let life = profile(kind).life(self.now_s, 0);
        let spki = key.spki();
        let leaf = || self.issuing.issue(&spki, &identity, &[], life, id).unwrap();
        let leaf = even(signature::P256, leaf, |leaf| &leaf.der);
        let chain = vec![leaf.der, self.issuing.certificate().to_vec()];
        Credentials { chain, pkcs8: Zeroizing::new(key.pkcs8().to_vec()) }
    }

    pub fn device(&self, id: EntityId, kind: Kind) -> Credentials {
        self.credentials(kind, id.to_bytes())
    }
}

impl Authority {
    /// What the register is told, so that it knows a device's certificate.
    pub fn enrollment(&self, device: EntityId, leaf: &[u8]) -> Vec<registration::Command> {
        let peer = self.trust().verify(leaf, &[], Usage::ClientAuth, self.now_s).unwrap();
        let profile = match device.kind() {
            EntityKind::Customer => Profile::Customer,
            _ => Profile::Technician,
        };
        let hash = [5; 32];
        let (label, by) = (String::new(), "operator".to_owned());
        let expires = Millis(u64::MAX);
        let token = Token { hash, expires, by: by.clone(), approval: Approval::None };
        let issued = Issued {
            proof: Proof::Token(hash),
            public_key_hash: sha256(&peer.spki),
            issuer: peer.issuer_hash,
            serial: register::serial(&peer.serial).unwrap(),
            not_before: peer.not_before,
            not_after: peer.not_after,
            certificate: leaf.to_vec(),
            revoked: None,
            fingerprint: peer.thumbprint,
            signed_part: [6; 32],
        };
        vec![
            registration::Command::Register { profile, device: Some(device), label, by },
            registration::Command::Invite(token),
            registration::Command::Enroll(issued),
        ]
    }
}

/// The service's secrets, the same for every incarnation of a node.
pub struct ServiceKit {
    id: [u8; 16],
    region: Region,
    credentials: Credentials,
    hpke: StoredHpke,
}

fn hpke(made_s: u64) -> StoredHpke {
    let (private, public) = HpkePrivateKey::generate().unwrap();
    StoredHpke { private: Arc::new(private), public, made_s }
}

impl ServiceKit {
    pub fn new(authority: &Authority) -> Self {
        let (id, region) = ([9; 16], authority.region);
        let credentials = authority.credentials(Kind::Service, id);
        Self { id, region, credentials, hpke: hpke(authority.now_s) }
    }

    /// Of another node of the region: the keys that open messages are each node's own.
    pub fn of_another_node(&self) -> Self {
        let (credentials, hpke) = (self.credentials.clone(), hpke(self.hpke.made_s));
        Self { credentials, hpke, ..*self }
    }

    pub fn secrets(&self) -> ServiceSecrets {
        let leaf = &self.credentials.chain[0];
        ServiceSecrets {
            id: self.id,
            region: self.region.to_string(),
            region_key: Key::from_bytes(Zeroizing::new(sha256(self.region.to_string().as_bytes()))),
            signer: SoftwareSigner::from_pkcs8(&self.credentials.pkcs8, leaf).unwrap(),
            chain: self.credentials.chain.clone(),
            hpke: vec![self.hpke.clone()],
        }
    }
}
