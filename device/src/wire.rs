//! What devices and the service say on a connection: one frame per stream.
//!
//! A device opens a bidirectional stream, writes a frame header and a payload by its class, and
//! reads one [`Reply`]. The service opens a unidirectional stream for each sealed message. CBOR with
//! numbered fields that only grow.

use minicbor::{Decode, Encode, bytes::ByteArray};

/// ALPN of device connections.
pub const ALPN: &[u8] = b"fieldmesh-device/1";
/// Bytes of a stream: an envelope and its frame.
pub const STREAM_BYTES_MAX: usize = 64 * 1024 + 256;
/// Identifiers in one acknowledgement.
pub const ACK_IDS_MAX: usize = 256;

/// Frame classes.
pub const HELLO: u8 = 0;
pub const SEALED: u8 = 1;
pub const ACK: u8 = 2;
/// From the service: its keys, because its certificate was renewed since the hello.
pub const SERVICE: u8 = 3;
/// From the service, to a device that [understands](PASSES) it: a message that does not come, because nothing would
/// come of it any more. It is acknowledged under the message's identifier.
pub const PASSED: u8 = 4;

/// What this device says at its hello that it understands: that, and all with a lower number.
pub const UNDERSTANDS: u32 = PASSES;
/// Messages that do not come; and that receipts which are mail have their place in its order.
pub const PASSES: u32 = 1;

/// Application close codes of a connection.
pub mod close {
    pub const SHUTTING_DOWN: u32 = 0x100;
    /// The certificate is not a device's.
    pub const WRONG_PROFILE: u32 = 0x101;
    /// The certificate is right, and the entity does not exist or may not connect.
    pub const UNKNOWN_ENTITY: u32 = 0x102;
    /// The same device connected again.
    pub const REPLACED: u32 = 0x103;
    /// The certificate is for another cluster or region.
    pub const WRONG_REGION: u32 = 0x104;
    /// The certificate is for another region: its nodes are at the addresses that the reason names, as
    /// `ADDRESS:PORT` with blanks between.
    pub const ELSEWHERE: u32 = 0x105;
    /// Between nodes: one with the same certificate is connected from the address that the reason names, and
    /// answers.
    pub const THERE_TWICE: u32 = 0x106;
    /// Between nodes: the directory of whoever is connected is older than what was heard of it, which the reason names.
    pub const OLDER: u32 = 0x107;
    /// Between nodes: the one at the other end was removed from the cluster, alone or with its region.
    pub const REMOVED: u32 = 0x108;
    /// The certificate was revoked: enroll again with a new token.
    pub const REVOKED: u32 = 0x1103;
    /// The certificate has expired: renew it.
    pub const EXPIRED: u32 = 0x1104;
    /// The identity is banned: enrolling again is refused.
    pub const BANNED: u32 = 0x1105;
    /// The authority that issued the certificate is not believed any more: enroll again with a new
    /// token.
    pub const CA_REMOVED: u32 = 0x1106;

    /// What a device is to do, where coming back with the same certificate is in vain.
    pub fn remedy(code: u64) -> Option<&'static str> {
        let is = |known: u32| code == u64::from(known);
        Some(match code {
            _ if is(REVOKED) => "the certificate was revoked: enroll again with a new token",
            _ if is(EXPIRED) => "the certificate has expired: renew it",
            _ if is(BANNED) => "the device is banned: ask an operator",
            _ if is(CA_REMOVED) => {
                "the authority of the certificate was removed: enroll again with a new token"
            }
            _ if is(WRONG_PROFILE) => "the certificate is not a device's",
            _ if is(WRONG_REGION) => "the certificate is for another cluster or region",
            _ => return None,
        })
    }

    /// What is said of a certificate with the code.
    pub fn reason(code: u32) -> &'static [u8] {
        match code {
            REVOKED => b"the certificate was revoked: enroll again with a new token",
            BANNED => b"the identity is banned",
            CA_REMOVED => b"the certificate's authority was removed: enroll again with a new token",
            EXPIRED => b"the certificate has expired: renew it",
            _ => b"",
        }
    }
}

/// The name that messages to the service of a region carry.
pub fn service_audience(region: &str) -> String {
    format!("svc_{region}")
}

/// First frame of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// The device's signed key bundle.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub bundle: Vec<u8>,
    /// None of a device that is older than what there is to understand.
    #[n(1)]
    pub understands: Option<u32>,
}

/// Messages that the device has.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ack {
    #[n(0)]
    pub message_ids: Vec<ByteArray<16>>,
}

/// The number of a message that does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Passed {
    #[n(0)]
    pub number: u64,
}

/// What a device needs to write to the service.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ServiceKeys {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    /// The signer's certificate, then its issuer's, DER.
    #[n(1)]
    pub chain: Vec<minicbor::bytes::ByteVec>,
    /// Signed key bundle.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub bundle: Vec<u8>,
}

/// The service's answer on a device's stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// It was taken, and there is no receipt to send for it.
    #[n(0)]
    Accepted,
    /// Too much is waiting.
    #[n(1)]
    Busy {
        #[n(0)]
        retry_after_ms: u32,
    },
    /// Not believed. The reason is not told.
    #[n(2)]
    Rejected,
    /// Sealed for a key that is gone: seal again.
    #[n(3)]
    StaleKey {
        #[n(0)]
        service: ServiceKeys,
    },
    /// A frame with a signed, sealed receipt for this very message: what it says is durable on a
    /// quorum. Whoever lost it sends the message again.
    #[n(4)]
    Receipt {
        #[cbor(n(0), with = "minicbor::bytes")]
        sealed: Vec<u8>,
    },
    #[n(5)]
    Hello {
        #[n(0)]
        service: ServiceKeys,
        #[n(1)]
        now_ms: u64,
        /// Where this region's nodes take devices, as IP:port; empty where the service does not say.
        #[cbor(n(2), default)]
        nodes: Vec<String>,
    },
    /// Malformed before anything was opened.
    #[n(6)]
    BadEnvelope,
    /// Nothing was written, or the outcome is open: send again.
    #[n(7)]
    Unavailable {
        #[n(0)]
        retry_after_ms: u32,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn the_bytes_are_frozen() {
        let hex =
            |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(minicbor::to_vec(Reply::Accepted).unwrap()), "820080");
        assert_eq!(
            hex(minicbor::to_vec(Reply::Busy { retry_after_ms: 200 }).unwrap()),
            "82018118c8"
        );
        let ack = Ack { message_ids: vec![ByteArray::from([7; 16])] };
        assert_eq!(hex(minicbor::to_vec(ack).unwrap()), format!("818150{}", "07".repeat(16)));
        let hello = |understands| Hello { bundle: vec![1], understands };
        assert_eq!(hex(minicbor::to_vec(hello(None)).unwrap()), "814101");
        assert_eq!(hex(minicbor::to_vec(hello(Some(PASSES))).unwrap()), "82410101");
        assert_eq!(hex(minicbor::to_vec(Passed { number: 9 }).unwrap()), "8109");
        let nodes = vec!["127.0.0.1:7443".to_owned(), "[::1]:1".to_owned()];
        let hello = Reply::Hello { service: service(), now_ms: 5, nodes };
        let told = "826e3132372e302e302e313a37343433675b3a3a315d3a31";
        assert_eq!(hex(minicbor::to_vec(hello).unwrap()), format!("820583{SERVICE_HEX}05{told}"));
    }

    fn service() -> ServiceKeys {
        ServiceKeys { id: [3; 16], chain: vec![vec![1].into()], bundle: vec![2] }
    }

    const SERVICE_HEX: &str = "8350030303030303030303030303030303038141014102";

    /// A hello as it was before devices said what they understand.
    #[derive(Debug, PartialEq, Eq, Encode, Decode)]
    struct OlderHello {
        #[cbor(n(0), with = "minicbor::bytes")]
        bundle: Vec<u8>,
    }

    #[test]
    fn older_and_newer_services_read_each_others_devices() {
        let older = minicbor::to_vec(OlderHello { bundle: vec![1] }).unwrap();
        let read: Hello = minicbor::decode(&older).unwrap();
        assert_eq!(read, Hello { bundle: vec![1], understands: None });
        let newer = Hello { bundle: vec![1], understands: Some(UNDERSTANDS) };
        let read: OlderHello = minicbor::decode(&minicbor::to_vec(newer).unwrap()).unwrap();
        assert_eq!(read, OlderHello { bundle: vec![1] });
    }

    /// The answer to a hello as it was before it named the nodes.
    #[derive(Debug, PartialEq, Eq, Encode, Decode)]
    enum OlderReply {
        #[n(5)]
        Hello {
            #[n(0)]
            service: ServiceKeys,
            #[n(1)]
            now_ms: u64,
        },
    }

    #[test]
    fn older_and_newer_peers_read_each_others_hello() {
        let older = minicbor::to_vec(OlderReply::Hello { service: service(), now_ms: 5 }).unwrap();
        let read: Reply = minicbor::decode(&older).unwrap();
        assert_eq!(read, Reply::Hello { service: service(), now_ms: 5, nodes: Vec::new() });
        for nodes in [Vec::new(), vec!["127.0.0.1:7443".to_owned()]] {
            let newer = Reply::Hello { service: service(), now_ms: 5, nodes };
            let read: OlderReply = minicbor::decode(&minicbor::to_vec(newer).unwrap()).unwrap();
            assert_eq!(read, OlderReply::Hello { service: service(), now_ms: 5 });
        }
    }
}
