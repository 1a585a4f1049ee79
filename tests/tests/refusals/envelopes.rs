//! Envelopes that a connected device should not have sent: refused before the content is read,
//! without a trace in the state, and all cryptographic and identity faults alike.

use fieldmesh_device::{
    transport::{Connection, ask},
    wire::{self, Reply},
};
use fieldmesh_domain::message::ReceiptStatus;
use fieldmesh_envelope::{Frame, HpkePrivateKey, Message, MessageType, seal, sign};
use fieldmesh_tests::live::{
    Live, now_s, random,
    raw::{Raw, Service, framed},
};

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;

/// An enrolled customer's device after its hello.
struct Connected {
    live: Live,
    device: Raw,
    other: Raw,
    connection: Connection,
    service: Service,
}

impl Connected {
    async fn new() -> Self {
        let live = Live::start().await;
        let device = live.raw(live.customer().await).await;
        let other = live.raw(live.customer().await).await;
        let connection = device.connect(live.devices).await;
        let service = device.greet(&connection).await;
        Self { live, device, other, connection, service }
    }

    async fn ask(&self, bytes: &[u8]) -> Reply {
        ask(&self.connection, bytes).await.unwrap()
    }

    /// Every case gets this reply, and nothing of it is kept.
    async fn all_get(&self, expected: &Reply, cases: &[(String, Vec<u8>)]) {
        let before = self.live.snapshot().await;
        for (what, bytes) in cases {
            assert_eq!(self.ask(bytes).await, *expected, "{what}");
        }
        assert_eq!(self.live.snapshot().await, before);
        self.still_serves().await;
    }

    /// The same connection takes a good message afterwards.
    async fn still_serves(&self) {
        let good = self.device.sealed(&self.service, &self.device.request());
        let reply = self.ask(&good).await;
        assert_eq!(self.device.status(&self.service, &reply), ReceiptStatus::Received);
    }

    fn frame(&self, message: &Message) -> Frame {
        Frame { to: self.service.id, message_id: message.claims.cti, class: wire::SEALED }
    }
}

fn named(what: &str, bytes: Vec<u8>) -> (String, Vec<u8>) {
    (what.to_owned(), bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_envelopes_are_dropped_before_any_key_is_used() {
    let connected = Connected::new().await;
    let whole = connected.device.sealed(&connected.service, &connected.device.request());
    let (_, header) = Frame::decode(&whole).unwrap();
    let (head, outer) = whole.split_at(header);
    let mut cases: Vec<(String, Vec<u8>)> = (0..whole.len())
        .filter(|cut| *cut < header + 110 || cut % 53 == 0 || *cut + 3 > whole.len())
        .map(|cut| (format!("cut at {cut} of {}", whole.len()), whole[..cut].to_vec()))
        .collect();
    // Tag, array, protected (16 bytes), {-4: ek of 65 bytes}, ciphertext with a length of 2 bytes.
    assert_eq!(outer[..3], [0xd0, 0x83, 0x50]);
    assert_eq!(outer[19..23], [0xa1, 0x23, 0x58, 0x41]);
    let with = |at: std::ops::Range<usize>, bytes: &[u8]| {
        [head, &outer[..at.start], bytes, &outer[at.end..]].concat()
    };
    let end = outer.len()..outer.len();
    cases.extend([
        named("a byte behind", with(end.clone(), &[0])),
        named("two envelopes", with(end, outer)),
        named("a long tag", with(0..1, &[0xd8, 16])),
        named("another tag", with(0..1, &[0xd1])),
        named("no tag", with(0..1, &[])),
        named("an array of unknown length", with(1..2, &[0x9f])),
        named("a long array", with(1..2, &[0x98, 3])),
        named("an array of four", with(1..2, &[0x84])),
        named("a long protected header", with(2..3, &[0x58, 16])),
        named("an empty protected header", with(2..19, &[0x40])),
        named("a long map", with(19..20, &[0xb8, 1])),
        named("an empty map", with(19..88, &[0xa0])),
        named("a map of unknown length", with(19..20, &[0xbf])),
        named("another label", with(20..21, &[0x24])),
        named("a short key", with(22..24, &[0x58, 0x40])),
        named("another HPKE algorithm", with(5..7, &[0x18, 35])),
        named("the symmetric algorithm over a key", with(2..7, &[0x4f, 0xa3, 1, 3])),
        named("a ciphertext that is no byte string", with(88..89, &[0x79])),
        named("nothing but a frame", head.to_vec()),
        named("a frame of version 2", [&[0x84, 2], &whole[2..]].concat()),
        named("a frame of five", [&[0x85], &whole[1..]].concat()),
        named("a frame without its tail", whole[..10].to_vec()),
        named("64 KiB and a byte", [head, &vec![0xd0; 64 * 1024 + 1]].concat()),
        named("nothing", Vec::new()),
        named("noise", random::<64>().to_vec()),
    ]);
    for class in [3, 23, 255] {
        let frame = Frame { class, ..Frame::decode(&whole).unwrap().0 };
        cases.push((format!("class {class}"), [&frame.encode(), outer].concat()));
    }
    connected.all_get(&Reply::BadEnvelope, &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cryptographic_and_identity_faults_look_alike() {
    let connected = Connected::new().await;
    let Connected { device, other, service, .. } = &connected;
    let changed = |change: &dyn Fn(&mut Message)| {
        let mut message = device.request();
        change(&mut message);
        device.sealed(service, &message)
    };
    let signed_by_other = |message: &Message, certificate: &[u8]| {
        let key = &other.credentials.pkcs8;
        let signer = fieldmesh_envelope::SoftwareSigner::from_pkcs8(key, certificate).unwrap();
        let outer = seal(&sign(message, &signer).unwrap(), &connected.frame(message), &service.key);
        framed(service.id, message.claims.cti, wire::SEALED, &outer.unwrap())
    };
    let under_another_frame = |change: &dyn Fn(&mut Frame)| {
        let message = device.request();
        let mut frame = connected.frame(&message);
        let outer = seal(&sign(&message, &device.signer).unwrap(), &frame, &service.key).unwrap();
        change(&mut frame);
        framed(frame.to, frame.message_id, frame.class, &outer)
    };
    let message = device.request();
    let for_another_frame = Frame { message_id: random(), ..connected.frame(&message) };
    let for_a_technician = Frame { to: other.id.to_bytes(), ..connected.frame(&message) };
    let (own, foreign) = (&device.credentials.chain[0], &other.credentials.chain[0]);
    let cases = [
        named("another device's message", other.sealed(service, &other.request())),
        named("another key, own certificate", signed_by_other(&device.request(), own)),
        named("another key, its certificate", signed_by_other(&device.request(), foreign)),
        named("as somebody else", changed(&|message| message.claims.iss.clone_from(&other.name))),
        named("as the service", changed(&|message| message.claims.iss = "svc_eu1".into())),
        named("as nobody", changed(&|message| message.claims.iss.clear())),
        named("for another region", changed(&|message| message.claims.aud = "svc_us1".into())),
        named("for a device", changed(&|message| message.claims.aud.clone_from(&other.name))),
        named(
            "from the future",
            changed(&|message| {
                message.claims.iat = now_s() + HOUR_S;
                message.claims.exp = now_s() + 2 * HOUR_S;
            }),
        ),
        named(
            "from the year 2500",
            changed(&|message| {
                message.claims.iat = u64::MAX - 10;
                message.claims.exp = u64::MAX;
            }),
        ),
        named(
            "ends before it begins",
            changed(&|message| {
                message.claims.exp = message.claims.iat - 1;
            }),
        ),
        named(
            "lives for eight days",
            changed(&|message| {
                message.claims.exp = message.claims.iat + 8 * DAY_S;
            }),
        ),
        named(
            "a frame with another message's number",
            device.sealed_as(&for_another_frame, service, &message),
        ),
        named("a frame to somebody else", device.sealed_as(&for_a_technician, service, &message)),
        named("renumbered on the way", under_another_frame(&|frame| frame.message_id[0] ^= 1)),
        named("rerouted on the way", under_another_frame(&|frame| frame.to[15] ^= 1)),
    ];
    connected.all_get(&Reply::Rejected, &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_flipped_bit_is_noticed() {
    let connected = Connected::new().await;
    let message = connected.device.request();
    let whole = connected.device.sealed(&connected.service, &message);
    let header = Frame::decode(&whole).unwrap().1;
    let (kid, sealed) = (header + 11..header + 19, header + 91..whole.len());
    let encapsulated = header + 23..header + 88;
    let before = connected.live.snapshot().await;
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 1 << (at % 8);
        let reply = connected.ask(&bent).await;
        let fits = match &reply {
            Reply::StaleKey { .. } => kid.contains(&at),
            // What is sealed, its key, and the frame that it is bound to.
            Reply::Rejected => sealed.contains(&at) || encapsulated.contains(&at) || at < header,
            Reply::BadEnvelope => at < header + 91 && !kid.contains(&at),
            _ => false,
        };
        assert!(fits, "bit {} of byte {at} of {}: {reply:?}", at % 8, whole.len());
    }
    assert_eq!(connected.live.snapshot().await, before);
    // Nothing of all that used the number up.
    let reply = connected.ask(&whole).await;
    let Connected { device, service, .. } = &connected;
    assert_eq!(device.status(service, &reply), ReceiptStatus::Received);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_for_a_key_that_is_gone_gets_the_present_ones() {
    let connected = Connected::new().await;
    let Connected { device, service, .. } = &connected;
    let (_, gone) = HpkePrivateKey::generate().unwrap();
    let message = device.request();
    let before = connected.live.snapshot().await;
    let stale = Service { key: gone, ..service.clone() };
    let reply = connected.ask(&device.sealed(&stale, &message)).await;
    let Reply::StaleKey { service: keys } = reply else { panic!("{reply:?}") };
    assert_eq!(connected.live.snapshot().await, before);
    // The keys are signed, and the same message sealed for them is the first of its number.
    let fresh = device.believe(&keys);
    assert_eq!((fresh.id, fresh.key.kid()), (service.id, service.key.kid()));
    let reply = connected.ask(&device.sealed(&fresh, &message)).await;
    assert_eq!(device.status(&fresh, &reply), ReceiptStatus::Received);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_of_messages_that_only_the_service_sends_are_refused() {
    use fieldmesh_domain::message::ReceiptStatus::Invalid;
    let connected = Connected::new().await;
    let Connected { device, service, .. } = &connected;
    let before = connected.live.snapshot().await;
    for kind in
        [MessageType::Alert, MessageType::Response, MessageType::Confirmation, MessageType::Receipt]
    {
        let message = device.message(kind, vec![0x80]);
        let reply = connected.ask(&device.sealed(service, &message)).await;
        let receipt = device.receipt(service, &reply, message.claims.cti);
        assert_eq!(receipt.status, Invalid, "{kind:?}");
        assert_eq!(receipt.ticket, None);
    }
    // An offer of session keys that is none.
    let message = device.message(MessageType::Session, vec![0x80]);
    assert_eq!(connected.ask(&device.sealed(service, &message)).await, Reply::BadEnvelope);
    assert_eq!(connected.live.snapshot().await, before);
    connected.still_serves().await;
}
