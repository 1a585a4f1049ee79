//! Leases: who may have them, what they do, and that all of it ends.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use fieldmesh_chaos::{Network, Pick};
use fieldmesh_domain::{
    EntityId, EntityKind, IndexRow,
    placement::{Allowances, Ended},
};
use tokio::sync::mpsc;

use super::*;
use crate::audit::Audit;

struct Noon;

impl Clock for Noon {
    fn now_ms(&self) -> u64 {
        1_000_000
    }
}

const LATE: Fault = Fault::Clock { offset_ms: -1_000 };
const SLOW: Fault = Fault::SlowDisk { delay_ms: 20 };
const SHORT: Fault = Fault::ShortLives { life_s: 9 };

/// Where it is what the test says.
#[derive(Default)]
struct Told(AtomicU64);

impl Clock for Told {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn lab() -> Chaos {
    Chaos::new(true, Arc::new(Noon))
}

/// A node in production, on which chaos is allowed until a time.
fn agreed_until(until_ms: u64) -> (Arc<Chaos>, Arc<Agreement>, Arc<Told>) {
    let (agreement, clock) = (Agreement::new(Audit::nowhere()), Arc::new(Told::default()));
    let (since, until) = (Millis(0), Millis(until_ms));
    let (why, proposed_by, approved_by) = ("a game".into(), "ann".into(), "bob".into());
    let allowance = Some(Allowance { since, until, why, proposed_by, approved_by });
    let row = Allowances { epoch: 2, allowance, ..Allowances::default() };
    agreement.applied(&[IndexRow::Allowances(row)]);
    let chaos = Chaos::new(false, Arc::clone(&clock) as _).by_agreement(&agreement);
    (Arc::new(chaos), agreement, clock)
}

/// What is on record by now.
fn recorded(lines: &mut mpsc::Receiver<Vec<u8>>) -> Vec<String> {
    let lines = std::iter::from_fn(|| lines.try_recv().ok());
    lines.map(|line| String::from_utf8(line).unwrap()).collect()
}

/// Of what is in force, by its number.
fn effect(chaos: &Chaos, number: u64) -> u64 {
    chaos.in_force().into_iter().find(|one| one.number == number).unwrap().effect
}

#[tokio::test(start_paused = true)]
async fn what_operators_agreed_leaves_clocks_right_and_disks_with_room() {
    let (chaos, _, _) = agreed_until(60_000);
    assert_eq!(chaos.lease(1, SLOW, LEASE_MAX), Ok(true));
    assert_eq!(chaos.lease(1, SLOW, LEASE_MAX), Ok(false), "it goes on");
    let guarded = [
        (LATE, "clock"),
        (Fault::FullDisk, "disk.full"),
        (Fault::PowerCut, "disk.lost"),
        (SHORT, "expire"),
    ];
    for (fault, name) in guarded {
        assert_eq!(chaos.lease(2, fault, LEASE_MAX), Err(LeaseError::Guarded(name)));
    }
    assert_eq!(chaos.in_force().len(), 1);
    chaos.dismiss().unwrap();
}

#[tokio::test(start_paused = true)]
async fn leases_end_with_the_time_of_what_operators_agreed() {
    let (chaos, _, clock) = agreed_until(60_000);
    let keeps = tokio::spawn(Arc::clone(&chaos).keep());
    chaos.lease(1, SLOW, LEASE_MAX).unwrap();
    clock.0.store(59_999, Ordering::Relaxed);
    tokio::time::sleep(2 * LOOK_EVERY).await;
    assert_eq!(chaos.in_force().len(), 1);
    clock.0.store(60_000, Ordering::Relaxed);
    assert_eq!(chaos.lease(1, SLOW, LEASE_MAX), Err(LeaseError::NotAllowed));
    tokio::time::sleep(2 * LOOK_EVERY).await;
    assert_eq!((chaos.in_force().len(), chaos.disk().delay()), (0, Duration::ZERO));
    keeps.abort();
}

#[tokio::test(start_paused = true)]
async fn leases_end_at_once_when_an_operator_ends_what_was_agreed() {
    let (chaos, agreement, _) = agreed_until(60_000);
    let keeps = tokio::spawn(Arc::clone(&chaos).keep());
    chaos.lease(1, SLOW, LEASE_MAX).unwrap();
    tokio::task::yield_now().await;
    let ended = Some(Ended { at: Millis(1), by: "cid".into() });
    let row = Allowances { epoch: 3, ended, ..Allowances::default() };
    agreement.applied(&[IndexRow::Allowances(row)]);
    // Time stands still: nobody has looked meanwhile.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!((chaos.in_force().len(), chaos.disk().delay()), (0, Duration::ZERO));
    assert_eq!(chaos.lease(1, SLOW, LEASE_MAX), Err(LeaseError::NotAllowed));
    keeps.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_renewed_ends_by_itself() {
    let chaos = lab();
    let (clock, disk) = (chaos.on_clock(Noon), chaos.disk());
    chaos.lease(1, LATE, Duration::from_secs(2)).unwrap();
    chaos.lease(2, SLOW, Duration::from_secs(3600)).unwrap();
    assert_eq!((clock.now_ms(), disk.delay()), (999_000, Duration::from_millis(20)));
    tokio::time::advance(Duration::from_secs(1)).await;
    chaos.lease(1, LATE, Duration::from_secs(2)).unwrap();
    tokio::time::advance(Duration::from_millis(1_900)).await;
    chaos.reap(Instant::now());
    assert_eq!(clock.now_ms(), 999_000, "it was renewed");
    tokio::time::advance(Duration::from_millis(200)).await;
    chaos.reap(Instant::now());
    assert_eq!(clock.now_ms(), 1_000_000);
    assert_eq!(disk.delay(), Duration::from_millis(20));
    tokio::time::advance(LEASE_MAX).await;
    chaos.reap(Instant::now());
    assert_eq!(disk.delay(), Duration::ZERO, "an hour is too long for a lease");
}

#[tokio::test(start_paused = true)]
async fn the_shortest_life_that_is_leased_counts_and_none_when_none_is() {
    let chaos = lab();
    let lives = chaos.lives();
    assert_eq!(lives.life_s(), None);
    chaos.lease(1, SHORT, LEASE_MAX).unwrap();
    chaos.lease(2, Fault::ShortLives { life_s: 60 }, LEASE_MAX).unwrap();
    assert_eq!(lives.life_s(), Some(9));
    assert!(chaos.end(1).is_some());
    assert_eq!(lives.life_s(), Some(60));
    chaos.stop();
    assert_eq!(lives.life_s(), None);
    let never = Fault::ShortLives { life_s: 0 };
    assert_eq!(lab().lease(1, never, LEASE_MAX), Err(LeaseError::Range("expire")));
}

#[tokio::test(start_paused = true)]
async fn all_ends_at_once_when_that_is_wanted() {
    let chaos = lab();
    chaos.lease(1, Fault::FullDisk, LEASE_MAX).unwrap();
    chaos.lease(2, LATE, LEASE_MAX).unwrap();
    chaos.lease(3, LATE, LEASE_MAX).unwrap();
    assert!(chaos.disk().is_full());
    assert_eq!(chaos.on_clock(Noon).now_ms(), 998_000, "two of them");
    assert!(chaos.end(2).is_some() && chaos.end(2).is_none());
    assert_eq!(chaos.in_force().len(), 2);
    assert_eq!(chaos.stop().len(), 2);
    assert_eq!(chaos.lease(4, LATE, LEASE_MAX), Err(LeaseError::Stopped));
    assert_eq!((chaos.disk().is_full(), chaos.on_clock(Noon).now_ms()), (false, 1_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_node_takes_no_lease_that_it_may_not_or_cannot_have() {
    let refusing = Chaos::new(false, Arc::new(Noon));
    assert_eq!(refusing.lease(1, LATE, LEASE_MAX), Err(LeaseError::NotAllowed));
    let chaos = lab();
    assert_eq!(chaos.lease(1, Fault::Kill, LEASE_MAX), Err(LeaseError::Outside("kill")));
    let forever = Fault::SlowDisk { delay_ms: u64::MAX };
    assert_eq!(chaos.lease(1, forever, LEASE_MAX), Err(LeaseError::Range("disk.slow")));
    let before = Network { delay_ms: 1, jitter_ms: 2, ..Network::default() };
    assert!(chaos.lease(1, Fault::Network(before), LEASE_MAX).is_err());
    let network = Network { loss_percent: 100, ..Network::default() };
    let link = |with| Fault::Link { with, network };
    let nobody = Err(LeaseError::NoOtherNode("partition"));
    assert_eq!(chaos.lease(1, link(Pick::Node(2)), LEASE_MAX), nobody);
    chaos.knows_peers(|number| match number {
        2 => BTreeSet::from([SocketAddr::from(([127, 0, 0, 1], 7445))]),
        _ => BTreeSet::new(),
    });
    assert_eq!(chaos.lease(1, link(Pick::Node(3)), LEASE_MAX), nobody);
    // Who leads is for whoever asks to know.
    assert_eq!(chaos.lease(1, link(Pick::Leader(None)), LEASE_MAX), nobody);
    assert_eq!(chaos.lease(1, link(Pick::Node(2)), LEASE_MAX), Ok(true));
    assert_eq!(chaos.lease(1, link(Pick::Node(2)), LEASE_MAX), Ok(false));
    assert!(chaos.end(1).is_some());
    for number in 0..LEASES_MAX as u64 {
        chaos.lease(number, SLOW, LEASE_MAX).unwrap();
    }
    assert_eq!(chaos.lease(1_000, SLOW, LEASE_MAX), Err(LeaseError::Many));
    chaos.lease(0, LATE, LEASE_MAX).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_drifts_is_ever_farther_off_and_right_again_behind_the_lease() {
    let chaos = lab();
    let clock = chaos.on_clock(Noon);
    let fast = Fault::Drift { ppm: 100_000 };
    chaos.lease(1, fast, LEASE_MAX).unwrap();
    assert_eq!(clock.now_ms(), 1_000_000);
    for (elapsed_ms, gained) in [(1_000, 100), (2_000, 300)] {
        tokio::time::advance(Duration::from_millis(elapsed_ms)).await;
        chaos.reap(Instant::now());
        assert_eq!(clock.now_ms(), 1_000_000 + gained);
        // Renewed, it goes on from where it is.
        assert_eq!(chaos.lease(1, fast, LEASE_MAX), Ok(false));
        assert_eq!(clock.now_ms(), 1_000_000 + gained);
    }
    assert!(chaos.end(1).is_some());
    assert_eq!(clock.now_ms(), 1_000_000);
    let faster = Fault::Drift { ppm: i64::MIN };
    assert_eq!(chaos.lease(1, faster, LEASE_MAX), Err(LeaseError::Range("drift")));
}

fn entity(number: u64) -> EntityId {
    // An odd factor without a pattern: numbers in a row become bytes all over.
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    EntityId::new(EntityKind::Ticket, "eu1".parse().unwrap(), random)
}

#[tokio::test(start_paused = true)]
async fn as_many_entities_as_are_wanted_fail_once_or_are_late() {
    let (chaos, entities) = (lab(), (0..1_000_u64).map(entity).collect::<Vec<_>>());
    let actors = chaos.actors();
    let count = |is_so: &dyn Fn(EntityId) -> bool| entities.iter().filter(|id| is_so(**id)).count();
    assert_eq!(count(&|id| actors.fails(id) || actors.is_stalled(id)), 0);
    chaos.lease(1, Fault::FailingActors { percent: 30 }, LEASE_MAX).unwrap();
    chaos.lease(2, Fault::SlowActors { percent: 10, delay_ms: 7 }, LEASE_MAX).unwrap();
    let failed = count(&|id| actors.fails(id));
    assert!((200..400).contains(&failed), "{failed}");
    assert_eq!(count(&|id| actors.fails(id)), 0, "each once");
    let slow = count(&|id| actors.delay(id) == Duration::from_millis(7));
    assert!((50..200).contains(&slow), "{slow}");
    assert_eq!(count(&|id| actors.is_stalled(id)), 0);
    assert_eq!(chaos.end(1).unwrap().effect, failed as u64);
    chaos.lease(3, Fault::FailingActors { percent: 30 }, LEASE_MAX).unwrap();
    assert_eq!(count(&|id| actors.fails(id)), failed, "once more in another fault");
    chaos.stop();
    assert_eq!(count(&|id| actors.fails(id) || !actors.delay(id).is_zero()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_ends_is_on_record_with_its_figures_and_what_it_did() {
    let (audit, mut lines) = Audit::looked_at();
    let chaos = lab().recorded_in(&audit);
    chaos.lease(7, SLOW, LEASE_MAX).unwrap();
    chaos.disk().slowed.happened();
    chaos.lease(8, LATE, LEASE_MAX).unwrap();
    assert!(chaos.end(8).is_some());
    chaos.reap(Instant::now());
    assert_eq!(recorded(&mut lines), [""; 0], "who ends one says so");
    tokio::time::advance(LEASE_MAX).await;
    chaos.reap(Instant::now());
    assert_eq!(
        recorded(&mut lines),
        [
            "{\"at_ms\":1000000,\"event\":\"chaos\",\"what\":\"lease_expired\",\"lease\":7,\"fault\":\"disk.slow\",\
           \"figures\":{\"kind\":\"slow_disk\",\"delay_ms\":20},\"effect\":1}\n"
        ]
    );
    chaos.reap(Instant::now());
    assert_eq!(recorded(&mut lines), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ends_with_what_allowed_it_is_on_record_as_that() {
    let (audit, mut lines) = Audit::looked_at();
    let (_, agreement, clock) = agreed_until(60_000);
    let chaos = Chaos::new(false, Arc::clone(&clock) as _);
    let chaos = chaos.by_agreement(&agreement).recorded_in(&audit);
    chaos.lease(7, SLOW, LEASE_MAX).unwrap();
    assert!(chaos.look(true));
    assert_eq!(recorded(&mut lines), [""; 0]);
    clock.0.store(60_000, Ordering::Relaxed);
    assert!(!chaos.look(true));
    let lines = recorded(&mut lines);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("\"what\":\"lease_forbidden\",\"lease\":7,"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn each_lease_counts_what_it_does_and_no_other() {
    let chaos = lab();
    let (clock, actors) = (chaos.on_clock(Noon), chaos.actors());
    clock.now_ms();
    chaos.lease(1, LATE, LEASE_MAX).unwrap();
    chaos.lease(2, Fault::Drift { ppm: 1_000 }, LEASE_MAX).unwrap();
    clock.now_ms();
    // It gains a millisecond in a second.
    assert_eq!([1, 2].map(|number| effect(&chaos, number)), [1, 0]);
    tokio::time::advance(Duration::from_secs(1)).await;
    chaos.reap(Instant::now());
    clock.now_ms();
    assert_eq!([1, 2].map(|number| effect(&chaos, number)), [2, 1]);
    // Renewed, it goes on counting; another fault under the same number begins anew.
    assert_eq!(chaos.lease(1, LATE, LEASE_MAX), Ok(false));
    assert_eq!(effect(&chaos, 1), 2);
    assert_eq!(chaos.lease(1, SLOW, LEASE_MAX), Ok(true));
    assert_eq!(effect(&chaos, 1), 0);

    chaos.lease(3, Fault::StalledActors { percent: 100 }, LEASE_MAX).unwrap();
    assert!(actors.holds_back(entity(1)) && actors.holds_back(entity(1)));
    chaos.lease(4, Fault::SlowActors { percent: 100, delay_ms: 5 }, LEASE_MAX).unwrap();
    assert!(actors.holds_back(entity(2)));
    assert_eq!([3, 4].map(|number| effect(&chaos, number)), [3, 1]);
    assert_eq!(chaos.end(3).unwrap().effect, 3);
    assert!(actors.holds_back(entity(1)));
    assert_eq!(chaos.end(4).unwrap().effect, 2);
    assert!(!actors.holds_back(entity(1)));
    assert_eq!((effect(&chaos, 1), effect(&chaos, 2)), (0, 1), "nothing of it is theirs");
}

#[test]
fn what_is_used_for_nothing_is_used() {
    // Whatever this machine has.
    let chaos = Chaos { memory: || None, ..lab() };
    for (number, fault) in
        [(1, Fault::HeldMemory { mib: 2 }), (2, Fault::BusyProcessor { threads: 1 })]
    {
        chaos.lease(number, fault, LEASE_MAX).unwrap();
        // Threads of its own: until they have come so far.
        while effect(&chaos, number) == 0 {
            std::thread::yield_now();
        }
    }
    assert_eq!(chaos.end(1).unwrap().effect, 2, "mebibytes");
}

#[tokio::test(start_paused = true)]
async fn a_herd_is_of_those_who_are_connected() {
    let chaos = lab();
    let _edge = chaos.dismissed();
    assert_eq!(chaos.dismiss(), Ok(0));
    assert_eq!(chaos.connected(), 0);
    let connections = [chaos.dismissed(), chaos.dismissed()];
    assert_eq!(chaos.connected(), 2);
    assert_eq!(chaos.dismiss(), Ok(2));
    assert!(connections.iter().all(|connection| connection.has_changed().unwrap()));
    let refusing = Chaos::new(false, Arc::new(Noon));
    assert_eq!(refusing.dismiss(), Err(LeaseError::NotAllowed));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_sent_away_where_chaos_was_stopped() {
    let chaos = lab();
    let (_edge, connection) = (chaos.dismissed(), chaos.dismissed());
    chaos.stop();
    assert_eq!(chaos.dismiss(), Err(LeaseError::Stopped));
    assert!(!connection.has_changed().unwrap());
    tokio::time::advance(STOPPED_FOR).await;
    assert_eq!(chaos.dismiss(), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn where_operators_agreed_nobody_is_sent_away_again_before_all_are_back() {
    let (chaos, _, _) = agreed_until(3_600_000);
    let (_edge, mut connection) = (chaos.dismissed(), chaos.dismissed());
    assert_eq!(chaos.dismiss(), Ok(1));
    connection.mark_unchanged();
    assert_eq!(chaos.dismiss(), Err(LeaseError::Herded { left_s: 60 }));
    tokio::time::advance(Duration::from_millis(59_001)).await;
    assert_eq!(chaos.dismiss(), Err(LeaseError::Herded { left_s: 1 }));
    assert!(!connection.has_changed().unwrap());
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(chaos.dismiss(), Ok(1));
    // What was refused did not begin the time anew, what was done did.
    assert_eq!(chaos.dismiss(), Err(LeaseError::Herded { left_s: 60 }));
    // In a lab there is nobody whom it harms.
    let lab = lab();
    assert_eq!([lab.dismiss(), lab.dismiss()], [Ok(0), Ok(0)]);
}

#[test]
fn a_node_holds_no_more_memory_than_its_machine_can_give() {
    static AVAILABLE: AtomicU64 = AtomicU64::new(0);
    let chaos = Chaos { memory: || Some(AVAILABLE.load(Ordering::Relaxed)), ..lab() };
    let has_mib = |mib: u64| AVAILABLE.store(mib << 20, Ordering::Relaxed);
    let lease = |number, mib| chaos.lease(number, Fault::HeldMemory { mib }, LEASE_MAX);
    has_mib(ballast::SPARE_MIB + 3);
    let refused = lease(1, 16_000).unwrap_err();
    assert_eq!(refused, LeaseError::NoMemory { mib: 16_000, most_mib: 3 });
    let told = refused.to_string();
    assert!(told.contains("16000 MiB") && told.contains("give 3:"), "{told}");
    assert_eq!(lease(1, 4), Err(LeaseError::NoMemory { mib: 4, most_mib: 3 }));
    assert_eq!(chaos.in_force().len(), 0);
    assert_eq!(lease(1, 3), Ok(true));
    // What is held is not available any more, and is asked for no second time.
    has_mib(1);
    assert_eq!(lease(1, 3), Ok(false));
    assert_eq!(lease(2, 2), Ok(true));
    assert_eq!(lease(3, 4), Err(LeaseError::NoMemory { mib: 4, most_mib: 0 }));
    chaos.stop();
    let unknown = Chaos { memory: || None, ..lab() };
    assert_eq!(unknown.lease(1, Fault::HeldMemory { mib: 1 }, LEASE_MAX), Ok(true));
}
