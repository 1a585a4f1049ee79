//! What a trust store remembers of issuing CAs makes it faster, and changes nothing else.

#![allow(clippy::unwrap_used, clippy::unwrap_in_result, reason = "tests fail by panicking")]

#[path = "trust_memory/chains.rs"]
mod chains;
#[path = "trust_memory/pool.rs"]
mod pool;

use std::sync::LazyLock;

use chains::{BEGIN_S, CA_END_S, Ca, DAY_S, Filled, LEAF_END_S, NOW};
use chains::{date, dns, identity, names, remembered, uri};
use fieldmesh_pki::{
    KeyMaterial, Kind, RootCa, TrustError, TrustStore, Usage, is_self_issued, is_self_signed,
    profile,
};
use pool::{Pool, TIMES, USAGES};
use proptest::{prelude::*, sample::select};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

/// As many as a store remembers.
const REMEMBERED_MAX: usize = 64;

static POOL: LazyLock<Pool> = LazyLock::new(Pool::new);

#[test]
fn a_remembered_ca_that_ends_takes_its_leaves_with_it() {
    let root = Ca::root(|_| {});
    let end_s = NOW + DAY_S;
    let issuing = root.issuing("eu1", |params| params.not_after = date(end_s));
    let filled = Filled::of(root, issuing);
    let node = filled.issuing.node("eu1");
    let verify =
        |now_s| filled.verify(&node, &[&filled.issuing.der], Usage::ServerAuth, now_s).map(|_| ());
    assert_eq!(verify(end_s), Ok(()));
    let expired = TrustError::Expired { not_after: end_s, now: end_s + 1 };
    assert_eq!(verify(end_s + 1), Err(expired.clone()));
    // Nor is it where it is not sent, or within the grace of its leaf.
    let bare = filled.trust.verify(&node, &[], Usage::ServerAuth, end_s + 1);
    assert_eq!(bare, Err(TrustError::UnknownIssuer));
    let lapsed = |trust: &TrustStore| {
        let chain = [&filled.issuing.der[..]];
        trust.verify_lapsed(&node, &chain, Usage::ServerAuth, end_s + 1, &|_| u64::MAX)
    };
    assert_eq!(lapsed(&filled.trust), Err(expired));
    assert_eq!(lapsed(&filled.trust), lapsed(&filled.fresh()));
    // A clock that is set back finds it as it was.
    assert_eq!(verify(NOW), Ok(()));
    let early = TrustError::NotYetValid { not_before: BEGIN_S, now: BEGIN_S - 301 };
    assert_eq!(verify(BEGIN_S - 301), Err(early));
}

#[test]
fn the_names_of_a_remembered_ca_stay_constrained() {
    let filled = Filled::new();
    let (here, foreign) = (identity("eu1", Kind::Node), identity("us1", Kind::Node));
    let with = |name: &'static str| {
        filled.issuing.leaf(&here, |params| params.subject_alt_names.push(dns(name)))
    };
    assert!(filled.client(&with("localhost")).is_ok());
    for leaf in [
        filled.issuing.node("us1"),
        with("x.us1.acme.test"),
        with("acme.test"),
        with("eu1.acme.test.evil.test"),
        with("xeu1.acme.test"),
    ] {
        let refused = filled.client(&leaf);
        assert!(matches!(refused, Err(TrustError::Invalid(_))), "{refused:?}");
        let bare = filled.trust.verify(&leaf, &[], Usage::ClientAuth, NOW);
        assert_eq!(bare, Err(TrustError::UnknownIssuer));
    }
    // A foreign URI beside a name of the region, and names that make no identity.
    for names in [vec![uri(&foreign), dns(&here.dns_name())], vec![dns(&here.dns_name())], vec![]] {
        let leaf = filled.issuing.leaf(&here, |params| params.subject_alt_names = names);
        assert_eq!(filled.client(&leaf), Err(TrustError::BadIdentity));
    }
}

#[test]
fn a_remembered_ca_excuses_no_wrong_use() {
    let filled = Filled::new();
    let who = identity("eu1", Kind::Node);
    let (client, server) =
        (ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth);
    for (purposes, fitting) in [
        (vec![client.clone()], vec![Usage::ClientAuth]),
        (vec![server.clone()], vec![Usage::ServerAuth]),
        (vec![client, server], vec![Usage::ClientAuth, Usage::ServerAuth]),
        (vec![], vec![Usage::Signing]),
        (vec![ExtendedKeyUsagePurpose::OcspSigning], vec![]),
    ] {
        let leaf = filled.issuing.leaf(&who, |params| params.extended_key_usages = purposes);
        for usage in USAGES {
            let result = filled.verify(&leaf, &[&filled.issuing.der], usage, NOW);
            let wanted = if fitting.contains(&usage) { None } else { Some(TrustError::WrongUsage) };
            assert_eq!(result.err(), wanted, "{usage:?} of {fitting:?}");
        }
    }
    for usages in [vec![], vec![KeyUsagePurpose::KeyAgreement]] {
        let leaf = filled.issuing.leaf(&who, |params| params.key_usages = usages);
        assert_eq!(filled.client(&leaf), Err(TrustError::WrongUsage));
    }
}

#[test]
fn a_leaf_out_of_its_time_is_told_so_under_a_remembered_ca() {
    let filled = Filled::new();
    let begins_s = NOW + 1000;
    let node = filled.issuing.leaf(&identity("eu1", Kind::Node), |params| {
        params.not_before = date(begins_s);
    });
    let chain = [&filled.issuing.der[..]];
    let verify = |now_s| filled.verify(&node, &chain, Usage::ClientAuth, now_s).map(|_| ());
    let early = |now| Err(TrustError::NotYetValid { not_before: begins_s, now });
    let expired = |now| Err(TrustError::Expired { not_after: LEAF_END_S, now });
    for (now_s, wanted) in [
        (begins_s - 301, early(begins_s - 301)),
        (begins_s - 300, Ok(())),
        (begins_s, Ok(())),
        (LEAF_END_S, Ok(())),
        (LEAF_END_S + 1, expired(LEAF_END_S + 1)),
        // Of leaf and CA, the leaf is named.
        (CA_END_S + 1, expired(CA_END_S + 1)),
    ] {
        assert_eq!(verify(now_s), wanted, "{now_s}");
    }
    let lapsed = |trust: &TrustStore, now_s| {
        trust.verify_lapsed(&node, &chain, Usage::ClientAuth, now_s, &|_| DAY_S).map(|_| ())
    };
    let last_s = LEAF_END_S + DAY_S;
    for (now_s, wanted) in [(last_s, Ok(())), (last_s + 1, expired(last_s + 1))] {
        assert_eq!(lapsed(&filled.trust, now_s), wanted);
        assert_eq!(lapsed(&filled.fresh(), now_s), wanted);
    }
}

#[test]
fn a_remembered_name_vouches_for_no_other_key() {
    let filled = Filled::new();
    let issuing = &filled.issuing;
    let false_ca = filled.root.impostor().issuing("eu1", |_| {});
    let stranger = Ca::root(|_| {});
    let strange = stranger.issuing("eu1", |_| {});
    let mut bent = issuing.node("eu1");
    *bent.last_mut().unwrap() ^= 1;
    for (what, leaf) in [
        ("an impostor's", issuing.impostor().node("eu1")),
        ("a false CA's", false_ca.node("eu1")),
        ("a strange CA's", strange.node("eu1")),
        ("bent", bent),
    ] {
        for chain in [
            &[][..],
            &[&issuing.der[..]],
            &[&false_ca.der, &issuing.der],
            &[&strange.der, &stranger.der],
            &[&issuing.der, &strange.der, &filled.root.der],
        ] {
            for usage in USAGES {
                let result = filled.verify(&leaf, chain, usage, NOW);
                let is_refused = match &result {
                    Err(TrustError::UnknownIssuer) => true,
                    // A node's certificate is not for this use, whoever signed it.
                    Err(TrustError::WrongUsage) => usage == Usage::Signing,
                    _ => false,
                };
                assert!(is_refused, "{what}, {} sent, {usage:?}: {result:?}", chain.len());
            }
        }
    }
    assert_eq!(remembered(&filled.trust), 1);
}

#[test]
fn a_remembered_ca_has_no_ca_below_it() {
    let filled = Filled::new();
    let (issuing, who) = (&filled.issuing, identity("eu1", Kind::Node));
    let below = issuing.issuing("eu1", |_| {});
    let renamed = issuing.issuing("eu2", |params| params.name_constraints = None);
    let holder = issuing.holder(&who);
    assert!(filled.client(&holder.der).is_ok());
    for (what, last) in [("namesake", &below), ("CA", &renamed), ("leaf", &holder)] {
        let leaf = last.node("eu1");
        for chain in [&[&last.der[..], &issuing.der][..], &[&issuing.der, &last.der]] {
            let refused = filled.verify(&leaf, chain, Usage::ClientAuth, NOW);
            assert!(refused.is_err(), "{what}: {refused:?}");
        }
        // The CA above it is in the memory only.
        let refused = filled.verify(&leaf, &[&last.der], Usage::ClientAuth, NOW);
        assert!(refused.is_err(), "{what}: {refused:?}");
        assert!(filled.verify(&leaf, &[], Usage::ClientAuth, NOW).is_err(), "{what}");
    }
    let both = issuing.leaf(&who, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    });
    for leaf in [both, below.der, issuing.der.clone()] {
        assert!(matches!(filled.client(&leaf), Err(TrustError::Invalid(_))));
    }
    assert_eq!(remembered(&filled.trust), 1);
}

#[test]
fn only_what_a_root_signed_itself_is_remembered() {
    let root = Ca::root(|_| {});
    let trust = TrustStore::new(vec![root.der.clone()], Vec::new()).unwrap();
    let verify = |leaf: &[u8], chain: &[&[u8]]| trust.verify(leaf, chain, Usage::ClientAuth, NOW);
    let eu1 = root.issuing("eu1", |_| {});
    let ended = eu1.leaf(&identity("eu1", Kind::Node), |params| params.not_after = date(NOW - 1));
    let stranger = Ca::root(|_| {});
    let strange = stranger.issuing("eu1", |_| {});
    assert!(verify(&ended, &[&eu1.der]).is_err());
    assert!(verify(&eu1.node("us1"), &[&eu1.der]).is_err());
    assert!(verify(&eu1.impostor().node("eu1"), &[&eu1.der]).is_err());
    assert!(verify(&strange.node("eu1"), &[&strange.der, &stranger.der]).is_err());
    assert!(verify(&root.node("eu1"), &[]).is_ok());
    let deep =
        root.issuing("eu1", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let below = deep.issuing("eu1", |_| {});
    assert!(verify(&below.node("eu1"), &[&below.der, &deep.der]).is_ok());
    assert_eq!(remembered(&trust), 0);
    assert_eq!(verify(&below.node("eu1"), &[&below.der]), Err(TrustError::UnknownIssuer));
    assert!(verify(&eu1.node("eu1"), &[&eu1.der]).is_ok());
    assert_eq!(remembered(&trust), 1);
}

/// A peer could send the remembered certificate itself, so that this gives nothing away.
#[test]
fn what_is_sent_beside_a_leaf_of_a_remembered_ca_does_not_matter() {
    let filled = Filled::new();
    let (root, issuing) = (&filled.root, &filled.issuing);
    let mut bent = issuing.der.clone();
    *bent.last_mut().unwrap() ^= 1;
    let ended = root.again(issuing, |params| params.not_after = date(NOW - 1));
    let node = issuing.node("eu1");
    let right = filled.client(&node);
    assert!(right.is_ok());
    for chain in [&[][..], &[&[0x30; 40][..]], &[&bent], &[&ended.der], &[&root.der, &node]] {
        assert_eq!(filled.trust.verify(&node, chain, Usage::ClientAuth, NOW), right);
        assert!(filled.fresh().verify(&node, chain, Usage::ClientAuth, NOW).is_err());
    }
}

#[test]
fn a_ca_with_uses_that_it_is_limited_to_is_verified_anew() {
    let root = Ca::root(|_| {});
    let issuing = root.issuing("eu1", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let filled = Filled::of(root, issuing);
    let (issuing, who) = (&filled.issuing, identity("eu1", Kind::Service));
    let refused = filled.verify(&issuing.node("eu1"), &[&issuing.der], Usage::ServerAuth, NOW);
    assert_eq!(refused, Err(TrustError::WrongUsage));
    let signer = issuing.leaf(&who, |params| params.extended_key_usages.clear());
    let refused = filled.verify(&signer, &[&issuing.der], Usage::Signing, NOW);
    assert_eq!(refused, Err(TrustError::WrongUsage));
}

#[test]
fn a_ca_below_a_limited_root_is_verified_anew() {
    let root = Ca::root(|params| params.name_constraints = names(&["eu1.acme.test"], &[]));
    let issuing =
        root.issuing("eu1", |params| params.name_constraints = names(&["acme.test"], &[]));
    let filled = Filled::of(root, issuing);
    let refused = filled.client(&filled.issuing.node("us1"));
    assert!(matches!(refused, Err(TrustError::Invalid(_))), "{refused:?}");
}

#[test]
fn a_full_memory_forgets_the_oldest_and_grows_no_more() {
    let root = RootCa::create("acme.test", NOW, [1; 16]).unwrap();
    let trust = TrustStore::new(vec![root.certificate().to_vec()], Vec::new()).unwrap();
    let chain = |number: usize| {
        let (region, serial) = (format!("r{number}"), [number as u8; 16]);
        let (issuing, _) = root.issue_issuing(&region, 1, NOW, serial).unwrap();
        let spki = KeyMaterial::generate().unwrap().spki();
        let life = profile(Kind::Node).life(NOW, 0);
        let who = identity(&region, Kind::Node);
        let leaf = issuing.issue(&spki, &who, &[], life, serial).unwrap().der;
        (leaf, issuing.certificate().to_vec())
    };
    let chains: Vec<_> = (0..REMEMBERED_MAX + 6).map(chain).collect();
    for round in 0..3 {
        for (at, (leaf, issuing)) in chains.iter().enumerate() {
            let peer = trust.verify(leaf, &[issuing], Usage::ClientAuth, NOW).unwrap();
            assert_eq!(peer.identity.region, format!("r{at}"));
            let known = if round == 0 { at + 1 } else { chains.len() };
            assert_eq!(remembered(&trust), known.min(REMEMBERED_MAX));
        }
    }
    for (at, (leaf, issuing)) in chains.iter().enumerate() {
        let bare = trust.verify(leaf, &[], Usage::ClientAuth, NOW);
        assert_eq!(bare.is_ok(), at >= chains.len() - REMEMBERED_MAX, "{at}");
        let mut bent = leaf.clone();
        *bent.last_mut().unwrap() ^= 1;
        let refused = trust.verify(&bent, &[issuing], Usage::ClientAuth, NOW);
        assert_eq!(refused, Err(TrustError::UnknownIssuer), "{at}");
    }
}

#[test]
fn of_a_pool_of_chains_the_good_ones_are_believed_and_remembered() {
    let (pool, trust) = (&*POOL, POOL.store());
    for case in &pool.cases {
        let chain: Vec<&[u8]> = case.chain.iter().map(Vec::as_slice).collect();
        let verify = |usage| trust.verify(&case.leaf, &chain, usage, NOW);
        let is_good = USAGES.into_iter().any(|usage| verify(usage).is_ok());
        assert_eq!(is_good, case.is_good, "{}: {:?}", case.what, USAGES.map(verify));
    }
    assert!(remembered(&trust) >= 8, "{}", remembered(&trust));
    // Now it knows everything that it can.
    for case in &pool.cases {
        for usage in USAGES {
            for now_s in TIMES {
                agrees(&trust, case, usage, *now_s);
            }
        }
    }
}

/// A store that has verified before says what one says that has not.
fn agrees(trust: &TrustStore, case: &pool::Case, usage: Usage, now_s: u64) {
    let chain: Vec<&[u8]> = case.chain.iter().map(Vec::as_slice).collect();
    let (leaf, fresh, what) = (&case.leaf, POOL.store(), case.what);
    let result = trust.verify(leaf, &chain, usage, now_s);
    let wanted = fresh.verify(leaf, &chain, usage, now_s);
    assert_eq!(result, wanted, "{what}, {usage:?} at {now_s}");
    let grace = |_| 2 * DAY_S;
    let result = trust.verify_lapsed(leaf, &chain, usage, now_s, &grace);
    let wanted = POOL.store().verify_lapsed(leaf, &chain, usage, now_s, &grace);
    assert_eq!(result, wanted, "{what}, {usage:?}, lapsed at {now_s}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn in_any_order_a_memory_changes_no_result(steps in prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            prop_oneof![3 => Just(Usage::ClientAuth), 2 => select(&USAGES[..])],
            prop_oneof![3 => Just(NOW), 2 => select(TIMES)],
        ),
        1..60,
    )) {
        let trust = POOL.store();
        for (case, usage, now_s) in steps {
            agrees(&trust, case.get(&POOL.cases), usage, now_s);
        }
    }
}

#[test]
fn a_certificate_that_names_itself_as_issuer_is_self_issued_whoever_signed_it() {
    let root = Ca::root(|_| {});
    let issuing = root.issuing("eu1", |_| {});
    assert!(is_self_issued(&root.der) && is_self_signed(&root.der));
    for der in [&issuing.der, &issuing.node("eu1"), &issuing.impostor().node("eu1")] {
        assert!(!is_self_issued(der));
    }
    // Of the root's name, by a namesake's key.
    let rolled = Ca::root(|_| {}).again(&root, |_| {});
    assert!(is_self_issued(&rolled.der) && !is_self_signed(&rolled.der));
    let longer = [&root.der[..], &[0]].concat();
    for der in [&[][..], &[0x30; 40], &longer, &root.der[..root.der.len() - 1]] {
        assert!(!is_self_issued(der));
    }
}
