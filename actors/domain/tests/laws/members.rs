//! What must hold of the cluster's nodes and its groups' places, whatever joins, leaves or is moved.

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_domain::{
    Aggregate, Ctx, Effect, EntityId, EntityKind, IndexRow, Region, RejectionCode,
    placement::{
        Command, Event, LEVEL, Member, Members, PLACEMENT, Placed, Placement, Policy, Presence,
    },
    time::Millis,
};
use proptest::prelude::*;

use crate::{areas::said, world::through_bytes};

pub(crate) const SHARDS: u32 = 6;

pub(crate) const REGIONS: [&str; 3] = ["eu1", "us1", "ap1"];

/// Twenty nodes are in each region.
pub(crate) fn region(number: u64) -> Region {
    REGIONS[usize::try_from((number - 1) / 20).unwrap()].parse().unwrap()
}

pub(crate) fn member(number: u64) -> Member {
    let id = u8::try_from(number).unwrap();
    Member {
        number,
        identity: EntityId::new(EntityKind::Registration, region(number), [id; 10]),
        mesh: format!("10.0.0.{number}:7445"),
        devices: format!("10.0.0.{number}:7443"),
        https: format!("10.0.0.{number}:8443"),
        presence: Presence::Active,
        since: Millis(0),
        level: LEVEL,
    }
}

pub(crate) fn join(number: u64) -> Command {
    Command::Join { member: member(number), shards: SHARDS, by: "op".into() }
}

pub(crate) fn node() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 1_u64..8, 2 => 21_u64..25, 1 => 41_u64..43]
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let by = || Just("op".to_owned());
    let place = || prop_oneof![Just(region(1)), Just(region(21)), Just(region(41))];
    let policy = prop_oneof![
        1 => Just(Policy::Zone),
        2 => place().prop_map(Policy::Standby),
        2 => (place(), place()).prop_map(|(one, other)| Policy::Region(one, other)),
    ];
    let voters = prop::collection::vec(node(), 1..4);
    prop_oneof![
        6 => node().prop_map(join),
        2 => (node(), by()).prop_map(|(number, by)| Command::Drain { number, by }),
        1 => (node(), by()).prop_map(|(number, by)| Command::Resume { number, by }),
        2 => (node(), by()).prop_map(|(number, by)| Command::Leave { number, by }),
        2 => node().prop_map(|number| Command::Left { number }),
        2 => node().prop_map(|number| Command::NotHeard { number }),
        1 => node().prop_map(|number| Command::HeardAgain { number }),
        2 => (0..=SHARDS, voters, by())
            .prop_map(|(group, voters, by)| Command::Assign { group, voters, by }),
        2 => (place(), policy, by())
            .prop_map(|(region, policy, by)| Command::SetPolicy { region, policy, by }),
        1 => said().prop_map(Command::SetAreas),
    ]
}

pub(crate) fn ctx(at: u64) -> Ctx {
    crate::bundles::ctx(Millis(at))
}

/// A cluster, and all that happened to it.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) state: Placement,
    log: Vec<Event>,
    rows: Members,
}

impl Cluster {
    pub(crate) fn of(commands: &[Command]) -> Self {
        let mut cluster = Self::default();
        for command in commands {
            // What is refused changes nothing.
            let _ = cluster.ask(command);
        }
        cluster
    }

    pub(crate) fn ask(&mut self, command: &Command) -> Result<usize, RejectionCode> {
        let at = self.log.len() as u64;
        let events = self.state.decide(command, &ctx(at)).map_err(|refusal| refusal.code)?;
        for event in &events {
            self.state.evolve(event);
            for effect in self.state.react(event, EntityId::placement()) {
                if let Effect::Index(row) = effect {
                    assert!(self.rows.learn(&row), "{row:?}");
                }
            }
        }
        self.log.extend(events.iter().cloned());
        Ok(events.len())
    }

    /// An older release wrote a member's row.
    fn written_by_older(&mut self, number: u64) {
        let epoch = self.rows.epoch;
        let member = Member { level: 0, ..self.rows.member(number).unwrap().clone() };
        assert!(self.rows.learn(&IndexRow::Member { member, epoch }));
    }

    pub(crate) fn members(&self) -> &Members {
        &self.state.members
    }

    pub(crate) fn candidates(&self, of: Region) -> BTreeSet<u64> {
        let all = self.members().members.iter();
        all.filter(|one| one.is_candidate() && one.region() == of).map(|one| one.number).collect()
    }

    /// A region's groups.
    pub(crate) fn groups(&self, of: Region) -> Vec<&Placed> {
        let home = self.members().home(of);
        let groups = home.into_iter().flat_map(|home| home.groups());
        groups.map(|group| self.members().placed(group).unwrap()).collect()
    }

    /// How many voters of a region's groups each candidate has.
    pub(crate) fn places(&self, of: Region) -> BTreeMap<u64, usize> {
        let mut places: BTreeMap<u64, usize> =
            self.candidates(of).into_iter().map(|number| (number, 0)).collect();
        for number in self.groups(of).iter().flat_map(|placed| &placed.voters) {
            // Others may vote abroad.
            places.entry(*number).and_modify(|many| *many += 1);
        }
        places
    }

    /// Who should lead each group.
    pub(crate) fn leaders(&self) -> BTreeMap<u32, u64> {
        let groups = self.members().groups.iter().map(|placed| placed.group);
        groups.map(|group| (group, self.members().preferred(group).unwrap())).collect()
    }

    fn has_pins(&self) -> bool {
        self.members().groups.iter().any(|placed| placed.pinned)
    }

    pub(crate) fn holds(&self) {
        let members = self.members();
        let all: BTreeSet<u64> =
            REGIONS.iter().flat_map(|region| self.candidates(region.parse().unwrap())).collect();
        for placed in &members.groups {
            let voters: BTreeSet<u64> = placed.voters.iter().copied().collect();
            let learners: BTreeSet<u64> = placed.learners.iter().copied().collect();
            assert_eq!(voters.len() % 2, 1, "an even number votes in {placed:?}");
            assert_eq!(voters.len(), placed.voters.len(), "somebody votes twice in {placed:?}");
            assert!(voters.is_disjoint(&learners), "{placed:?}");
            let home = members.home_of(placed.group);
            let allowed = home.map_or_else(|| all.clone(), |home| self.candidates(home.region));
            let everywhere: BTreeSet<u64> = &voters | &learners;
            let abroad = &everywhere - &allowed;
            let policy = home.map_or(Policy::Zone, |home| home.policy);
            let able: BTreeSet<u64> =
                policy.abroad().flat_map(|region| self.candidates(region)).collect();
            assert!(abroad.is_subset(&able), "{placed:?} is not where it may be: {able:?}");
            match policy {
                Policy::Region(..) => assert!(abroad.is_subset(&voters), "{placed:?}"),
                Policy::Zone | Policy::Standby(_) => {
                    assert!(voters.is_subset(&allowed), "{placed:?} is decided abroad");
                    assert_eq!(abroad.len(), usize::from(!able.is_empty()), "{placed:?}");
                }
            }
            let here = &everywhere - &abroad;
            if placed.group == PLACEMENT {
                assert_eq!(here, all, "each node knows the placement group");
            }
            if members.homes.iter().any(|home| home.authority() == placed.group) {
                assert_eq!(here, allowed, "each node of a region knows its authority");
            }
            let preferred = members.preferred(placed.group).unwrap();
            assert!(voters.contains(&preferred) && allowed.contains(&preferred), "{placed:?}");
        }
        assert_eq!(self.rows, *members, "the rows say all");
    }
}

fn number_of_voters(candidates: usize) -> usize {
    if candidates >= 3 { 3 } else { 1 }
}

proptest! {
    #[test]
    fn groups_are_where_they_may_be(commands in prop::collection::vec(command(), 1..40)) {
        let mut cluster = Cluster::default();
        for command in &commands {
            let before = cluster.members().epoch;
            if let Ok(events) = cluster.ask(command) {
                prop_assert_eq!(cluster.members().epoch, before + events as u64);
            }
            cluster.holds();
        }
    }

    #[test]
    fn places_are_even(commands in prop::collection::vec(command(), 1..40)) {
        let cluster = Cluster::of(&commands);
        prop_assume!(!cluster.has_pins());
        for region in REGIONS.map(|region| region.parse().unwrap()) {
            let places = cluster.places(region);
            let (most, least) = (places.values().max(), places.values().min());
            let spread = most.unwrap_or(&0) - least.unwrap_or(&0);
            prop_assert!(spread <= 1 || places.len() < 3, "{:?}", places);
            let home = cluster.members().home(region);
            let is_spread = home.is_some_and(|home| matches!(home.policy, Policy::Region(..)));
            for placed in cluster.groups(region).into_iter().filter(|_| !is_spread) {
                prop_assert_eq!(placed.voters.len(), number_of_voters(places.len()));
            }
        }
    }

    /// A node that is added takes its share and no more; one that leaves moves only what it had.
    #[test]
    fn no_more_moves_than_must(
        nodes in Just((1..=8).collect::<Vec<u64>>()).prop_shuffle(),
        many in 4_usize..=8,
        gone in 0_usize..3,
        leaves: bool,
    ) {
        let joined = nodes.iter().take(many).map(|number| join(*number));
        // With fewer than four the number of voters changes.
        let gone = nodes.iter().take(gone.min(many - 4));
        let left = gone.map(|number| Command::Leave { number: *number, by: "op".into() });
        let mut cluster = Cluster::of(&joined.chain(left).collect::<Vec<_>>());
        let eu1 = "eu1".parse().unwrap();
        let before: BTreeMap<u32, BTreeSet<u64>> = cluster
            .groups(eu1)
            .iter()
            .map(|placed| (placed.group, placed.voters.iter().copied().collect()))
            .collect();
        let candidates = cluster.candidates(eu1);
        let leaving = *candidates.first().unwrap();
        let command = if leaves {
            Command::Leave { number: leaving, by: "op".into() }
        } else {
            join(9)
        };
        cluster.ask(&command).unwrap();
        prop_assume!(!leaves || candidates.len() > 4);
        let moved: usize = cluster
            .groups(eu1)
            .iter()
            .map(|placed| {
                let now: BTreeSet<u64> = placed.voters.iter().copied().collect();
                (&now - &before[&placed.group]).len()
            })
            .sum();
        let places = 3 * before.len();
        let most = if leaves {
            let had = before.values().filter(|voters| voters.contains(&leaving)).count();
            // Of those that stay, some may have had one more than others.
            had + 1
        } else {
            places.div_ceil(candidates.len() + 1)
        };
        prop_assert!(moved <= most, "{} moves, {} at most", moved, most);
    }

    #[test]
    fn what_is_asked_again_changes_nothing(
        commands in prop::collection::vec(command(), 1..30),
        last in command(),
    ) {
        let mut cluster = Cluster::of(&commands);
        if cluster.ask(&last).is_ok() {
            prop_assert_eq!(cluster.ask(&last), Ok(0));
        }
    }

    /// Who joined is waited for until it has left; who has left never again, whatever it says.
    #[test]
    fn a_bundle_waits_for_whoever_is_there(commands in prop::collection::vec(command(), 1..40)) {
        let mut cluster = Cluster::of(&commands);
        // Whoever is leaving leaves, and all say at last what they believe.
        for member in cluster.members().members.clone() {
            let number = member.number;
            let _ = cluster.ask(&Command::Left { number });
            cluster.ask(&Command::Acknowledge { node: number, epoch: 0 }).unwrap();
        }
        let nodes = &cluster.state.bundle.nodes;
        for member in &cluster.members().members {
            let is_waited_for = nodes.iter().any(|node| node.number == member.number);
            prop_assert_eq!(is_waited_for, member.presence != Presence::Gone);
        }
    }

    /// That a node leads nothing changes only who leads what it led, and is taken back without a trace.
    #[test]
    fn only_what_a_node_led_is_led_by_others(
        commands in prop::collection::vec(command(), 1..40),
        nth in 0_usize..8,
    ) {
        let mut cluster = Cluster::of(&commands);
        let active = |number: u64, cluster: &Cluster| {
            cluster.members().member(number).unwrap().presence == Presence::Active
        };
        let by = || "op".to_owned();
        for number in cluster.members().members.iter().map(|one| one.number).collect::<Vec<_>>() {
            // With several the others share what all of them led.
            let _ = cluster.ask(&Command::Resume { number, by: by() });
        }
        let members = &cluster.members().members;
        let able: Vec<u64> =
            members.iter().map(|one| one.number).filter(|one| active(*one, &cluster)).collect();
        let number = crate::world::nth(able.into_iter(), nth);
        let before = cluster.leaders();
        let Some(number) = number else { return Ok(()) };
        prop_assume!(cluster.ask(&Command::Drain { number, by: by() }).is_ok());
        for (group, leader) in cluster.leaders() {
            let is_same = before[&group] == leader;
            prop_assert!(is_same || before[&group] == number, "group {}", group);
            let home = cluster.members().home_of(group).map(|home| home.region);
            let voters = &cluster.members().placed(group).unwrap().voters;
            let could = voters.iter().any(|one| {
                active(*one, &cluster) && home.is_none_or(|home| region(*one) == home)
            });
            prop_assert!(active(leader, &cluster) || !could);
        }
        cluster.ask(&Command::Resume { number, by: by() }).unwrap();
        prop_assert_eq!(cluster.leaders(), before);
    }

    /// Others take the places of whoever is away only where as many can vote as before; it has its share
    /// again when it is back.
    #[test]
    fn who_is_away_is_replaced_by_those_who_are_there(many in 1_u64..8, nth in 0_u64..8) {
        let (number, eu1) = (1 + nth % many, "eu1".parse().unwrap());
        let mut cluster = Cluster::of(&(1..=many).map(join).collect::<Vec<_>>());
        let asked = cluster.ask(&Command::NotHeard { number });
        if many < 4 {
            prop_assert_eq!(asked, Err(RejectionCode::NotNow));
            return Ok(());
        }
        for placed in cluster.groups(eu1) {
            prop_assert!(placed.voters.len() == 3 && !placed.voters.contains(&number));
        }
        cluster.ask(&Command::HeardAgain { number }).unwrap();
        cluster.holds();
        let places = cluster.places(eu1);
        prop_assert!(places[&number] + 1 >= *places.values().max().unwrap(), "{:?}", places);
        // Nobody who is there is said to be back.
        prop_assert_eq!(cluster.ask(&Command::HeardAgain { number }), Ok(0));
    }

    #[test]
    fn the_log_replays(commands in prop::collection::vec(command(), 1..30)) {
        let cluster = Cluster::of(&commands);
        let mut again = Placement::default();
        for event in &cluster.log {
            again.evolve(&through_bytes(event));
        }
        prop_assert_eq!(&again, &cluster.state);
        prop_assert_eq!(through_bytes(&again), cluster.state);
    }
}

/// To say it again changes nothing where the history has it.
#[test]
fn what_an_older_release_left_out_of_rows_is_written_again() {
    let mut cluster = Cluster::of(&[join(1), join(2), join(3)]);
    cluster.ask(&Command::Leave { number: 3, by: "op".into() }).unwrap();
    cluster.ask(&Command::Left { number: 3 }).unwrap();
    cluster.written_by_older(1);
    cluster.written_by_older(2);
    assert_eq!(cluster.ask(&join(1)), Ok(0));
    assert_ne!(cluster.rows.level(), LEVEL);
    assert_eq!(cluster.ask(&Command::Recite), Ok(2), "nobody asks who is gone");
    assert_eq!(cluster.rows, *cluster.members());
}
