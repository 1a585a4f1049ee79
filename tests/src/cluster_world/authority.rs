//! What nodes say to the cluster of authorities: what a region was made with, and what they believe by now.
//!
//! As `fieldmesh_node::rotation` does, without its files. **Not here:** issuing (`crate::pki`).

use std::{sync::Arc, time::Duration};

use fieldmesh_domain::{
    Command, EntityId,
    placement::{self, Ca, Phase, Role},
    time::Millis,
};
use fieldmesh_node::{issuer::sha256, node::Node};
use fieldmesh_pki::CaCertificate;

use super::Land;
use crate::world::EPOCH_MS;

/// After something that was not taken.
const RETRY_AFTER: Duration = Duration::from_secs(5);

fn read(der: &[u8], signer: &[u8], authority: EntityId, phase: Phase) -> Ca {
    let read = CaCertificate::read(der).unwrap();
    Ca {
        fingerprint: read.fingerprint,
        certificate: der.to_vec(),
        role: if read.is_root { Role::Root } else { Role::Issuing },
        authority,
        name: read.name_hash,
        signer: sha256(signer),
        not_after: read.not_after_s,
        phase,
        since: Millis(EPOCH_MS),
        epoch: 0,
        compromised: false,
    }
}

/// A region's issuing CA.
pub(super) fn issuing(land: &Land, phase: Phase) -> Ca {
    let authority = EntityId::authority(land.region());
    read(land.authority.issuing(), &land.authority.root, authority, phase)
}

/// The name of a region's issuing CA.
pub(super) fn issuer(land: &Land) -> [u8; 32] {
    issuing(land, Phase::Introduced).name
}

/// What a region is made with: the root where it is the first.
fn founding(land: &Land) -> Vec<Ca> {
    let (root, own) = (&land.authority.root, EntityId::authority(land.region()));
    let root = (land.index == 0).then(|| read(root, root, own, Phase::Active));
    root.into_iter().chain([issuing(land, Phase::Active)]).collect()
}

/// Tells the cluster of what the region was made with, and then of what this node believes, whenever that
/// has changed.
pub(super) async fn tend(land: Arc<Land>, node: Arc<Node>) {
    let own = EntityId::authority(land.region());
    let is_known = |ca: &Ca| ca.authority == own && ca.phase == Phase::Active;
    let mut epoch = node.trust.epoch();
    loop {
        let told = if node.trust.authorities().iter().any(is_known) {
            let (node, epoch) = (node.number, *epoch.borrow_and_update());
            placement::Command::Acknowledge { node, epoch }
        } else {
            placement::Command::Adopt(founding(&land))
        };
        let asked = node.ask(EntityId::placement(), Command::Placement(told)).await;
        let again = asked.is_err();
        tokio::select! {
            changed = epoch.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY_AFTER), if again => {}
        }
    }
}
