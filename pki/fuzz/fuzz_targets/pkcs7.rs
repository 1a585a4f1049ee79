//! Changed and arbitrary bytes into the reader of certs-only messages: none panics, and what is
//! read is written again byte for byte.

#![no_main]

use fieldmesh_pki::pkcs7::{certs_only, parse_certs_only};
use fieldmesh_pki_fuzz::{changed, tlv};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((count, changes)) = data.split_first() else { return };
    let certificates: Vec<Vec<u8>> =
        (0..count % 10).map(|at| tlv(0x30, &tlv(4, &[at; 100]))).collect();
    let message = certs_only(&certificates);
    assert_eq!(parse_certs_only(&message).is_ok(), certificates.len() <= 8);
    read(&changed(&message, changes));
    read(changes);
});

fn read(message: &[u8]) {
    let Ok(found) = parse_certs_only(message) else { return };
    assert!(found.len() <= 8);
    let written = certs_only(&found);
    // Revocation lists are passed over, so a message that holds some is longer.
    assert!(written == message || written.len() < message.len());
}
