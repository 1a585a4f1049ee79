//! Entries: their bytes never change, and no other bytes say the same.

use proptest::prelude::*;

use super::*;

#[test]
fn the_bytes_are_frozen() {
    let bytes = leaves();
    assert_eq!(
        hex(&bytes[0]),
        "85001b0000019b76daa80069617574686f7269747982008186582001010101010101010101010101010101\
         01010101010101010101010101010101437f0203646e6f64651a695ef38058200404040404040404040404\
         04040404040404040404040404040404040404040458200505050505050505050505050505050505050505\
         05050505050505050505050578277370696666653a2f2f61636d652e6578616d706c652f726567696f6e2f\
         6575312f6e6f64652f30"
    );
    let root = hashes().into_iter().collect::<Frontier>().root();
    assert_eq!(hex(&root), "fdde90000acb8f9cbd0566ea78661a8e00752f2ec9b404bef1d7213c361f259a");
}

#[test]
fn the_bytes_of_runs_of_chaos_are_frozen_and_come_back() {
    let begun = Action::ChaosBegun {
        scenario: "game-day".to_owned(),
        document: [7; 32],
        seed: 42,
        target: "production".to_owned(),
    };
    let digest = "07".repeat(32);
    for (action, bytes, json) in [
        (
            begun,
            format!("82128468{}5820{digest}182a6a{}", hex(b"game-day"), hex(b"production")),
            format!(
                "{{\"chaos_begun\":{{\"scenario\":\"game-day\",\"document\":\"{digest}\",\"seed\":42,\
                 \"target\":\"production\"}}}}"
            ),
        ),
        (
            Action::ChaosEnded { exit: 3 },
            "82138103".to_owned(),
            "{\"chaos_ended\":{\"exit\":3}}".to_owned(),
        ),
    ] {
        assert_eq!(hex(&minicbor::to_vec(&action).unwrap()), bytes);
        assert_eq!(serde_json::to_string(&action).unwrap(), json);
        let (actor, subject) = ("operator/ann".to_owned(), "chaos/r1".to_owned());
        let entry = Entry { number: 7, at_ms: START_MS, actor, action, subject };
        assert_eq!(Entry::from_bytes(&entry.to_bytes().unwrap()), Ok(entry));
    }
}

#[test]
fn entries_come_back() {
    for (entry, bytes) in entries().iter().zip(leaves()) {
        assert_eq!(Entry::from_bytes(&bytes).as_ref(), Ok(entry));
    }
}

#[test]
fn what_a_later_version_would_add_is_refused_not_skipped() {
    let mut longer = leaves().remove(14);
    assert_eq!(longer[0], 0x85);
    longer[0] = 0x86;
    longer.push(1);
    assert_eq!(Entry::from_bytes(&longer), Err(EntryError::NotCanonical));
    let unknown = (0, 0, "", (20, [0; 0]), "");
    let unknown = minicbor::to_vec(unknown).unwrap();
    assert!(matches!(Entry::from_bytes(&unknown), Err(EntryError::Malformed(_))));
    let mut trailing = leaves().remove(0);
    trailing.push(0xf6);
    assert_eq!(Entry::from_bytes(&trailing), Err(EntryError::NotCanonical));
}

#[test]
fn an_entry_too_long_for_the_log_is_refused_on_both_sides() {
    let mut entry = entries().remove(8);
    entry.actor = "x".repeat(ENTRY_BYTES_MAX);
    assert!(matches!(entry.to_bytes(), Err(EntryError::TooLong(_))));
    let bytes = minicbor::to_vec(&entry).unwrap();
    assert_eq!(Entry::from_bytes(&bytes), Err(EntryError::TooLong(bytes.len())));
    // The longest that passes still fits a line, even where JSON writes six bytes for one.
    entry.actor = "\u{1}".repeat(ENTRY_BYTES_MAX - 70);
    let bytes = entry.to_bytes().unwrap();
    assert!(bytes.len() > ENTRY_BYTES_MAX - 10, "{}", bytes.len());
    assert!(entry_line(&bytes).unwrap().len() < LINE_BYTES_MAX / 2);
}

#[test]
fn an_issuance_names_its_certificate_and_no_other() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.serial_number = Some(vec![0x80, 0, 1].into());
    let certificate = params.self_signed(&key).unwrap().der().to_vec();
    let again = params.self_signed(&key).unwrap().der().to_vec();
    params.serial_number = Some(vec![0x80, 0, 2].into());
    let other = params.self_signed(&key).unwrap().der().to_vec();

    let issuance = Issuance::of(&certificate, "node", Some("r-1".to_owned())).unwrap();
    assert_eq!(issuance.serial, [0x80, 0, 1]);
    assert!(issuance.is_of(&certificate));
    // ECDSA signatures are random: another hash, the same certificate.
    assert_ne!(certificate, again);
    assert!(issuance.is_of(&again));
    assert!(!issuance.is_of(&other));
    let mut trailing = certificate;
    trailing.push(0);
    assert!(!issuance.is_of(&trailing));
}

proptest! {
    #[test]
    fn no_two_byte_strings_say_the_same(which in 0_usize..18, at: prop::sample::Index, bit in 0..8) {
        let mut bytes = leaves().remove(which);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(entry) = Entry::from_bytes(&bytes) {
            prop_assert_ne!(&entry, &entries()[which]);
            prop_assert_eq!(entry.to_bytes().unwrap(), bytes);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Entry::from_bytes(&bytes);
    }
}
