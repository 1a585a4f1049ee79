//! What a group stores of itself, version and checksum included, and how its state travels and is kept.

use super::{HASH, ISSUER, are_frozen, is_kept, plain, unhex};
use crate::{
    backup::archive::{GroupPart, Manifest},
    consensus::{codec, transfer},
    deployment::{Admission, Welcome},
    store::{
        Batch, Engine, Role,
        rows::{self, name},
        simulated::Disk,
    },
};

#[test]
fn records_of_raft() {
    for frozen in [
        // Term 3, index 7: nothing, a proposal, who votes.
        "01 a1e4ca65 83 820307 00 f6",
        "01 c1430ead 83 820307 01 42 6869",
        "01 9742d4b1 83 820102 02 82 82 820102 820203 83010203",
    ] {
        let entry = codec::decode_entry(&unhex(frozen)).unwrap();
        assert_eq!(name(&codec::encode_entry(&entry)), plain(frozen));
    }
    let frozen = "01 7a6a6951 83 04 01 f4";
    let vote = codec::decode_vote(&unhex(frozen)).unwrap();
    assert_eq!((vote.leader_id.term, vote.leader_id.voted_for, vote.committed), (4, 1, false));
    assert_eq!(name(&codec::encode_vote(&vote)), plain(frozen));
    for (frozen, index) in [("01 a8b9d09c 820307", Some(7)), ("01 86dcb8a4 f6", None)] {
        let id = codec::decode_log_id(&unhex(frozen)).unwrap();
        assert_eq!(id.as_ref().map(|id| id.index), index);
        assert_eq!(name(&codec::encode_log_id(id.as_ref())), plain(frozen));
    }
    let frozen = "01 1b2c1831 83 820307 820102 82 81 820102 83010203";
    let (applied, members) = codec::decode_applied(&unhex(frozen)).unwrap();
    assert_eq!(members.membership().voter_ids().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(name(&codec::encode_applied(applied.as_ref(), &members)), plain(frozen));
}

#[test]
fn pieces_of_a_snapshot() {
    let frozen = "01 4a95993e 82 00 81 82 4161 4162";
    let table = Disk::default().open("piece", Role::State).unwrap();
    let mut batch = Batch::default();
    batch.put(b"a".to_vec(), b"b".to_vec());
    table.write(batch).unwrap();
    assert_eq!(name(&transfer::piece_behind(&*table, &[]).unwrap()), plain(frozen));
    let rows = transfer::read_piece(&unhex(frozen)).unwrap();
    assert_eq!(rows, Ok(vec![(b"a".to_vec(), b"b".to_vec())]));
    let end = "01 9a8fb21e 82 01 07";
    assert_eq!(name(&transfer::end_piece(7)), plain(end));
    assert_eq!(transfer::read_piece(&unhex(end)).unwrap(), Err(7));
    let head = "01 05cef1b9 84 830301f5 820307 820102 82 81 820102 83010203";
    let (vote, meta) = transfer::head(&unhex(head)).unwrap();
    assert_eq!((vote.leader_id.term, vote.leader_id.voted_for, vote.committed), (3, 1, true));
    assert_eq!(meta.last_log_id.map(|id| id.index), Some(7));
}

#[test]
fn lists_of_what_a_backup_has() {
    let part =
        GroupPart { group: 1, term: 3, index: 40, rows: 15, pieces: 4, bytes: 900, sha256: HASH };
    let manifest = Manifest {
        format: 1,
        cluster: "c".into(),
        region: "eu1".into(),
        shards: 4,
        taken_at_ms: 1,
        groups: vec![part],
        certificates: vec![ISSUER.into()],
    };
    are_frozen(&[(
        "87 01 6163 63657531 04 01 81 87 01 03 1828 0f 04 190384 <hash> 81 <issuer>",
        manifest,
    )]);
}

#[test]
fn what_a_joining_node_keeps_and_is_told() {
    let admission: Admission = is_kept("84 4101 81 4102 81 4103 <reg>");
    assert_eq!((admission.key.as_slice(), admission.chain[0].as_slice()), (&[1][..], &[2][..]));
    assert_eq!(admission.roots[0].as_slice(), [3]);
    assert_eq!(admission.registration, super::registration());
    let welcome: Welcome = is_kept("82 81 4101 84 05 80 80 80");
    assert_eq!((welcome.roots[0].as_slice(), welcome.members.epoch), (&[1][..], 5));
    assert_eq!(rows::encode(&welcome.members), unhex("84 05 80 80 80"));
}
