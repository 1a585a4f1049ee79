//! Envelopes that verify and whose content is late, repeated or senseless: each gets a signed receipt
//! that says so, and the state is as it was.

use fieldmesh_device::transport::ask;
use fieldmesh_domain::{
    EntityId,
    message::{
        Answer, ETA_MIN_MAX, Location, OfferId, ReceiptStatus, RequestBody, ResponseBody,
        TEXT_BYTES_MAX,
    },
};
use fieldmesh_envelope::{Message, MessageType};
use fieldmesh_tests::live::{
    Live, now_s, random,
    raw::{Raw, Service, request_body},
    until,
};
use quinn::Connection;

fn encoded(body: &RequestBody) -> Vec<u8> {
    minicbor::to_vec(body).unwrap()
}

/// Sends a message and opens the receipt that comes at once.
async fn receipt(
    connection: &Connection,
    device: &Raw,
    service: &Service,
    message: &Message,
) -> (ReceiptStatus, Option<EntityId>) {
    let reply = ask(connection, &device.sealed(service, message)).await.unwrap();
    let body = device.receipt(service, &reply, message.claims.cti);
    (body.status, body.ticket)
}

/// Waits until nothing moves any more: the desk has looked for somebody and found nobody.
async fn settled(live: &Live, tickets: usize) {
    let look = async || {
        let found = live.tickets();
        let all = found.len() == tickets && found.values().all(|state| state == "unfilled");
        all.then_some(())
    };
    until("nobody fits", look).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_message_counts_once_and_another_under_its_number_never() {
    let live = Live::start().await;
    let device = live.raw(live.customer().await).await;
    let connection = device.connect(live.devices).await;
    let service = device.greet(&connection).await;
    let message = device.request();
    let bytes = device.sealed(&service, &message);
    let reply = ask(&connection, &bytes).await.unwrap();
    assert_eq!(device.status(&service, &reply), ReceiptStatus::Received);
    settled(&live, 1).await;
    let ticket = EntityId::ticket_of(device.id, message.claims.cti);
    let history = || live.server().node.journal_of(ticket).unwrap().history(ticket).unwrap().len();
    let customer =
        async |live: &Live| live.snapshot().await[&format!("{} history", device.id)].clone();
    let (length, before) = (history(), customer(&live).await);
    // The very bytes, the same content sealed anew, and from a later connection.
    let again = device.connect(live.devices).await;
    let newly = device.greet(&again).await;
    for stream in [bytes.clone(), device.sealed(&service, &message), bytes.clone()] {
        let reply = ask(&again, &stream).await.unwrap();
        let stored = device.receipt(&newly, &reply, message.claims.cti);
        assert_eq!((stored.status, stored.ticket), (ReceiptStatus::Received, Some(ticket)));
    }
    let forged = live.counted("fieldmesh_intake_forged_total").await;
    let mut other = message.clone();
    other.content.body = encoded(&RequestBody { text: "another".into(), ..request_body() });
    let mut later = message.clone();
    later.claims.exp += 1;
    for message in [&other, &later] {
        let answer = receipt(&again, &device, &newly, message).await;
        assert_eq!(answer, (ReceiptStatus::Replay, None));
    }
    assert_eq!(live.counted("fieldmesh_intake_forged_total").await, forged + 2, "the alarm");
    assert_eq!(live.tickets().len(), 1);
    assert_eq!(customer(&live).await, before);
    assert!(history() >= length);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequence_numbers_count_once_within_a_window_of_1024() {
    let live = Live::start().await;
    let device = live.raw(live.customer().await).await;
    let connection = device.connect(live.devices).await;
    let service = device.greet(&connection).await;
    let numbered = |seq: u64| {
        let mut message = device.request();
        message.content.seq = seq;
        message
    };
    let takes = async |seq: u64| {
        let bytes = device.sealed(&service, &numbered(seq));
        let before = live.tickets().len();
        let reply = ask(&connection, &bytes).await.unwrap();
        assert_eq!(device.status(&service, &reply), ReceiptStatus::Received, "{seq}");
        until("its ticket", async || (live.tickets().len() > before).then_some(())).await;
    };
    let refuses = async |seq: u64| {
        let before = live.tickets().len();
        let answer = receipt(&connection, &device, &service, &numbered(seq)).await;
        assert_eq!(answer, (ReceiptStatus::Replay, None), "{seq}");
        assert_eq!(live.tickets().len(), before);
    };
    takes(5000).await;
    refuses(5000).await;
    // The oldest number in the window, and the first one behind it.
    takes(5000 - 1023).await;
    refuses(5000 - 1023).await;
    for behind in [5000 - 1024, 1] {
        refuses(behind).await;
    }
    takes(4999).await;
    settled(&live, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_waited_too_long_is_told_so() {
    let live = Live::start().await;
    let device = live.raw(live.customer().await).await;
    let connection = device.connect(live.devices).await;
    let service = device.greet(&connection).await;
    let before = live.snapshot().await;
    for (age, ago) in [(100, 1), (7 * 24 * 3600, 1), (7 * 24 * 3600, 3600)] {
        let mut message = device.request();
        message.claims.exp = now_s() - ago;
        message.claims.iat = message.claims.exp - age;
        let answer = receipt(&connection, &device, &service, &message).await;
        assert_eq!(answer, (ReceiptStatus::Expired, None));
    }
    assert_eq!(live.snapshot().await, before);
}

/// Requests that no service desk can act on.
fn senseless() -> Vec<(&'static str, Vec<u8>)> {
    let body = request_body();
    let with = |change: &dyn Fn(&mut RequestBody)| {
        let mut body = body.clone();
        change(&mut body);
        encoded(&body)
    };
    let good = encoded(&body);
    let at = |lat_e6, lon_e6| with(&|body| body.location = Location { lat_e6, lon_e6 });
    vec![
        ("no bytes", Vec::new()),
        ("a number", vec![0x01]),
        ("an empty array", vec![0x80]),
        ("noise", random::<40>().to_vec()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("a byte behind", [&good[..], &[0]].concat()),
        ("two bodies", [&good[..], &good].concat()),
        ("impact 0", with(&|body| body.impact = 0)),
        ("impact 4", with(&|body| body.impact = 4)),
        ("urgency 255", with(&|body| body.urgency = 255)),
        ("north of the pole", at(90_000_001, 0)),
        ("far east", at(0, 180_000_001)),
        ("nowhere", at(i32::MIN, i32::MIN)),
        ("a text of 4097 bytes", with(&|body| body.text = "x".repeat(TEXT_BYTES_MAX + 1))),
        ("a text of 40000 bytes", with(&|body| body.text = "x".repeat(40_000))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_sense_gets_a_signed_refusal() {
    let live = Live::start().await;
    let device = live.raw(live.customer().await).await;
    let connection = device.connect(live.devices).await;
    let service = device.greet(&connection).await;
    let before = live.snapshot().await;
    for (what, body) in senseless() {
        let message = device.message(MessageType::Request, body);
        for _ in 0..2 {
            let answer = receipt(&connection, &device, &service, &message).await;
            assert_eq!(answer, (ReceiptStatus::Invalid, None), "{what}");
        }
    }
    assert_eq!(live.snapshot().await, before);
    // The edges of what is allowed: poles, antimeridian, a category that nobody has, a long text.
    for (lat_e6, lon_e6) in [(90_000_000, 180_000_000), (-90_000_000, -180_000_000)] {
        let body = RequestBody {
            category: u16::MAX,
            location: Location { lat_e6, lon_e6 },
            text: "x".repeat(TEXT_BYTES_MAX),
            ..request_body()
        };
        let message = device.message(MessageType::Request, encoded(&body));
        let reply = ask(&connection, &device.sealed(&service, &message)).await.unwrap();
        assert_eq!(device.status(&service, &reply), ReceiptStatus::Received);
    }
    settled(&live, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_technician_answers_offers_and_nothing_else() {
    let live = Live::start().await;
    let device = live.raw(live.technician(1).await).await;
    let connection = device.connect(live.devices).await;
    let service = device.greet(&connection).await;
    let state = async || {
        let mut kept = live.snapshot().await;
        // Answers are noted in the technician's own history, and their receipts are mail.
        kept.retain(|key, _| !key.starts_with(&device.name) || key.ends_with("row"));
        kept
    };
    let before = live.snapshot().await;
    let ticket = EntityId::ticket_of(device.id, random());
    let response = |answer: Answer| {
        let body = ResponseBody { ticket, offer: OfferId { epoch: 1, seq: 0 }, answer };
        minicbor::to_vec(body).unwrap()
    };
    let good = response(Answer::EnRoute);
    for (what, message) in [
        ("a request", device.request()),
        ("no bytes", device.message(MessageType::Response, Vec::new())),
        ("a byte behind", device.message(MessageType::Response, [&good[..], &[0]].concat())),
        (
            "an arrival in more than a week",
            device.message(
                MessageType::Response,
                response(Answer::Accept { eta_min: ETA_MIN_MAX + 1 }),
            ),
        ),
        (
            "a long reason",
            device.message(
                MessageType::Response,
                response(Answer::Decline { reason: "x".repeat(TEXT_BYTES_MAX + 1) }),
            ),
        ),
    ] {
        let answer = receipt(&connection, &device, &service, &message).await;
        assert_eq!(answer, (ReceiptStatus::Invalid, None), "{what}");
    }
    assert_eq!(live.snapshot().await, before);
    // An offer that was never made: noted, told, and nobody else hears of it.
    let before = state().await;
    for answer in [
        Answer::Accept { eta_min: 5 },
        Answer::Accept { eta_min: ETA_MIN_MAX },
        Answer::Decline { reason: "no".into() },
        Answer::EnRoute,
        Answer::OnSite,
        Answer::Completed { note: String::new() },
    ] {
        let message = device.message(MessageType::Response, response(answer));
        let bytes = device.sealed(&service, &message);
        let reply = ask(&connection, &bytes).await.unwrap();
        assert_eq!(device.status(&service, &reply), ReceiptStatus::NoLongerYours);
        let answer = receipt(&connection, &device, &service, &message).await;
        assert_eq!(answer, (ReceiptStatus::NoLongerYours, Some(ticket)));
    }
    assert_eq!(state().await, before);
    assert_eq!(live.tickets().len(), 0);
}
