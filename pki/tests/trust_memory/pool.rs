//! Chains of every kind, good and forged, for one store with two roots.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use fieldmesh_pki::{Identity, Kind, TrustStore, Usage};
use rcgen::{
    BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PKCS_ECDSA_P521_SHA512,
    PKCS_ED25519,
};

use crate::chains::{
    BEGIN_S, CA_END_S, Ca, DAY_S, LEAF_END_S, NOW, date, dns, identity, names, uri,
};

/// Where something begins or ends, on both sides; a beginning may be five minutes ahead.
pub(crate) const TIMES: &[u64] = &[
    BEGIN_S - 301,
    BEGIN_S - 300,
    BEGIN_S,
    NOW,
    NOW + DAY_S,
    NOW + DAY_S + 1,
    NOW + 2 * DAY_S,
    LEAF_END_S,
    LEAF_END_S + 1,
    CA_END_S + 1,
];
pub(crate) const USAGES: [Usage; 3] = [Usage::ClientAuth, Usage::ServerAuth, Usage::Signing];

/// A leaf with what is sent beside it.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) leaf: Vec<u8>,
    pub(crate) chain: Vec<Vec<u8>>,
    /// Whether it is believed for some use now.
    pub(crate) is_good: bool,
}

pub(crate) struct Pool {
    roots: Vec<Vec<u8>>,
    known: Vec<Vec<u8>>,
    pub(crate) cases: Vec<Case>,
}

/// The authorities that cases are made with.
struct World {
    root: Ca,
    second: Ca,
    eu1: Ca,
    us1: Ca,
    /// As `eu1` by name, but of the second root.
    twin: Ca,
    /// Not sent, but known to the store.
    known: Ca,
}

impl World {
    fn new() -> Self {
        let (root, second) = (Ca::root(|_| {}), Ca::root(|_| {}));
        let (eu1, us1) = (root.issuing("eu1", |_| {}), root.issuing("us1", |_| {}));
        let (twin, known) = (second.issuing("eu1", |_| {}), root.issuing("ap1", |_| {}));
        Self { root, second, eu1, us1, twin, known }
    }
}

fn node() -> Identity {
    identity("eu1", Kind::Node)
}

impl Pool {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let roots = vec![world.root.der.clone(), world.second.der.clone()];
        let known = vec![world.known.der.clone()];
        let mut pool = Self { roots, known, cases: Vec::new() };
        pool.good(&world);
        pool.brief(&world);
        pool.misused(&world);
        pool.misnamed(&world);
        pool.forged(&world);
        pool.too_deep(&world);
        pool
    }

    pub(crate) fn store(&self) -> TrustStore {
        TrustStore::new(self.roots.clone(), self.known.clone()).unwrap()
    }

    fn add(&mut self, is_good: bool, what: &'static str, leaf: Vec<u8>, chain: &[&Ca]) {
        let chain = chain.iter().map(|ca| ca.der.clone()).collect();
        self.cases.push(Case { what, leaf, chain, is_good });
    }

    fn good(&mut self, world: &World) {
        let World { root, second, eu1, us1, twin, known } = world;
        self.add(true, "a node", eu1.node("eu1"), &[eu1]);
        self.add(true, "its neighbour", eu1.node("eu1"), &[eu1]);
        self.add(true, "another region's", us1.node("us1"), &[us1]);
        self.add(true, "the second root's", twin.node("eu1"), &[twin]);
        self.add(true, "among namesakes", twin.node("eu1"), &[eu1, twin]);
        self.add(true, "of a known CA", known.node("ap1"), &[]);
        self.add(true, "with the root", eu1.node("eu1"), &[root, eu1, eu1, second]);
        self.add(true, "the root's own", root.node("eu1"), &[]);
        let service = eu1.leaf(&identity("eu1", Kind::Service), |params| {
            params.extended_key_usages.clear();
        });
        self.add(true, "a signer", service, &[eu1]);
        let free = root.issuing("free", |params| params.name_constraints = None);
        self.add(true, "of a CA without constraints", free.node("us1"), &[&free]);
        let edwards = root.issuing_by(&PKCS_ED25519, "eu1", |_| {});
        self.add(true, "of a CA with Ed25519", edwards.node("eu1"), &[&edwards]);
        let split = root.issuing("eu1", |params| {
            params.name_constraints = names(&["acme.test"], &["us1.acme.test"]);
        });
        self.add(true, "of a split CA", split.node("eu1"), &[&split]);
        self.add(false, "excluded by it", split.node("us1"), &[&split]);
    }

    /// Of leaves and authorities that begin late or end early.
    fn brief(&mut self, world: &World) {
        let World { root, eu1, .. } = world;
        let brief = root.issuing("eu1", |params| params.not_after = date(NOW + DAY_S));
        self.add(true, "of a brief CA", brief.node("eu1"), &[&brief]);
        let late = root.issuing("eu1", |params| params.not_before = date(NOW + DAY_S + 1));
        self.add(false, "of a late CA", late.node("eu1"), &[&late]);
        let soon = root.issuing("eu1", |params| params.not_before = date(NOW + 200));
        self.add(true, "of a CA that begins soon", soon.node("eu1"), &[&soon]);
        let ended = eu1.leaf(&node(), |params| params.not_after = date(NOW - 1));
        self.add(false, "ended", ended, &[eu1]);
        let begins = eu1.leaf(&node(), |params| params.not_before = date(NOW + DAY_S + 1));
        self.add(false, "not begun", begins, &[eu1]);
        let begins = eu1.leaf(&node(), |params| params.not_before = date(NOW + 200));
        self.add(true, "about to begin", begins, &[eu1]);
        let forever = eu1.leaf(&node(), |params| params.not_after = date(CA_END_S + DAY_S));
        self.add(true, "outliving its CA", forever, &[eu1]);
    }

    fn misused(&mut self, world: &World) {
        let World { eu1, .. } = world;
        let client = eu1.leaf(&node(), |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        self.add(true, "a client only", client, &[eu1]);
        let ocsp = eu1.leaf(&node(), |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        });
        self.add(false, "an OCSP signer", ocsp, &[eu1]);
        let agrees = eu1.leaf(&node(), |params| {
            params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        });
        self.add(false, "not for signing", agrees, &[eu1]);
        let both = eu1.leaf(&node(), |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        });
        self.add(false, "a leaf that is a CA", both, &[eu1]);
        self.add(false, "the issuing CA itself", eu1.der.clone(), &[eu1]);
    }

    fn misnamed(&mut self, world: &World) {
        let World { eu1, .. } = world;
        let foreign = identity("us1", Kind::Node);
        self.add(false, "a foreign region's", eu1.node("us1"), &[eu1]);
        let other = eu1.leaf(&node(), |params| {
            params.subject_alt_names.push(dns("x.us1.acme.test"));
        });
        self.add(false, "a foreign name more", other, &[eu1]);
        let mixed = eu1.leaf(&foreign, |params| {
            params.subject_alt_names = vec![uri(&foreign), dns(&node().dns_name())];
        });
        self.add(false, "a foreign URI", mixed, &[eu1]);
        let nameless = eu1.leaf(&node(), |params| params.subject_alt_names.clear());
        self.add(false, "without names", nameless, &[eu1]);
        let two = eu1.leaf(&node(), |params| {
            params.subject_alt_names.push(uri(&identity("eu1", Kind::Operator)));
        });
        self.add(false, "two identities", two, &[eu1]);
        let loopback = eu1.leaf(&node(), |params| {
            params.subject_alt_names.push(dns("localhost"));
        });
        self.add(true, "also localhost", loopback, &[eu1]);
    }

    fn forged(&mut self, world: &World) {
        let World { root, eu1, twin, .. } = world;
        self.add(false, "by an impostor", eu1.impostor().node("eu1"), &[eu1]);
        self.add(false, "by a root's impostor", root.impostor().node("eu1"), &[]);
        let false_ca = root.impostor().issuing("eu1", |_| {});
        self.add(false, "of a false CA", false_ca.node("eu1"), &[&false_ca]);
        self.add(false, "of a false CA, with the right one", false_ca.node("eu1"), &[eu1, twin]);
        let stranger = Ca::root(|_| {});
        let strange = stranger.issuing("eu1", |_| {});
        self.add(false, "a stranger's", strange.node("eu1"), &[&strange, &stranger]);
        let large = root.issuing_by(&PKCS_ECDSA_P521_SHA512, "eu1", |_| {});
        self.add(false, "of a CA with P-521", large.node("eu1"), &[&large]);
        let mut bent = eu1.node("eu1");
        *bent.last_mut().unwrap() ^= 1;
        self.add(false, "bent", bent, &[eu1]);
        let mut longer = eu1.node("eu1");
        longer.push(0);
        self.add(false, "with a byte more", longer, &[eu1]);
        self.add(false, "rubbish", vec![0x30; 40], &[eu1]);
    }

    fn too_deep(&mut self, world: &World) {
        let World { root, eu1, .. } = world;
        let below = eu1.issuing("eu1", |_| {});
        self.add(false, "below a last CA", below.node("eu1"), &[&below, eu1]);
        self.add(false, "below a last CA, not sent", below.node("eu1"), &[&below]);
        let holder = eu1.holder(&node());
        self.add(false, "by a leaf", holder.node("eu1"), &[&holder, eu1]);
        let deep = root.issuing("deep", |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.name_constraints = None;
        });
        let below = deep.issuing("eu1", |_| {});
        self.add(true, "below a CA that may", below.node("eu1"), &[&below, &deep]);
        self.add(true, "beside it", deep.node("eu1"), &[&deep]);
        self.add(false, "misnamed below it", below.node("us1"), &[&below, &deep]);
    }
}
