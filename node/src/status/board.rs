//! The desks of a region's issuing CAs: one for each that is believed and whose key is here, because
//! what a CA issued is listed under its own signature until it is removed.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use fieldmesh_domain::authority::Deed;
use fieldmesh_pki::{
    IssuingCa,
    ocsp::{OcspRequest, OcspRequestError},
};

use super::{StatusDesk, StatusError};
use crate::{issuer::Issuer, node::Node, web::public};

/// How often is looked whether a list is to be made anew.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After a revocation, others are waited for so long before a list is made.
const SETTLE: Duration = Duration::from_secs(5);

/// Lists and answers of all of a region's issuing CAs.
pub struct StatusBoard {
    node: Arc<Node>,
    cluster: String,
    /// The node's directory, where what is public is kept for when it is sealed.
    dir: PathBuf,
    /// The one that signs first; at least one.
    desks: RwLock<Vec<Arc<StatusDesk>>>,
}

impl StatusBoard {
    /// # Errors
    /// Where the issuing CA's certificate does not parse.
    pub fn new(node: Arc<Node>, issuer: &Issuer, dir: PathBuf) -> Result<Self, StatusError> {
        let cluster = issuer.cluster().to_owned();
        let board = Self { node, cluster, dir, desks: RwLock::default() };
        board.show(&[issuer.ca()])?;
        Ok(board)
    }

    /// From now on there are lists and answers of these, and of no others.
    ///
    /// # Errors
    /// Where a certificate does not parse; the desks stay as they were.
    pub fn show(&self, cas: &[Arc<IssuingCa>]) -> Result<(), StatusError> {
        let before = self.desks();
        let desk = |ca: &Arc<IssuingCa>| match before.iter().find(|desk| desk.is_of(ca)) {
            Some(desk) => Ok(Arc::clone(desk)),
            None => {
                let (node, ca) = (Arc::clone(&self.node), Arc::clone(ca));
                StatusDesk::new(node, self.cluster.clone(), ca, self.dir.clone()).map(Arc::new)
            }
        };
        let desks = cas.iter().map(desk).collect::<Result<_, _>>()?;
        *self.desks.write().unwrap_or_else(PoisonError::into_inner) = desks;
        Ok(())
    }

    /// Certifies those who sign answers, where that is due.
    pub async fn certify(&self) {
        for desk in self.desks() {
            if let Err(error) = desk.certify().await {
                tracing::error!(%error, "OCSP has no signer");
            }
        }
    }

    fn desks(&self) -> Vec<Arc<StatusDesk>> {
        self.desks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The desk of the CA that has this name in paths.
    pub fn desk(&self, name: &str) -> Option<Arc<StatusDesk>> {
        let is_it = |desk: &Arc<StatusDesk>| public::issuer_name(desk.own.issuer_hash()) == name;
        self.desks().into_iter().find(is_it)
    }

    /// The answer to an OCSP request in DER; one request is about one issuer.
    pub fn answer(&self, request: Result<OcspRequest, OcspRequestError>) -> Arc<Vec<u8>> {
        let desks = self.desks();
        let is_about = |desk: &&Arc<StatusDesk>| {
            request.as_ref().is_ok_and(|request| request.is_about(&desk.own))
        };
        match desks.iter().find(is_about).or(desks.first()) {
            Some(desk) => desk.answer(request),
            None => Arc::new(fieldmesh_pki::ocsp::TRY_LATER.to_vec()),
        }
    }

    /// Makes lists anew for as long as the node runs.
    pub async fn keep_listing(self: Arc<Self>) {
        let mut revocations = self.node.trust.watch();
        loop {
            self.certify().await;
            for desk in self.desks() {
                match desk.in_background().await {
                    Ok(Ok(true)) => self.note("crl").await,
                    Ok(Ok(false)) => {}
                    Ok(Err(error)) => tracing::error!(%error, "there is no new revocation list"),
                    Err(error) => tracing::error!(%error, "making a revocation list failed"),
                }
            }
            let is_revocation = tokio::select! {
                changed = revocations.changed() => changed.is_ok(),
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            if is_revocation {
                tokio::time::sleep(SETTLE).await;
                revocations.mark_unchanged();
            }
        }
    }

    /// Tells the ledger that an issuing key was used.
    async fn note(&self, purpose: &str) {
        let deed = Deed::KeyUsed { purpose: purpose.to_owned() };
        if let Err(error) = self.node.note(String::new(), deed).await {
            tracing::warn!(%error, purpose, "a use of the issuing key is not in the ledger");
        }
    }
}
