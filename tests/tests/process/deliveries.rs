//! How far alerts and confirmations come, as operators see it; and that nobody is shown what is over.

use std::{collections::BTreeMap, time::Duration};

use fieldmesh_actors::seams::Journal;
use fieldmesh_device::{
    transport::{Connection, ask, next_frame},
    wire::{self, Ack, Passed, Reply},
};
use fieldmesh_domain::{
    EntityId,
    message::{AlertBody, Answer, OfferId, ReceiptBody, ReceiptStatus, ResponseBody},
};
use fieldmesh_envelope::{Frame, Message, MessageType};
use fieldmesh_tests::{
    live::{
        Live, now_ms, random,
        raw::{Raw, Service, framed},
        until, until_within,
    },
    process::{Launch, fieldmesh, text},
};
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

/// What a raw device asks for.
const CATEGORY: u16 = 7;

/// By number: a message with its id, or none in the place of one that does not come.
type Heard = BTreeMap<u64, ([u8; 16], Option<Message>)>;

fn passed(heard: &Heard) -> Vec<u64> {
    let passed = heard.iter().filter(|(_, (_, message))| message.is_none());
    passed.map(|(number, _)| *number).collect()
}

fn told(heard: &Heard, number: u64) -> &Message {
    heard[&number].1.as_ref().unwrap()
}

/// A raw device on its connection.
struct Phone {
    device: Raw,
    connection: Connection,
    service: Service,
}

impl Phone {
    async fn connect(live: &Live, device: Raw) -> Self {
        let connection = device.connect(live.devices).await;
        let service = device.greet(&connection).await;
        Self { device, connection, service }
    }

    /// What the service sends next; it is not acknowledged.
    async fn next(&self) -> Message {
        let frame = next_frame(&self.connection).await.unwrap();
        self.device.opened(&self.service, &frame)
    }

    /// Until so many numbers were heard of; nothing is acknowledged.
    async fn hears(&self, count: usize) -> Heard {
        let mut heard = Heard::new();
        while heard.len() < count {
            let bytes = next_frame(&self.connection).await.unwrap();
            let (frame, header) = Frame::decode(&bytes).unwrap();
            let (number, message) = if frame.class == wire::PASSED {
                (minicbor::decode::<Passed>(&bytes[header..]).unwrap().number, None)
            } else {
                let message = self.device.opened(&self.service, &bytes);
                (message.content.seq, Some(message))
            };
            heard.insert(number, (frame.message_id, message));
        }
        heard
    }

    async fn acknowledge(&self, message: &Message) {
        self.has(&[message.claims.cti]).await;
    }

    async fn has(&self, message_ids: &[[u8; 16]]) {
        let ack = Ack { message_ids: message_ids.iter().copied().map(Into::into).collect() };
        let ack = minicbor::to_vec(ack).unwrap();
        let frame = framed(self.service.id, random(), wire::ACK, &ack);
        assert_eq!(ask(&self.connection, &frame).await.unwrap(), Reply::Accepted);
    }

    /// Says something, and hears that it is received.
    async fn say(&self, message: &Message) {
        let reply = ask(&self.connection, &self.device.sealed(&self.service, message)).await;
        let status = self.device.status(&self.service, &reply.unwrap());
        assert_eq!(status, ReceiptStatus::Received);
    }

    async fn respond(&self, ticket: EntityId, offer: OfferId, answer: Answer) {
        let body = minicbor::to_vec(ResponseBody { ticket, offer, answer }).unwrap();
        self.say(&self.device.message(MessageType::Response, body)).await;
    }
}

/// A service with a ticket that is offered to a technician whose device is not connected.
struct Offered {
    live: Live,
    customer: Phone,
    ticket: EntityId,
}

impl Offered {
    /// With the technician's device.
    async fn new() -> (Self, Raw) {
        let live = Live::start().await;
        let technician = live.raw(live.technician(CATEGORY).await).await;
        let customer = live.raw(live.customer().await).await;
        live.at_rest().await;
        let customer = Phone::connect(&live, customer).await;
        let request = customer.device.request();
        customer.say(&request).await;
        let ticket = EntityId::ticket_of(customer.device.id, request.claims.cti);
        let offered = Self { live, customer, ticket };
        until("the ticket is there", async || offered.shown().await.ok()).await;
        (offered, technician)
    }

    /// The ticket, or the status that is said in its place.
    async fn shown(&self) -> Result<Value, u16> {
        let path = format!("/v1/tickets/{}", self.ticket);
        let (status, body) = self.live.http(true, "GET", &path, "", &[]).await;
        if status == 200 { Ok(serde_json::from_slice(&body).unwrap()) } else { Err(status) }
    }

    async fn show(&self) -> Value {
        self.shown().await.unwrap()
    }

    /// Until the last offer is in a state.
    async fn is_in(&self, state: &str) -> Value {
        until(state, async || {
            let offer = self.show().await["offers"].as_array().unwrap().last()?.clone();
            (offer["state"] == state).then_some(offer)
        })
        .await
    }

    async fn order(&self, order: Value) {
        let path = format!("/v1/tickets/{}/orders", self.ticket);
        let (status, answer) = self.live.try_post(&path, &order).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// What is in a state is withdrawn, and offered once more; all that is in the technician's mailbox.
    async fn offers_anew(&self, state: &str) {
        self.is_in(state).await;
        self.order(json!({ "order": "hold", "until_ms": now_ms() + 3_600_000 })).await;
        self.order(json!({ "order": "resume" })).await;
        until("it is offered again", async || {
            (self.show().await["offers"].as_array().unwrap().len() == 2).then_some(())
        })
        .await;
        self.live.at_rest().await;
    }

    /// The numbers in a mailbox.
    fn stored(&self, device: EntityId) -> Vec<u64> {
        let journals = self.live.server().node.journals();
        let rows = journals.iter().flat_map(|one| one.mail(device, 10).unwrap().items);
        rows.map(|row| row.number).collect()
    }

    /// Until the customer's first confirmation is in a state.
    async fn is_confirmed(&self, state: &str) {
        until("the confirmation", async || {
            let shown = self.show().await;
            let first = &shown["confirmations"][0];
            (first["number"] == 2 && first["state"] == state).then_some(())
        })
        .await;
    }
}

fn alert(message: &Message) -> AlertBody {
    assert_eq!(message.content.kind, MessageType::Alert);
    minicbor::decode(&message.content.body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_state_of_an_alert_is_told_apart_by_what_its_device_does() {
    let (offered, technician) = Offered::new().await;
    let ticket = offered.ticket;
    let queued = offered.is_in("queued").await;
    assert_eq!(queued["technician"], technician.name.as_str());
    assert_eq!((&queued["epoch"], &queued["position"]), (&1.into(), &0.into()));
    assert_eq!(queued["since_ms"], queued["made_ms"]);
    assert_eq!(queued["ended"], Value::Null);
    // It has the alert, as far as QUIC goes, and says nothing.
    let technician = Phone::connect(&offered.live, technician).await;
    let message = technician.next().await;
    let AlertBody { ticket: alerted, offer, .. } = alert(&message);
    assert_eq!(alerted, ticket);
    let sent = offered.is_in("sent").await;
    technician.acknowledge(&message).await;
    let delivered = offered.is_in("delivered").await;
    technician.respond(ticket, offer, Answer::Seen).await;
    let seen = offered.is_in("seen").await;
    technician.respond(ticket, offer, Answer::Accept { eta_min: 5 }).await;
    let answered = offered.is_in("answered").await;
    assert_eq!(answered["ended"], "accepted", "{answered}");
    let since = [&queued, &sent, &delivered, &seen, &answered];
    let since = since.map(|offer| offer["since_ms"].as_u64().unwrap());
    assert!(since.is_sorted(), "{since:?}");
    // The customer's confirmation, in the same way.
    offered.is_confirmed("queued").await;
    let confirmation = offered.customer.next().await;
    assert_eq!(confirmation.content.kind, MessageType::Confirmation);
    offered.customer.acknowledge(&confirmation).await;
    offered.is_confirmed("delivered").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_comes_back_is_not_shown_what_was_withdrawn() {
    let (offered, technician) = Offered::new().await;
    offered.offers_anew("queued").await;
    let id = technician.id;
    let technician = Phone::connect(&offered.live, technician).await;
    let heard = technician.hears(3).await;
    assert_eq!(passed(&heard), [1], "the first alert");
    let receipt: ReceiptBody = minicbor::decode(&told(&heard, 2).content.body).unwrap();
    assert_eq!(
        (receipt.status, receipt.ticket),
        (ReceiptStatus::NoLongerYours, Some(offered.ticket))
    );
    assert_eq!(alert(told(&heard, 3)).offer, OfferId { epoch: 2, seq: 0 });
    let shown = offered.show().await;
    assert_eq!(shown["offers"][0]["ended"], "withdrawn", "{shown}");
    // As long as the device does not say that it heard it, that it does not come is said again.
    let technician = Phone::connect(&offered.live, technician.device).await;
    let again = technician.hears(3).await;
    assert_eq!(passed(&again), [1]);
    assert_eq!(offered.stored(id), [1, 2, 3]);
    technician.has(&[again[&1].0, again[&2].0]).await;
    until("what was acknowledged goes", async || (offered.stored(id) == [3]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_of_an_earlier_release_is_sent_what_is_over_in_place_of_a_gap() {
    let (offered, mut technician) = Offered::new().await;
    technician.understands = None;
    offered.offers_anew("queued").await;
    let technician = Phone::connect(&offered.live, technician).await;
    let heard = technician.hears(3).await;
    assert!(passed(&heard).is_empty());
    assert_eq!(alert(told(&heard, 1)).offer, OfferId { epoch: 1, seq: 0 });
}

/// It would wait for the number of a word that its release did not count, whether it was sent or not: it is not written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connected_device_of_an_earlier_release_waits_for_no_word_of_what_it_did_not_accept() {
    for (understands, numbers) in [(None, vec![1, 2]), (Some(wire::UNDERSTANDS), vec![1, 2, 3])] {
        let (offered, mut technician) = Offered::new().await;
        technician.understands = understands;
        let id = technician.id;
        let technician = Phone::connect(&offered.live, technician).await;
        assert_eq!(alert(&technician.next().await).offer, OfferId { epoch: 1, seq: 0 });
        offered.offers_anew("sent").await;
        assert_eq!(offered.stored(id), numbers, "{understands:?}");
    }
}

/// Offers end after five seconds, and the same technician is asked again.
const HASTY: &str = r#"
[[policy]]
name = "hasty"

[[policy.step]]
offer = { technicians = 1 }
within = "5s"

[[policy.step]]
tell = { dispatcher = "duty" }
within = "30m"

[[policy.step]]
repeat = { from = 1 }
"#;

#[tokio::test]
async fn a_device_that_comes_back_is_not_shown_a_backlog_of_dead_offers() {
    let (data, devices) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Launch::dev(data.path()).ready().await;
    let (customer, technician) =
        server.pair(devices.path(), ["Ada", "Grace"], &server.devices).await;
    let policies = NamedTempFile::new().unwrap();
    std::fs::write(policies.path(), HASTY).unwrap();
    fieldmesh(&server.dir, &["policy", "apply", text(policies.path())]).await.expect_code(0);
    let ticket = customer.request("the door of the freezer does not close").await;
    let patience = Duration::from_secs(60);
    let shown = until_within(patience, "two offers are over", async || {
        let shown = server.ask(&["ticket", "show", &ticket]).await;
        let offers = shown["offers"].as_array().unwrap();
        let over = offers.iter().filter(|offer| offer["ended"] == "expired").count();
        (over >= 2).then_some(shown)
    })
    .await;
    // None of them reached anybody.
    assert!(shown["offers"].as_array().unwrap().iter().all(|offer| offer["state"] == "queued"));
    let began = now_ms();
    let alert = technician.alert(&ticket).await;
    // A second that has begun is not over.
    let expires = alert["expires_ms"].as_u64().unwrap();
    assert!(expires + 1000 > began, "an offer was over {} ms ago: {alert}", began - expires);
}
