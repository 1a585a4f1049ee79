//! What a message for a device is about, as far as that decides whether it is still worth sending.
//!
//! An alert is worth something until its offer ends, or somebody tells the technician that the ticket is not
//! theirs any more. **Invariants:** what is not an alert is sent until its device would refuse it, and so is what is
//! for a device that cannot be told what does not come; of the rows of a mailbox each is either sent or passed over.
//! **Not here:** when rows are sent and settled (`mailroom`).

use std::{collections::BTreeMap, sync::Arc};

use fieldmesh_domain::{
    EntityId, MessageKind,
    message::{AlertBody, OfferId, ReceiptBody, ReceiptStatus},
    time::Millis,
};

use crate::seams::MailItem;

/// What a row of a mailbox is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum About {
    /// An offer, until it ends.
    Alert { ticket: EntityId, offer: OfferId, ends: Millis },
    /// The technician does not have the ticket any more.
    Withdrawal { ticket: EntityId },
    #[default]
    Other,
}

impl About {
    pub fn of(kind: MessageKind, body: &[u8]) -> Self {
        match kind {
            MessageKind::Alert => match minicbor::decode::<AlertBody>(body) {
                Ok(AlertBody { ticket, offer, expires: ends, .. }) => {
                    Self::Alert { ticket, offer, ends }
                }
                Err(_) => Self::Other,
            },
            MessageKind::Receipt => match minicbor::decode::<ReceiptBody>(body) {
                Ok(ReceiptBody {
                    status: ReceiptStatus::NoLongerYours,
                    ticket: Some(ticket),
                    ..
                }) => Self::Withdrawal { ticket },
                Ok(_) | Err(_) => Self::Other,
            },
            MessageKind::Confirmation | MessageKind::Note => Self::Other,
        }
    }

    /// The second from which on it is not worth sending, where its device refuses it from `refused_s` on.
    fn ends_s(self, refused_s: u64) -> u64 {
        match self {
            Self::Alert { ends, .. } => refused_s.min(ends.0.div_ceil(1000)),
            Self::Withdrawal { .. } | Self::Other => refused_s,
        }
    }
}

impl MailItem {
    /// The second from which on it is not worth sending to a device that can be told so.
    pub(crate) fn ends_s(&self) -> u64 {
        self.about.ends_s(self.expires_s)
    }

    /// In place of a row that is passed over: its device need not wait for the number.
    pub(crate) fn passed_over(&self) -> Self {
        Self { signed: Arc::from([]), about: About::Other, ..self.clone() }
    }

    /// It stands in the place of a row that is passed over.
    pub fn is_passed_over(&self) -> bool {
        self.signed.is_empty()
    }
}

/// Rows of one mailbox, oldest first: those to send, and those to pass over. A device that cannot be told is sent all
/// that it would take.
pub(crate) fn sorted(
    rows: Vec<MailItem>,
    now_s: u64,
    passes: bool,
) -> (Vec<MailItem>, Vec<MailItem>) {
    if !passes {
        return rows.into_iter().partition(|row| row.expires_s > now_s);
    }
    let mut withdrawn: BTreeMap<EntityId, u64> = BTreeMap::new();
    for row in &rows {
        if let About::Withdrawal { ticket } = row.about {
            withdrawn.insert(ticket, row.number);
        }
    }
    let is_worth = |row: &MailItem| {
        let is_withdrawn = match row.about {
            About::Alert { ticket, .. } => withdrawn.get(&ticket) > Some(&row.number),
            About::Withdrawal { .. } | About::Other => false,
        };
        row.ends_s() > now_s && !is_withdrawn
    };
    rows.into_iter().partition(is_worth)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::{EntityKind, message::Location};

    use super::*;

    const WEEK_S: u64 = 7 * 24 * 3600;

    fn id(kind: EntityKind, number: u8) -> EntityId {
        EntityId::new(kind, "eu1".parse().unwrap(), [number; 10])
    }

    fn alert(ticket: u8, ends_ms: u64) -> Vec<u8> {
        let (offer, location, text) = (OfferId::default(), Location::default(), String::new());
        minicbor::to_vec(AlertBody {
            ticket: id(EntityKind::Ticket, ticket),
            offer,
            category: 1,
            subcategory: 1,
            priority: 1,
            location,
            distance_m: 0,
            text,
            expires: Millis(ends_ms),
        })
        .unwrap()
    }

    fn receipt(ticket: u8, status: ReceiptStatus) -> Vec<u8> {
        let ticket = Some(id(EntityKind::Ticket, ticket));
        minicbor::to_vec(ReceiptBody { status, ticket, reason: String::new() }).unwrap()
    }

    fn row(number: u64, kind: MessageKind, body: &[u8]) -> MailItem {
        let about = About::of(kind, body);
        MailItem {
            to: id(EntityKind::Technician, 1),
            number,
            message_id: u128::from(number).to_be_bytes(),
            signed: body.into(),
            expires_s: WEEK_S,
            about,
        }
    }

    fn numbers(rows: &[MailItem]) -> Vec<u64> {
        rows.iter().map(|row| row.number).collect()
    }

    #[test]
    fn an_alert_lives_as_long_as_its_offer_and_what_was_promised_a_week() {
        let rows = || {
            vec![
                row(1, MessageKind::Alert, &alert(1, 60_000)),
                row(2, MessageKind::Confirmation, &[]),
                row(3, MessageKind::Alert, &alert(2, 60_001)),
                row(4, MessageKind::Receipt, &receipt(1, ReceiptStatus::Invalid)),
            ]
        };
        for (now_s, sent, passed) in [
            (59, vec![1, 2, 3, 4], vec![]),
            // A second that has begun is not over.
            (60, vec![2, 3, 4], vec![1]),
            (61, vec![2, 4], vec![1, 3]),
            (WEEK_S, vec![], vec![1, 2, 3, 4]),
        ] {
            let (send, pass) = sorted(rows(), now_s, true);
            assert_eq!((numbers(&send), numbers(&pass)), (sent, passed), "{now_s}");
        }
        // An offer that never ends is refused by the device in the end.
        assert_eq!(row(1, MessageKind::Alert, &alert(1, u64::MAX)).ends_s(), WEEK_S);
    }

    #[test]
    fn what_was_withdrawn_is_not_told_and_what_is_offered_again_is() {
        let gone = receipt(1, ReceiptStatus::NoLongerYours);
        let rows = vec![
            row(1, MessageKind::Alert, &alert(1, 60_000)),
            row(2, MessageKind::Alert, &alert(2, 60_000)),
            row(3, MessageKind::Receipt, &gone),
            row(4, MessageKind::Alert, &alert(1, 60_000)),
        ];
        let (send, pass) = sorted(rows.clone(), 0, true);
        assert_eq!((numbers(&send), numbers(&pass)), (vec![2, 3, 4], vec![1]));
        assert!(pass[0].passed_over().is_passed_over());
        assert!(!pass[0].is_passed_over());
        // A gap of which nobody tells costs its device more than what is over.
        for (now_s, sent) in [(WEEK_S - 1, vec![1, 2, 3, 4]), (WEEK_S, vec![])] {
            let (send, _) = sorted(rows.clone(), now_s, false);
            assert_eq!(numbers(&send), sent, "{now_s}");
        }
    }

    #[test]
    fn what_does_not_decode_is_sent_like_anything_else() {
        let about = [MessageKind::Alert, MessageKind::Receipt].map(|kind| About::of(kind, &[0xff]));
        assert_eq!(about, [About::Other; 2]);
    }

    /// Whatever is in a mailbox of five: each row is sent or passed over, in order, and only alerts go before
    /// their time.
    #[test]
    fn each_row_is_sent_or_passed_over() {
        const KINDS: u32 = 6;
        let gone = |ticket| receipt(ticket, ReceiptStatus::NoLongerYours);
        let one = |kind, number| match kind {
            0 => row(number, MessageKind::Alert, &alert(1, 1000)),
            1 => row(number, MessageKind::Alert, &alert(1, 3000)),
            2 => row(number, MessageKind::Alert, &alert(2, 3000)),
            3 => row(number, MessageKind::Receipt, &gone(1)),
            4 => row(number, MessageKind::Receipt, &gone(2)),
            _ => row(number, MessageKind::Note, &[]),
        };
        let is_alert = |row: &MailItem| matches!(row.about, About::Alert { .. });
        for mailbox in 0..KINDS.pow(5) {
            let kinds = (0..5).map(|at| mailbox / KINDS.pow(at) % KINDS);
            let rows: Vec<MailItem> = kinds.zip(1..).map(|(kind, at)| one(kind, at)).collect();
            for now_s in [0, 1, 3] {
                let (send, pass) = sorted(rows.clone(), now_s, true);
                let mut both = [numbers(&send), numbers(&pass)].concat();
                both.sort_unstable();
                assert_eq!(both, [1, 2, 3, 4, 5]);
                assert!(numbers(&send).is_sorted() && numbers(&pass).is_sorted());
                assert!(pass.iter().all(is_alert), "{pass:?}");
                assert!(send.iter().all(|row| row.ends_s() > now_s), "{send:?}");
            }
        }
    }
}
