//! A technician who accepted comes at another time than it said, and the customer hears so.

use fieldmesh_domain::{
    Command, RejectionCode,
    message::{Answer, ETA_MIN_MAX, OfferId, ReceiptStatus, ResponseBody},
    ticket::{self, Order, Stage},
};

use crate::{
    orders::{accepted, completed},
    saga::opened,
    world::technician,
};

const BEST: u8 = 0;
const HOUR_S: u64 = 3600;

/// Forty-five days would keep the promise to respond, and nobody would come.
#[test]
fn who_accepts_comes_within_a_week() {
    let (mut world, ticket) = opened(1);
    let eta = |eta_min| Answer::Accept { eta_min };
    world.says(BEST, ticket, 1, eta(ETA_MIN_MAX + 1));
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Offered, "that is no answer");
    world.says(BEST, ticket, 1, eta(ETA_MIN_MAX));
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Accepted);
    // Who is there already says so.
    let (mut world, ticket) = opened(1);
    world.says(BEST, ticket, 1, eta(0));
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::Accepted);
}

#[test]
fn a_technician_says_that_it_is_late_and_the_customer_hears_when_it_comes() {
    let (mut world, ticket) = accepted(2);
    world.says(BEST, ticket, 1, Answer::Eta { eta_min: 90 });
    world.deliver_all();
    world.all_agree();
    assert_eq!(world.receipts(BEST).last(), Some(&ReceiptStatus::Received));
    let told = world.confirmations(ticket);
    assert_eq!(told.iter().map(|body| body.number).collect::<Vec<_>>(), [2, 3]);
    let changed = &told[1];
    assert_eq!((changed.eta_min, changed.technician), (Some(90), Some(technician(BEST))));
    assert!(!changed.technician_name.is_empty());
    assert_eq!(world.timers[&ticket].1, world.now.after_s(90 * 60 + HOUR_S));
    assert_eq!(world.stands(ticket).0, Stage::Accepted);
    // On the way it may be later still, and once it is there it is not late any more.
    world.says(BEST, ticket, 1, Answer::EnRoute);
    world.says(BEST, ticket, 1, Answer::Eta { eta_min: 15 });
    world.deliver_all();
    assert_eq!(world.stands(ticket).0, Stage::EnRoute);
    assert_eq!(world.confirmations(ticket)[2].eta_min, Some(15));
    world.says(BEST, ticket, 1, Answer::OnSite);
    world.says(BEST, ticket, 1, Answer::Eta { eta_min: 15 });
    world.deliver_all();
    assert_eq!(world.receipts(BEST).last(), Some(&ReceiptStatus::Invalid));
    assert_eq!(world.confirmations(ticket).len(), 3);
}

#[test]
fn who_has_not_accepted_has_no_arrival() {
    let (mut world, ticket) = opened(2);
    world.says(BEST, ticket, 1, Answer::Eta { eta_min: 90 });
    world.deliver_all();
    assert_eq!(world.receipts(BEST).last(), Some(&ReceiptStatus::Invalid));
    assert_eq!(world.confirmations(ticket), []);
    let eta = Order::Eta { eta_min: 90 };
    assert_eq!(world.refusal(ticket, eta.clone()).0, RejectionCode::NotNow);
    let (world, ticket) = completed(2);
    assert_eq!(world.refusal(ticket, eta).0, RejectionCode::NotNow);
}

#[test]
fn a_dispatcher_says_it_for_the_technician() {
    let (mut world, ticket) = accepted(2);
    world.order(ticket, Order::Eta { eta_min: 45 });
    world.deliver_all();
    world.all_agree();
    assert_eq!(world.confirmations(ticket)[1].eta_min, Some(45));
    assert_eq!(world.timers[&ticket].1, world.now.after_s(45 * 60 + HOUR_S));
}

/// After a promotion the ticket does not know whether its technician has it: the deadline is near until it says so,
/// and what it said of its arrival meanwhile counts then.
#[test]
fn an_arrival_that_is_said_after_a_promotion_hides_no_technician_that_does_not_answer() {
    let (mut world, ticket) = accepted(2);
    let promised = world.state(ticket).due;
    world.ask(ticket, Command::Ticket(ticket::Command::Reconcile { promotion: 1 }));
    let near = world.state(ticket).due;
    assert!(near < promised, "{near:?}");
    // What is on its way to the technician waits; its device has the same offer as before.
    let (technician, offer, eta_min) = (technician(BEST), OfferId { epoch: 1, seq: 0 }, 300);
    let eta = ticket::Command::Eta { technician, offer, eta_min };
    world.ask(ticket, Command::Ticket(eta));
    assert_eq!(world.confirmations(ticket)[1].eta_min, Some(300));
    assert_eq!(world.state(ticket).due, near);
    assert_eq!(world.timers[&ticket].1, near);
    let said = world.now.after_s(300 * 60 + HOUR_S);
    world.deliver_all();
    assert_eq!(world.state(ticket).due, said);
    assert_eq!(world.timers[&ticket].1, said);
    // A dispatcher's word waits for the technician's.
    world.ask(ticket, Command::Ticket(ticket::Command::Reconcile { promotion: 2 }));
    assert_eq!(world.refusal(ticket, Order::Eta { eta_min: 300 }).0, RejectionCode::NotNow);
}

#[test]
fn an_arrival_is_to_come_and_within_a_week() {
    let (world, ticket) = accepted(2);
    for (eta_min, is_sense) in
        [(0, false), (1, true), (ETA_MIN_MAX, true), (ETA_MIN_MAX + 1, false), (u16::MAX, false)]
    {
        let (offer, answer) = (OfferId { epoch: 1, seq: 0 }, Answer::Eta { eta_min });
        assert_eq!(ResponseBody { ticket, offer, answer }.check().is_ok(), is_sense, "{eta_min}");
        if !is_sense {
            let refusal = world.refusal(ticket, Order::Eta { eta_min });
            assert_eq!(refusal.0, RejectionCode::Invalid, "{eta_min}");
        }
    }
}
