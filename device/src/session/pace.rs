//! How many messages a device has under way: as many as the service takes.
//!
//! A service that is busy means the device and not the one message that it was told with: sent in its place, the
//! next one would be turned away too, and turning away costs the service the time that it is short of. So all wait,
//! and then one asks for all; each that is taken lets one more go (additive increase, RFC 5681 §3.1), so that what
//! was said first goes first. **Invariants:** never more than [`WINDOW_MAX`]; no pause is longer than
//! [`PAUSE_MAX_MS`], whatever the service says and however a clock is set. **Not here:** when one message is sent
//! again that others do not wait for (`session`).

/// Messages under way at a time: the service allows 16 streams.
pub(super) const WINDOW_MAX: usize = 8;
/// Where a service names no time.
const PAUSE_MIN_MS: u64 = 50;
/// Work comes back within a minute of its end, and ten thousand devices ask some hundred times a second until then.
pub(super) const PAUSE_MAX_MS: u64 = 60_000;
/// A pause doubles so often: of the 200 ms that a service usually says it becomes 3.2 to 6.4 s.
const DOUBLED_MAX: u32 = 4;

/// A device's pace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    window: usize,
    /// Unix milliseconds; zero is past.
    until_ms: u64,
    /// Turned away on end.
    refusals: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { window: WINDOW_MAX, until_ms: 0, refusals: 0 }
    }
}

impl Pace {
    /// Messages that may be under way now.
    pub(super) fn window(&self, now_ms: u64) -> usize {
        if self.waits(now_ms) { 0 } else { self.window }
    }

    /// Messages that may be under way but for a pause.
    pub(super) fn size(&self) -> usize {
        self.window
    }

    /// When it may go on, in Unix milliseconds.
    pub(super) fn until_ms(&self) -> u64 {
        self.until_ms
    }

    /// A pause that is further away than any was left behind by a clock that was set back.
    fn waits(&self, now_ms: u64) -> bool {
        (now_ms + 1..=now_ms + PAUSE_MAX_MS).contains(&self.until_ms)
    }

    /// The service took a message.
    pub(super) fn taken(&mut self, now_ms: u64) {
        self.window = (self.window + 1).min(WINDOW_MAX);
        if !self.waits(now_ms) {
            self.refusals = 0;
        }
    }

    /// The service is busy and says for how long; `jitter` sets devices apart that were told at once.
    pub(super) fn busy(&mut self, now_ms: u64, retry_after_ms: u32, jitter: u8) {
        // Of several that were under way together each is turned away: that is once.
        if self.waits(now_ms) {
            return;
        }
        let base = u64::from(retry_after_ms).max(PAUSE_MIN_MS) << self.refusals.min(DOUBLED_MAX);
        let pause = base + base * u64::from(jitter) / 256;
        self.window = 1;
        self.refusals = self.refusals.saturating_add(1);
        self.until_ms = now_ms + pause.min(PAUSE_MAX_MS);
    }

    /// Another connection, perhaps to another node: one may ask at once.
    pub(super) fn reconnected(&mut self) {
        self.until_ms = 0;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use fieldmesh_domain::{EntityId, EntityKind};
    use fieldmesh_envelope::{Signer, SoftwareSigner};
    use fieldmesh_pki::{KeyMaterial, TrustStore};

    use super::*;
    use crate::{
        keys::DeviceKeys,
        outbox::MemoryOutbox,
        session::{Said, Service, Session, SessionParts},
        wire::Reply,
    };

    const NOW_MS: u64 = 1_800_000_000_000;

    /// A device that has said hello, by a clock that is set.
    fn device(clock: &Arc<AtomicU64>) -> Session {
        let material = KeyMaterial::generate().unwrap();
        let signer = |of: &[u8]| SoftwareSigner::from_pkcs8(material.pkcs8(), of).unwrap();
        let mut keys = DeviceKeys { signer: Arc::new(signer(b"device")), hpke: Vec::new() };
        keys.rotate(NOW_MS / 1000).unwrap();
        let (service, key) = (signer(b"service"), keys.hpke[0].public.clone());
        // Not from nought: by that id acknowledgements are answered.
        let (now, drawn) = (Arc::clone(clock), AtomicU64::new(1));
        let mut session = Session::new(SessionParts {
            me: EntityId::new(EntityKind::Technician, "eu1".parse().unwrap(), [7; 10]),
            keys,
            trust: Arc::new(TrustStore::new(Vec::new(), Vec::new()).unwrap()),
            outbox: Box::new(MemoryOutbox::default()),
            clock: Arc::new(move || now.load(Ordering::Relaxed)),
            entropy: Arc::new(move |bytes| {
                let number = drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                bytes.iter_mut().zip(number.iter().cycle()).for_each(|(byte, of)| *byte = *of);
            }),
        });
        let (signer, x5t) = (service.verifying_key().clone(), service.certificate_thumbprint());
        session.service = Some(Service { id: [9; 16], key, signer, x5t });
        session
    }

    #[test]
    fn a_device_that_was_turned_away_asks_once_and_what_was_said_first_goes_first() {
        let clock = Arc::new(AtomicU64::new(NOW_MS));
        let mut session = device(&clock);
        let said: Vec<_> =
            (0..20).map(|_| session.compose(Said::Act, None, vec![1]).unwrap()).collect();
        let sent = |session: &mut Session| -> Vec<_> {
            session.due().0.iter().map(|transmit| transmit.message_id).collect()
        };
        assert_eq!(sent(&mut session), said[..WINDOW_MAX]);
        assert_eq!(session.next_ms(), None, "an answer comes first");
        for id in &said[..WINDOW_MAX] {
            session.replied(*id, Reply::Busy { retry_after_ms: 200 });
        }
        assert!(sent(&mut session).is_empty(), "the others would be turned away too");
        // What comes meanwhile is acknowledged, and that is answered.
        (0..8).for_each(|_| drop(session.replied([0; 16], Reply::Accepted)));
        let next = session.next_ms().unwrap();
        assert!((NOW_MS + 200..NOW_MS + 400).contains(&next));
        clock.store(next, Ordering::Relaxed);
        assert_eq!(sent(&mut session), said[..1]);
        session.replied(said[0], Reply::Accepted);
        assert_eq!(sent(&mut session), said[1..3]);
        // What fails by itself holds up nobody.
        session.replied(said[1], Reply::Unavailable { retry_after_ms: 200 });
        assert_eq!(sent(&mut session), said[3..4]);
    }

    #[test]
    fn all_wait_as_long_as_is_said_and_then_one_asks() {
        let mut pace = Pace::default();
        assert_eq!(pace.window(1_000), WINDOW_MAX);
        pace.busy(1_000, 200, 0);
        assert_eq!((pace.window(1_199), pace.window(1_200)), (0, 1));
        for taken in 2..=WINDOW_MAX + 2 {
            pace.taken(1_200);
            assert_eq!(pace.window(1_200), taken.min(WINDOW_MAX));
        }
    }

    #[test]
    fn pauses_double_until_something_is_taken_and_have_a_bound() {
        let mut pace = Pace::default();
        let mut now = 1_000;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pace.busy(now, 200, 0);
            pauses.push(pace.until_ms() - now);
            now = pace.until_ms();
        }
        assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 3_200, 3_200]);
        pace.taken(now);
        pace.busy(now, 200, u8::MAX);
        assert_eq!(pace.until_ms() - now, 399, "devices come back apart");
        now = pace.until_ms();
        pace.busy(now, u32::MAX, u8::MAX);
        assert_eq!(pace.until_ms() - now, PAUSE_MAX_MS, "nobody is believed for 49 days");
    }

    #[test]
    fn several_that_were_under_way_are_turned_away_once() {
        let mut pace = Pace::default();
        (0..8).for_each(|_| pace.busy(1_000, 200, 0));
        assert_eq!(pace.until_ms(), 1_200);
        pace.taken(1_100);
        assert_eq!(pace.window(1_150), 0, "one that was taken before does not end the pause");
        pace.busy(1_200, 200, 0);
        assert_eq!(pace.until_ms(), 1_600, "nor does it say that the service has time again");
    }

    #[test]
    fn a_clock_that_is_set_back_and_another_connection_end_a_pause() {
        let mut pace = Pace::default();
        pace.busy(10_000_000, 200, 0);
        assert_eq!(pace.window(6_400_000), 1);
        pace.busy(6_400_000, 200, 0);
        assert_eq!(pace.window(6_400_100), 0);
        pace.reconnected();
        assert_eq!(pace.window(6_400_100), 1);
    }
}
