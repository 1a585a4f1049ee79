//! One record of the outbox: a length, then a nonce and ciphertext bound to the record's place.

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use zeroize::Zeroizing;

use crate::Entropy;

/// Bytes of a record: an envelope and its header.
const RECORD_BYTES_MAX: usize = 128 * 1024;
/// Length and its complement, so that a damaged length is not taken for a torn tail.
const HEAD_BYTES: usize = 8;

/// The record at `at` and the place of the next; none at the end or in a torn tail.
pub(super) fn next_record(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, ()> {
    let Some(head) = bytes.get(at..at + HEAD_BYTES) else {
        return Ok(None);
    };
    // After a power failure a file may have its new length and not yet its new content.
    if bytes[at..].iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let number =
        |part: &[u8]| part.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let length = number(&head[..4]);
    if length != !number(&head[4..]) || length as usize > RECORD_BYTES_MAX {
        return Err(());
    }
    let end = at + HEAD_BYTES + length as usize;
    Ok(bytes.get(at + HEAD_BYTES..end).map(|record| (record, end)))
}

/// A record under the number of its place.
pub(super) fn seal(
    key: &LessSafeKey,
    number: u64,
    plain: &[u8],
    entropy: &Entropy,
) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    entropy(&mut nonce);
    let mut content = plain.to_vec();
    let nonce_used = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce_used, Aad::from(number.to_be_bytes()), &mut content).ok()?;
    let length = u32::try_from(NONCE_LEN + content.len()).ok()?;
    let mut record = length.to_be_bytes().to_vec();
    record.extend_from_slice(&(!length).to_be_bytes());
    record.extend_from_slice(&nonce);
    record.extend_from_slice(&content);
    Some(record)
}

/// What [`seal`] sealed for this place.
pub(super) fn unseal(key: &LessSafeKey, number: u64, record: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, content) = record.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = Zeroizing::new(content.to_vec());
    let aad = Aad::from(number.to_be_bytes());
    let length =
        key.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut plain).ok()?.len();
    plain.truncate(length);
    Some(plain)
}
