//! Exports: a whole one passes, and whatever is done to it is found.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{Identity, Kind, RootCa, TrustStore, Usage, profile};

/// Heads at nothing, twice at 5, at 9 by a second key, and at the end.
fn lines(first: &Owner, second: &Owner) -> Vec<String> {
    let leaves = leaves();
    let entry = |at: usize| entry_line(&leaves[at]).unwrap();
    let head = |owner: &Owner, size, order| head_line(&owner.head(size, START_MS + order));
    let mut lines = vec![header_line(CLUSTER, REGION), signer_line(&first.chain)];
    lines.push(head(first, 0, 0));
    lines.extend((0..5).map(entry));
    lines.extend([head(first, 5, 1), head(first, 5, 2)]);
    lines.extend((5..9).map(entry));
    lines.extend([signer_line(&second.chain), head(second, 9, 3)]);
    lines.extend((9..leaves.len()).map(entry));
    lines.extend([head(second, leaves.len(), 4), end_line(leaves.len() as u64, 5, 2)]);
    lines
}

fn verify(text: &[u8], owners: [&Owner; 2]) -> Result<Verified, LedgerError> {
    let [first, second] = owners.map(Owner::trusts);
    verify_export(text, &|signer| first(signer) || second(signer), None)
}

/// What an export says, whatever its spelling; none where it is not lines of JSON.
fn meaning(text: &[u8]) -> Option<Vec<Value>> {
    text.split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).ok())
        .collect()
}

/// The first fault of lines, with its place.
fn fault(lines: &[String], owners: [&Owner; 2]) -> (u64, LedgerFault) {
    let error = verify(lines.concat().as_bytes(), owners).unwrap_err();
    assert!(error.to_string().starts_with(&format!("line {}: ", error.line)));
    (error.line, error.fault)
}

#[test]
fn a_whole_export_passes_and_says_what_it_is() {
    let (first, second) = (Owner::new(), Owner::new());
    let lines = lines(&first, &second);
    let verified = verify(lines.concat().as_bytes(), [&first, &second]).unwrap();
    assert_eq!((verified.entries, verified.heads), (18, 5));
    assert_eq!(verified.last, second.head(18, START_MS + 4).with(&verified.last.signature));
    // Line ends of another system, and none at the end, change nothing.
    let text = lines.concat().replace('\n', "\r\n");
    assert!(verify(text.trim_end().as_bytes(), [&first, &second]).is_ok());
    let entry: Value = serde_json::from_str(&lines[3]).unwrap();
    assert_eq!(entry["entry"]["at"], "2026-01-01T00:00:00.000Z");
    assert_eq!(entry["entry"]["action"]["issued"]["serial"], "7f0203");
}

impl SignedHead {
    /// Signatures are random.
    fn with(self, signature: &[u8]) -> Self {
        Self { signature: signature.to_vec(), ..self }
    }
}

#[test]
fn each_fault_has_its_line_and_its_name() {
    let owners = [&Owner::new(), &Owner::new()];
    let good = lines(owners[0], owners[1]);
    let edited = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut lines = good.clone();
        edit(&mut lines);
        fault(&lines, owners)
    };
    let without = |at: usize| edited(&|lines| drop(lines.remove(at)));
    assert_eq!(without(0), (1, LedgerFault::Header));
    assert_eq!(without(1), (2, LedgerFault::NoSigner));
    let counts = |entries, heads, signers| LedgerFault::Counts { entries, heads, signers };
    assert_eq!(without(2), (3, LedgerFault::SignerPlace));
    assert_eq!(without(4), (5, LedgerFault::Number { found: 2, expected: 1 }));
    assert_eq!(without(7), (8, LedgerFault::HeadSize { size: 5, entries: 4 }));
    assert_eq!(without(8), (26, counts(18, 5, 2)));
    assert_eq!(without(14).1, LedgerFault::Head(HeadError::OtherKey));
    assert_eq!(without(25), (26, counts(18, 5, 2)));
    assert_eq!(without(26), (26, LedgerFault::NoEnd));
    let uncovered = edited(&|lines| {
        lines.truncate(25);
        lines.push(end_line(18, 4, 2));
    });
    assert_eq!(uncovered, (26, LedgerFault::Uncovered { entries: 18, covered: 9 }));
    assert_eq!(edited(&|lines| lines.swap(13, 14)), (15, LedgerFault::SignerPlace));
    assert_eq!(
        edited(&|lines| lines.insert(9, lines[8].clone())),
        (10, LedgerFault::HeadTime { at_ms: START_MS + 1, before_ms: START_MS + 1 })
    );
    assert_eq!(edited(&|lines| lines.push(lines[26].clone())), (28, LedgerFault::AfterEnd));
    assert_eq!(edited(&|lines| lines.insert(3, lines[0].clone())), (4, LedgerFault::Header));
    assert_eq!(
        edited(&|lines| lines[0] = lines[0].replace("v1", "v2")),
        (1, LedgerFault::Format("fieldmesh ledger v2".to_owned()))
    );
    assert_eq!(
        edited(&|lines| lines[4] = lines[4].replace("\"authority\"", "\"somebody\"")),
        (5, LedgerFault::Differs)
    );
    assert_eq!(
        edited(&|lines| lines[7] = "x".repeat(LINE_BYTES_MAX + 1)),
        (8, LedgerFault::TooLong)
    );
    assert!(matches!(edited(&|lines| lines[7] = "{}\n".into()), (8, LedgerFault::Malformed(_))));
    let empty = [header_line(CLUSTER, REGION), end_line(0, 0, 0)];
    assert_eq!(fault(&empty, owners), (2, LedgerFault::NoHead));
    assert_eq!(fault(&[], owners), (0, LedgerFault::NoEnd));
}

#[test]
fn an_entry_rewritten_with_its_bytes_is_found_by_the_next_head() {
    let owners = [&Owner::new(), &Owner::new()];
    let mut lines = lines(owners[0], owners[1]);
    let forged = Entry { actor: "nobody".to_owned(), ..entries().remove(6) };
    lines[11] = entry_line(&forged.to_bytes().unwrap()).unwrap();
    assert_eq!(fault(&lines, owners), (16, LedgerFault::Root { size: 9 }));
}

#[test]
fn heads_of_another_key_or_log_are_found() {
    let (ours, theirs) = (Owner::new(), Owner::new());
    let owners = [&ours, &ours];
    let export = |signer: &Owner, head: &SignedHead| {
        let lines = [
            header_line(CLUSTER, REGION),
            signer_line(&signer.chain),
            head_line(head),
            end_line(0, 1, 1),
        ];
        verify(lines.concat().as_bytes(), owners).map_err(|error| error.fault)
    };
    let (good, bad) = (ours.head(0, 1), theirs.head(0, 1));
    assert!(export(&ours, &good).is_ok());
    assert_eq!(export(&theirs, &bad), Err(LedgerFault::Untrusted));
    assert_eq!(export(&ours, &bad), Err(LedgerFault::Head(HeadError::OtherKey)));
    let posing = SignedHead { key_id: good.key_id, ..bad };
    assert_eq!(export(&ours, &posing), Err(LedgerFault::Head(HeadError::Signature)));
    let later = SignedHead { at_ms: 2, ..good };
    assert_eq!(export(&ours, &later), Err(LedgerFault::Head(HeadError::Signature)));
    let foreign = ours.sign((CLUSTER, "us1"), &Frontier::default(), 1);
    assert!(matches!(export(&ours, &foreign), Err(LedgerFault::OtherLog { .. })));
}

#[test]
fn an_earlier_head_tells_a_continuation_from_a_rewriting_and_from_an_old_copy() {
    let owner = Owner::new();
    let text = |entries: &[Entry]| {
        let leaves: Vec<Vec<u8>> = entries.iter().map(|entry| entry.to_bytes().unwrap()).collect();
        let frontier: Frontier = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let head = owner.sign((CLUSTER, REGION), &frontier, START_MS);
        let mut lines = vec![header_line(CLUSTER, REGION)];
        lines.extend(leaves.iter().map(|leaf| entry_line(leaf).unwrap()));
        let end = end_line(leaves.len() as u64, 1, 1);
        lines.extend([signer_line(&owner.chain), head_line(&head), end]);
        lines.concat()
    };
    let check = |text: &str, known: &SignedHead| {
        verify_export(text.as_bytes(), &owner.trusts(), Some(known)).map_err(|error| error.fault)
    };
    let whole = text(&entries());
    for size in 0..=18 {
        assert!(check(&whole, &owner.head(size, 0)).is_ok(), "{size}");
    }
    let mut rewritten = entries();
    rewritten[3].actor = "nobody".to_owned();
    let rewritten = text(&rewritten);
    assert!(check(&rewritten, &owner.head(3, 0)).is_ok());
    assert_eq!(check(&rewritten, &owner.head(4, 0)), Err(LedgerFault::Rewritten { size: 4 }));
    let old = text(&entries()[..9]);
    assert_eq!(check(&old, &owner.head(12, 0)), Err(LedgerFault::Older { size: 12, entries: 9 }));
    let other = SignedHead { region: "us1".to_owned(), ..owner.head(0, 0) };
    assert_eq!(check(&whole, &other), Err(LedgerFault::Rewritten { size: 0 }));
}

#[test]
fn an_expired_ledger_certificate_still_vouches_for_its_own_time() {
    let now_s = START_MS / 1000;
    let root = RootCa::create(CLUSTER, now_s, [1; 16]).unwrap();
    let (issuing, _) = root.issue_issuing(REGION, 1, now_s, [2; 16]).unwrap();
    let identity = Identity {
        cluster: CLUSTER.to_owned(),
        region: REGION.to_owned(),
        kind: Kind::Service,
        id: [7; 16],
    };
    let mut owner = Owner::new();
    let (spki, life) = (owner.material.spki(), profile(Kind::Service).life(now_s, 0));
    let leaf = issuing.issue(&spki, &identity, &[], life, [3; 16]).unwrap();
    let not_after_s = leaf.not_after;
    owner.chain = vec![leaf.der, issuing.certificate().to_vec()];

    let store = TrustStore::new(vec![root.certificate().to_vec()], Vec::new()).unwrap();
    let trusted = |signer: &Signer<'_>| {
        let issuers: Vec<&[u8]> = signer.issuers.iter().map(Vec::as_slice).collect();
        store
            .verify(signer.key, &issuers, Usage::Signing, signer.at_s)
            .is_ok_and(|peer| peer.identity.region == signer.region)
    };
    let export = |heads: &[u64]| {
        let mut lines = vec![header_line(CLUSTER, REGION), signer_line(&owner.chain)];
        lines.extend(heads.iter().map(|at_s| head_line(&owner.head(0, at_s * 1000))));
        lines.push(end_line(0, heads.len() as u64, 1));
        verify_export(lines.concat().as_bytes(), &trusted, None).map_err(|error| error.fault)
    };
    assert!(export(&[now_s, not_after_s]).is_ok());
    for at_s in [0, not_after_s + 1] {
        let fault = export(&[at_s]).unwrap_err();
        assert!(matches!(fault, LedgerFault::Head(HeadError::NotValidThen { .. })), "{fault}");
    }
    let fault = export(&[now_s, not_after_s + 1]).unwrap_err();
    assert!(matches!(fault, LedgerFault::Head(HeadError::NotValidThen { .. })), "{fault}");
}

#[test]
fn each_changed_bit_is_found() {
    let owner = Owner::new();
    let leaf = &leaves()[0];
    let lines = [
        header_line(CLUSTER, REGION),
        entry_line(leaf).unwrap(),
        signer_line(&owner.chain),
        head_line(&owner.head(1, START_MS)),
        end_line(1, 1, 1),
    ];
    let good = lines.concat().into_bytes();
    assert!(verify(&good, [&owner, &owner]).is_ok());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // Whitespace after the last line is the one change that says nothing.
        let is_same = meaning(&bad) == meaning(&good);
        assert_eq!(
            verify(&bad, [&owner, &owner]).is_ok(),
            is_same,
            "bit {} of {}",
            bit % 8,
            bit / 8
        );
    }
}

#[derive(Debug, Clone)]
enum Change {
    Byte(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Delete(prop::sample::Index),
    Cut(prop::sample::Index),
    RemoveLine(prop::sample::Index),
    RepeatLine(prop::sample::Index, prop::sample::Index),
    SwapLines(prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    // Bytes that JSON knows find more than random ones.
    let byte =
        prop_oneof![any::<u8>(), prop::sample::select(&b"0123456789abcdef{}[]\":,\\\n \t"[..])];
    prop_oneof![
        (index(), byte.clone()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (index(), byte).prop_map(|(at, byte)| Change::Insert(at, byte)),
        index().prop_map(Change::Delete),
        index().prop_map(Change::Cut),
        index().prop_map(Change::RemoveLine),
        (index(), index()).prop_map(|(from, to)| Change::RepeatLine(from, to)),
        (index(), index()).prop_map(|(one, other)| Change::SwapLines(one, other)),
    ]
}

fn changed(lines: &[String], change: &Change) -> Vec<u8> {
    let (mut lines, mut text) = (lines.to_vec(), lines.concat().into_bytes());
    let (count, length) = (lines.len(), text.len());
    match change {
        Change::Byte(at, byte) => text[at.index(length)] = *byte,
        Change::Insert(at, byte) => text.insert(at.index(length), *byte),
        Change::Delete(at) => drop(text.remove(at.index(length))),
        Change::Cut(at) => text.truncate(at.index(length)),
        Change::RemoveLine(at) => drop(lines.remove(at.index(count))),
        Change::RepeatLine(from, to) => {
            let line = lines[from.index(count)].clone();
            lines.insert(to.index(count), line);
        }
        Change::SwapLines(one, other) => lines.swap(one.index(count), other.index(count)),
    }
    match change {
        Change::RemoveLine(_) | Change::RepeatLine(..) | Change::SwapLines(..) => {
            lines.concat().into_bytes()
        }
        _ => text,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_changed_export_is_refused_or_says_the_same(change in change()) {
        thread_local! {
            static EXPORT: (Owner, Owner, Vec<String>) = {
                let (first, second) = (Owner::new(), Owner::new());
                let lines = lines(&first, &second);
                (first, second, lines)
            };
        }
        EXPORT.with(|(first, second, lines)| {
            let text = changed(lines, &change);
            let passes = verify(&text, [first, second]).is_ok();
            let says_the_same = meaning(&text) == meaning(lines.concat().as_bytes());
            // Reordered keys of an object say the same too, but no change here makes them.
            prop_assert_eq!(passes, says_the_same);
            Ok(())
        })?;
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = verify_export(&bytes[..], &|_| true, None);
    }
}
