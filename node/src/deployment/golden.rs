//! The bytes of a node's directory, and of what one node hands to another, frozen.
//!
//! **Not here:** how secrets are sealed (`fieldmesh_pki::vault`).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::{
    Facts, HandOver, decode_facts, encode_facts, format_of,
    secrets::{HpkeRow, IssuingRow, Secrets},
};
use crate::{
    golden::{
        HASH, KEY, MESSAGE, SERIAL, are_frozen, are_read, is_kept, plain, registration, unhex,
    },
    store::rows::{self, name},
};

fn facts() -> Facts {
    Facts {
        format: 1,
        cluster: "c".into(),
        region: "eu1".into(),
        number: 2,
        shards: 3,
        node_id: MESSAGE,
        service_id: SERIAL,
        token: None,
        roots: HASH,
        next_roots: None,
        joined_as: None,
        index: 0,
    }
}

#[test]
fn deployment_cbor() {
    let frozen = "8c 01 6163 63 657531 02 03 <msg> <serial> f6 <hash> f6 f6 00";
    are_frozen(&[(frozen, facts())]);
    let whole = Facts {
        token: Some("t".into()),
        next_roots: Some(KEY),
        joined_as: Some(registration()),
        index: 4,
        ..facts()
    };
    are_frozen(&[("8c 01 6163 63 657531 02 03 <msg> <serial> 6174 <hash> <key> <reg> 04", whole)]);
    // Before there were several regions.
    are_read(&[("89 01 6163 63 657531 02 03 <msg> <serial> f6 <hash>", facts())]);
    let file = format!("{frozen} 7f24eb40");
    assert_eq!(name(&encode_facts(&facts())), plain(&file));
    assert_eq!(decode_facts(&unhex(&file)), Some(facts()));
    assert_eq!(format_of(&unhex(&file)), Some(1));
}

/// An older program must find the number of whatever comes after it.
#[test]
fn the_format_is_read_whatever_is_behind_it() {
    let mut newer = vec![0x82, 0x03, 0x63, b'n', b'e', b'w'];
    newer.extend(crc32fast::hash(&newer).to_be_bytes());
    assert_eq!((format_of(&newer), decode_facts(&newer)), (Some(3), None));
    newer[1] = 0x04;
    assert_eq!(format_of(&newer), None, "a damaged file is not a newer one");
}

#[test]
fn what_secrets_sealed_holds() {
    let issuing = |label: Option<&str>| IssuingRow {
        key: vec![9],
        certificate: vec![10],
        label: label.map(Into::into),
    };
    let secrets = Secrets {
        region_key: KEY,
        issuing_key: vec![1],
        issuing_certificate: vec![2],
        node_key: vec![3],
        service_key: vec![4],
        service_certificate: vec![5],
        hpke: vec![HpkeRow { pair: vec![6], made_s: 7 }],
        node_certificate: vec![8],
        node_names: vec!["n".into()],
        issuing_label: None,
        others: vec![issuing(None), issuing(Some("l"))],
    };
    let up_to_names = "<key> 4101 4102 4103 4104 4105 81 82 4106 07 4108 81 616e";
    let frozen = format!("8b {up_to_names} f6 82 82 4109 410a 83 4109 410a 616c");
    assert_eq!(name(&rows::encode(&secrets)), plain(&frozen));
    drop(is_kept::<Secrets>(&frozen));
    // Before an issuing CA could be followed by another.
    let older: Secrets = rows::whole(&unhex(&format!("89 {up_to_names}"))).unwrap();
    assert!(older.others.is_empty() && older.issuing_label.is_none());
    assert_eq!((older.node_key.as_slice(), older.hpke[0].made_s), (&[3][..], 7));
}

/// It is also what a backup holds of its region.
#[test]
fn what_is_handed_over() {
    let frozen = "8a <msg> 04 <key> 4101 4102 4103 4104 81 82 4105 4106 81 4107 84 00808080";
    let given = HandOver::decode(&unhex(frozen)).unwrap();
    assert_eq!(name(&given.encode()), plain(frozen));
    assert_eq!(given.shards(), 4);
    // Roots, the issuing CA, the service.
    assert_eq!(given.certificates().collect::<Vec<_>>(), [[7], [4], [2]]);
}

/// Who reads one value in front of others would take a damaged file for a whole one.
#[test]
fn nothing_may_stand_behind_what_is_there() {
    let given = "8a <msg> 04 <key> 4101 4102 4103 4104 81 82 4105 4106 81 4107 84 00808080";
    assert!(HandOver::decode(&unhex(given)).is_ok());
    for behind in ["00", "f6", "80"] {
        assert!(HandOver::decode(&unhex(&format!("{given} {behind}"))).is_err(), "{behind}");
    }
    let mut facts = rows::encode(&facts());
    facts.push(0);
    facts.extend(crc32fast::hash(&facts).to_be_bytes());
    assert_eq!(decode_facts(&facts), None);
}
