//! Which certification authorities the cluster's nodes believe, and how one takes over from another.
//!
//! A new one is *introduced*: believed, and waiting until each node says that it believes it.
//! *Active*, it signs; the one before it is *superseded*, believed and ready to take back. *Retired*
//! it signs only lists of what it issued; *removed* it is believed no more. An operator takes each
//! step, a second one agrees to it where there is one.
//!
//! **Invariants:** of each role in a region at most one is active, and once there was one there is
//! always one; nothing begins to sign that a node does not know, unless its predecessor's key is
//! compromised; no issuing one is believed whose root is not; what was removed does not come back.
//! **Not here:** keys and signatures (`node`), what each step moves (`steps`).

use minicbor::{Decode, Encode};

use crate::{EntityId, Rejection, RejectionCode, time::Millis};

/// Authorities of the cluster, those removed among them: each region changes its issuing one every
/// year or two.
const CAS_MAX: usize = 64;
/// Bytes of a certificate: one with a P-384 key has about 600.
const CERTIFICATE_BYTES_MAX: usize = 4096;
/// Nodes that may say what they believe: more than there may be members, for one says so also where
/// others cannot reach it. Who joins is waited for beyond it.
const NODES_MAX: usize = 1024;
/// A step that waits for a second operator is forgotten after so long.
const PROPOSAL_LIFE_MS: u64 = 7 * 24 * 3600 * 1000;

/// What an authority's certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Signs issuing authorities, offline; the active one is what new tokens pin.
    #[n(0)]
    Root,
    /// Signs a region's leaves.
    #[n(1)]
    Issuing,
}

/// How far an authority has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Phase {
    /// Believed; signs nothing yet.
    #[n(0)]
    Introduced,
    /// Signs certificates.
    #[n(1)]
    Active,
    /// Believed; may become active again.
    #[n(2)]
    Superseded,
    /// Believed, and signs lists only.
    #[n(3)]
    Retired,
    /// Not believed any more.
    #[n(4)]
    Removed,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Introduced => "introduced",
            Self::Active => "active",
            Self::Superseded => "superseded",
            Self::Retired => "retired",
            Self::Removed => "removed",
        }
    }
}

/// One authority.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ca {
    /// SHA-256 of its certificate.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub fingerprint: [u8; 32],
    /// DER.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub certificate: Vec<u8>,
    #[n(2)]
    pub role: Role,
    /// The region's, whose operators introduced it; of an issuing one, the only it issues for.
    #[n(3)]
    pub authority: EntityId,
    /// SHA-256 of its subject's name, DER: the issuer in what it signs.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub name: [u8; 32],
    /// The fingerprint of the root that signed it; its own for a root.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub signer: [u8; 32],
    /// Unix seconds.
    #[n(6)]
    pub not_after: u64,
    #[n(7)]
    pub phase: Phase,
    #[n(8)]
    pub since: Millis,
    /// The bundle's epoch that brought it.
    #[n(9)]
    pub epoch: u64,
    /// Others may have its key.
    #[n(10)]
    pub compromised: bool,
}

/// A node, and what it last said that it believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Node {
    #[n(0)]
    pub number: u64,
    #[n(1)]
    pub epoch: u64,
    #[n(2)]
    pub at: Millis,
}

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Step {
    /// An introduced one begins to sign, once each node knows it.
    #[n(0)]
    Activate,
    /// The same at once, because others may have the key of the one before.
    #[n(1)]
    ActivateCompromised,
    /// An active one gives back to the one before.
    #[n(2)]
    Rollback,
    /// A superseded one cannot take back any more.
    #[n(3)]
    Retire,
    /// A retired one is believed no more, nor what it signed.
    #[n(4)]
    Remove,
    /// One that was introduced is not wanted after all.
    #[n(5)]
    Drop,
    /// One that is not known yet is introduced; not asked for by [`Wanted`].
    #[n(6)]
    Introduce,
}

/// A step that waits for a second operator.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Proposal {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub fingerprint: [u8; 32],
    #[n(1)]
    pub step: Step,
    #[n(2)]
    pub by: String,
    #[n(3)]
    pub at: Millis,
}

/// A step that an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Wanted {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub fingerprint: [u8; 32],
    #[n(1)]
    pub step: Step,
    #[n(2)]
    pub by: String,
    /// Another operator must want it too.
    #[n(3)]
    pub second_person: bool,
}

/// All authorities, and who knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Bundle {
    /// Grows with each change.
    #[n(0)]
    pub epoch: u64,
    #[n(1)]
    pub cas: Vec<Ca>,
    #[n(2)]
    pub nodes: Vec<Node>,
    #[n(3)]
    pub proposal: Option<Proposal>,
}

/// What a step does to one authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Move {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub fingerprint: [u8; 32],
    #[n(1)]
    pub from: Phase,
    #[n(2)]
    pub to: Phase,
    #[n(3)]
    pub compromised: bool,
}

impl Bundle {
    pub fn by_fingerprint(&self, fingerprint: &[u8; 32]) -> Option<&Ca> {
        self.cas.iter().find(|ca| ca.fingerprint == *fingerprint)
    }

    /// The one of a role in a region, or of the cluster's roots, that is in a phase.
    pub(super) fn peer(&self, of: &Ca, phase: Phase) -> Option<&Ca> {
        self.cas.iter().rev().find(|ca| {
            ca.phase == phase
                && ca.role == of.role
                && (ca.role == Role::Root || ca.authority == of.authority)
        })
    }

    /// Nodes that have not said yet that they know a bundle of this epoch.
    pub fn behind(&self, epoch: u64) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.epoch < epoch)
    }

    /// What was not known before, of those that a region's first node was made with.
    pub(super) fn adopted(&self, cas: &[Ca]) -> Result<Vec<Ca>, Rejection> {
        let mut grown = self.clone();
        for ca in cas {
            if grown.by_fingerprint(&ca.fingerprint).is_some() {
                continue;
            }
            grown.fits(ca)?;
            if !matches!(ca.phase, Phase::Introduced | Phase::Active) || ca.compromised {
                return Rejection::new(RejectionCode::Invalid, "it is neither active nor next");
            }
            if grown
                .peer(ca, ca.phase)
                .is_some_and(|other| ca.phase == Phase::Active || other.role == Role::Issuing)
            {
                return Rejection::new(RejectionCode::Exists, "another one is there already");
            }
            grown.cas.push(ca.clone());
        }
        Ok(grown.cas.split_off(self.cas.len()))
    }

    /// How a region's first authority begins to sign, which operators introduced before there was the
    /// region; none for any other.
    pub(super) fn first_active(&self, wanted: &Ca) -> Option<Move> {
        let known = self.by_fingerprint(&wanted.fingerprint)?;
        let is_first = known.role == Role::Issuing
            && (known.phase, wanted.phase) == (Phase::Introduced, Phase::Active)
            && [Phase::Active, Phase::Superseded]
                .iter()
                .all(|phase| self.peer(known, *phase).is_none())
            && self.has_signer(known);
        let Ca { fingerprint, phase: from, compromised, .. } = *known;
        is_first.then_some(Move { fingerprint, from, to: Phase::Active, compromised })
    }

    fn fits(&self, ca: &Ca) -> Result<(), Rejection> {
        if ca.certificate.len() > CERTIFICATE_BYTES_MAX {
            return Rejection::new(RejectionCode::Invalid, "the certificate is too large");
        }
        if self.cas.len() >= CAS_MAX {
            return Rejection::new(RejectionCode::Limit, "there are 64 authorities already");
        }
        if self.cas.iter().any(|known| known.name == ca.name) {
            return Rejection::new(
                RejectionCode::Exists,
                "its name was another one's: sign it with a later --generation",
            );
        }
        if !self.has_signer(ca) {
            return Rejection::new(RejectionCode::Invalid, "no root that signs by now signed it");
        }
        Ok(())
    }

    /// Whether a root that may sign has signed an authority; a root needs none.
    pub(super) fn has_signer(&self, ca: &Ca) -> bool {
        let signs = |root: &Ca| {
            root.role == Role::Root
                && !matches!(root.phase, Phase::Retired | Phase::Removed)
                && !root.compromised
        };
        ca.role == Role::Root || self.by_fingerprint(&ca.signer).is_some_and(signs)
    }

    /// Whether one may be introduced; false where it is there already.
    pub(super) fn is_new(&self, ca: &Ca) -> Result<bool, Rejection> {
        match self.by_fingerprint(&ca.fingerprint).map(|known| known.phase) {
            None => {}
            Some(Phase::Introduced) => return Ok(false),
            Some(Phase::Removed) => {
                return Rejection::new(RejectionCode::Exists, "it was removed, and stays so");
            }
            Some(_) => return Rejection::new(RejectionCode::Exists, "it is in use already"),
        }
        self.fits(ca)?;
        if ca.role == Role::Issuing && self.peer(ca, Phase::Introduced).is_some() {
            return Rejection::new(
                RejectionCode::Exists,
                "another one waits to be activated: drop that first",
            );
        }
        Ok(true)
    }

    /// Whether the step is to wait for a second operator; false where this one is the second.
    pub(super) fn waits(&self, wanted: &Wanted, now: Millis) -> Result<bool, Rejection> {
        if !wanted.second_person {
            return Ok(false);
        }
        let same = self.proposal.as_ref().filter(|proposal| {
            proposal.fingerprint == wanted.fingerprint
                && proposal.step == wanted.step
                && (proposal.at.0..=proposal.at.0.saturating_add(PROPOSAL_LIFE_MS)).contains(&now.0)
        });
        match same {
            None => Ok(true),
            Some(proposal) if proposal.by == wanted.by => Rejection::new(
                RejectionCode::SecondPerson,
                "a second operator must give the same command",
            ),
            Some(_) => Ok(false),
        }
    }

    pub(super) fn knows_node(&self, number: u64, epoch: u64) -> Result<bool, Rejection> {
        let known = self.nodes.iter().find(|node| node.number == number);
        if known.is_none() && self.nodes.len() >= NODES_MAX {
            return Rejection::new(RejectionCode::Limit, "there are 1024 nodes already");
        }
        Ok(known.is_some_and(|node| node.epoch >= epoch))
    }

    pub(super) fn add(&mut self, cas: &[Ca]) {
        self.epoch = self.epoch.saturating_add(1);
        let epoch = self.epoch;
        let is_done = |open: &Proposal| cas.iter().any(|ca| ca.fingerprint == open.fingerprint);
        self.proposal = self.proposal.take().filter(|open| !is_done(open));
        self.cas.extend(cas.iter().map(|ca| Ca { epoch, ..ca.clone() }));
    }

    pub(super) fn apply(&mut self, moves: &[Move], at: Millis) {
        self.epoch = self.epoch.saturating_add(1);
        self.proposal = None;
        for step in moves {
            let moved = self.cas.iter_mut().find(|ca| ca.fingerprint == step.fingerprint);
            if let Some(ca) = moved {
                (ca.phase, ca.since, ca.compromised) = (step.to, at, step.compromised);
            }
        }
    }

    /// A node is waited for that has said nothing yet.
    pub(super) fn awaits(&mut self, number: u64, since: Millis) {
        if self.nodes.iter().all(|known| known.number != number) {
            self.nodes.push(Node { number, epoch: 0, at: since });
        }
    }

    pub(super) fn acked(&mut self, node: Node) {
        match self.nodes.iter_mut().find(|known| known.number == node.number) {
            Some(known) => *known = node,
            None => self.nodes.push(node),
        }
    }
}
