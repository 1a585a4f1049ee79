//! Certificates of a cluster that exists for one test.

use std::sync::Arc;

use fieldmesh_domain::{
    EntityId, EntityKind,
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

pub const CLUSTER: &str = "sim.internal";
pub const REGION: &str = "eu1";

/// A root, an issuing CA and what they signed.
pub struct Authority {
    pub root: Vec<u8>,
    issuing: IssuingCa,
    now_s: u64,
}

impl Authority {
    pub fn new(now_s: u64) -> Self {
        let root = RootCa::create(CLUSTER, now_s, [1; 16]).unwrap();
        let (issuing, _) = root.issue_issuing(REGION, 1, now_s, [2; 16]).unwrap();
        Self { root: root.certificate().to_vec(), issuing, now_s }
    }

    pub fn trust(&self) -> TrustStore {
        TrustStore::new(vec![self.root.clone()], vec![self.issuing.certificate().to_vec()]).unwrap()
    }

    pub fn credentials(&self, kind: Kind, id: [u8; 16]) -> Credentials {
        let key = KeyMaterial::generate().unwrap();
        let identity = Identity { cluster: CLUSTER.into(), region: REGION.into(), kind, id };
        let life = profile(kind).life(self.now_s, 0);
        let leaf = self.issuing.issue(&key.spki(), &identity, &[], life, id).unwrap();
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

/// The service's secrets, the same for every incarnation of the node.
pub struct ServiceKit {
    id: [u8; 16],
    credentials: Credentials,
    hpke: Vec<StoredHpke>,
}

impl ServiceKit {
    pub fn new(authority: &Authority) -> Self {
        let id = [9; 16];
        let (private, public) = HpkePrivateKey::generate().unwrap();
        let hpke = vec![StoredHpke { private: Arc::new(private), public, made_s: authority.now_s }];
        Self { id, credentials: authority.credentials(Kind::Service, id), hpke }
    }

    pub fn secrets(&self) -> ServiceSecrets {
        let leaf = &self.credentials.chain[0];
        ServiceSecrets {
            id: self.id,
            region: REGION.into(),
            region_key: Key::from_bytes(Zeroizing::new([7; 32])),
            signer: SoftwareSigner::from_pkcs8(&self.credentials.pkcs8, leaf).unwrap(),
            chain: self.credentials.chain.clone(),
            hpke: self.hpke.clone(),
        }
    }
}
