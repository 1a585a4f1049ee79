//! Only the one encoding of a message is read.

use super::*;

#[test]
fn only_the_one_encoding_of_the_outer_is_read() {
    let (_, bob, _, outer) = sealed();
    // Tag, array, protected (a 16-byte map), {-4: ek of 65 bytes}, ciphertext with a 2-byte length.
    assert_eq!(outer[..8], [0xd0, 0x83, 0x50, 0xa3, 0x01, 0x18, 0x2d, 0x03]);
    assert_eq!(outer[8..11], [0x12, 0x04, 0x48]);
    assert_eq!(outer[19..23], [0xa1, 0x23, 0x58, 0x41]);
    assert_eq!(outer[88], 0x59);
    let (protected, entry, text) = (&outer[3..19], &outer[20..88], &outer[91..]);
    let length = &outer[89..91];
    let whole = |head: &[u8], protected: &[u8], map: &[u8], ciphertext: &[u8]| {
        [head, protected, map, ciphertext].concat()
    };
    let head: &[u8] = &outer[..2];
    let wrapped: &[u8] = &outer[2..19];
    let (map, ciphertext) = (&outer[19..88], &outer[88..]);
    assert_eq!(whole(head, wrapped, map, ciphertext), outer);
    assert!(open(&whole(head, wrapped, map, ciphertext), &FRAME, &bob.ring, NOW).is_ok());

    let kid = &protected[8..];
    let ek = &entry[3..];
    let wrap = |map: &[u8]| [&[0x58, map.len() as u8][..], map].concat();
    let wrap = |map: &[u8]| {
        if map.len() < 24 { [&[0x40 | map.len() as u8][..], map].concat() } else { wrap(map) }
    };
    let canonical = Some(DecodeError::NotCanonical);
    let cases: Vec<(&str, Vec<u8>, Option<DecodeError>)> = vec![
        ("long tag", whole(&[0xd8, 0x10, 0x83], wrapped, map, ciphertext), canonical),
        ("long array", whole(&[0xd0, 0x98, 3], wrapped, map, ciphertext), canonical),
        (
            "long protected",
            whole(head, &[&[0x58, 16], protected].concat(), map, ciphertext),
            canonical,
        ),
        (
            "long alg",
            whole(
                head,
                &wrap(&[&[0xa3, 1, 0x19, 0, 45], &protected[4..]].concat()),
                map,
                ciphertext,
            ),
            canonical,
        ),
        (
            "long kid",
            whole(head, &wrap(&[&protected[..7], &[0x58, 8], kid].concat()), map, ciphertext),
            canonical,
        ),
        ("long map", whole(head, wrapped, &[&[0xb8, 1], entry].concat(), ciphertext), canonical),
        (
            "long label",
            whole(head, wrapped, &[&[0xa1, 0x38, 3, 0x58, 0x41], ek].concat(), ciphertext),
            canonical,
        ),
        (
            "long ek",
            whole(head, wrapped, &[&[0xa1, 0x23, 0x59, 0, 0x41], ek].concat(), ciphertext),
            canonical,
        ),
        (
            "long ciphertext",
            whole(head, wrapped, map, &[&[0x5a, 0, 0], length, text].concat()),
            canonical,
        ),
        (
            "indefinite array",
            whole(&[0xd0, 0x9f], wrapped, map, &[ciphertext, &[0xff]].concat()),
            canonical,
        ),
        (
            "indefinite map",
            whole(head, wrapped, &[&[0xbf], entry, &[0xff]].concat(), ciphertext),
            canonical,
        ),
        (
            "indefinite protected",
            whole(head, &[&[0x5f], wrapped, &[0xff]].concat(), map, ciphertext),
            canonical,
        ),
        (
            "indefinite ciphertext",
            whole(head, wrapped, map, &[&[0x5f], ciphertext, &[0xff]].concat()),
            canonical,
        ),
        (
            "indefinite map inside protected",
            whole(head, &wrap(&[&[0xbf], &protected[1..], &[0xff]].concat()), map, ciphertext),
            canonical,
        ),
        (
            "trailing byte",
            whole(head, wrapped, map, &[ciphertext, &[0]].concat()),
            Some(DecodeError::Trailing),
        ),
        (
            "trailing byte inside protected",
            whole(head, &wrap(&[protected, &[0]].concat()), map, ciphertext),
            Some(DecodeError::Trailing),
        ),
        (
            "duplicated ek",
            whole(head, wrapped, &[&[0xa2], entry, entry].concat(), ciphertext),
            None,
        ),
        (
            "duplicated alg in three",
            whole(
                head,
                &wrap(&[&[0xa3, 1, 0x18, 45, 1, 0x18, 45], &protected[6..]].concat()),
                map,
                ciphertext,
            ),
            None,
        ),
        (
            "duplicated alg in four",
            whole(head, &wrap(&[&[0xa4, 1, 0x18, 45], &protected[1..]].concat()), map, ciphertext),
            None,
        ),
        (
            "other order",
            whole(
                head,
                &wrap(&[&[0xa3, 3, 18, 1, 0x18, 45], &protected[6..]].concat()),
                map,
                ciphertext,
            ),
            None,
        ),
        (
            "another HPKE algorithm",
            whole(head, &wrap(&[&[0xa3, 1, 0x18, 35], &protected[4..]].concat()), map, ciphertext),
            Some(DecodeError::Algorithm),
        ),
        (
            "symmetric algorithm over an encapsulated key",
            whole(head, &wrap(&[&[0xa3, 1, 3], &protected[4..]].concat()), map, ciphertext),
            None,
        ),
        ("no tag", outer[1..].to_vec(), None),
        ("empty protected", whole(head, &[0x40], map, ciphertext), Some(DecodeError::Short)),
    ];
    for (name, bytes, expected) in cases {
        let found = open(&bytes, &FRAME, &bob.ring, NOW);
        let Err(OpenError::Malformed(error)) = found else { panic!("{name}: {found:?}") };
        assert!(expected.is_none_or(|expected| expected == error), "{name}: {error:?}");
        assert_eq!(outer_algorithm(&bytes), Err(error), "{name}");
    }
    let huge = vec![0xd0; ENVELOPE_BYTES_MAX + 1];
    assert_eq!(outer_algorithm(&huge), Err(DecodeError::TooLarge));
    assert_eq!(Signed::from_bytes(huge), Err(DecodeError::TooLarge));
}

#[test]
fn only_the_one_encoding_of_the_signed_is_read() {
    let (_, _, signed, _) = sealed();
    let bytes = signed.as_bytes();
    assert_eq!(bytes[..3], [0xd2, 0x84, 0x58]);
    let protected_end = 4 + usize::from(bytes[3]);
    assert_eq!(bytes[protected_end], 0xa0);
    let canonical = DecodeError::NotCanonical;
    for (bytes, expected) in [
        ([&[0xd8, 0x12], &bytes[1..]].concat(), canonical),
        ([&[0xd2, 0x98, 4], &bytes[2..]].concat(), canonical),
        ([&[0xd2, 0x84, 0x59, 0], &bytes[3..]].concat(), canonical),
        ([&[0xd2, 0x9f], &bytes[2..], &[0xff]].concat(), canonical),
        ([&bytes[..protected_end], &[0xb8, 0], &bytes[protected_end + 1..]].concat(), canonical),
        ([&bytes[..protected_end], &[0xbf, 0xff], &bytes[protected_end + 1..]].concat(), canonical),
        ([bytes, &[0]].concat(), DecodeError::Trailing),
    ] {
        assert_eq!(Signed::from_bytes(bytes), Err(expected));
    }
    // A header outside the signature.
    let outside = [&bytes[..protected_end], &[0xa1, 4, 0x40], &bytes[protected_end + 1..]].concat();
    assert!(matches!(Signed::from_bytes(outside), Err(DecodeError::Shape(_))));
}
