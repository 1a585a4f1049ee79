//! How a region begins: below an authority that operators let in, once, and with its first node.

use fieldmesh_domain::{
    Aggregate, Command as AnyCommand, Effect, EntityId, RejectionCode,
    placement::{Ca, Command, Event, Phase, Placement, Role, Step, Wanted},
    time::Millis,
};

use crate::members::{SHARDS, ctx, join, member, region};

const US_NODE: u64 = 21;

fn ca(number: u8, role: Role, of: u64, phase: Phase) -> Ca {
    Ca {
        fingerprint: [number; 32],
        certificate: vec![number],
        role,
        authority: EntityId::authority(region(of)),
        name: [100 + number; 32],
        signer: [1; 32],
        not_after: 1000,
        phase,
        since: Millis(0),
        epoch: 0,
        compromised: false,
    }
}

/// The authority that the second region is to have.
fn new_authority(phase: Phase) -> Ca {
    ca(3, Role::Issuing, US_NODE, phase)
}

fn found(number: u64, issuer: u8) -> Command {
    let (member, issuer) = (member(number), [100 + issuer; 32]);
    Command::Found { member, shards: SHARDS, issuer, by: "node".into() }
}

/// A cluster with what it tells others.
struct World {
    state: Placement,
    told: Vec<EntityId>,
}

impl World {
    /// One region with one node, which knows all authorities.
    fn new() -> Self {
        let mut world = Self { state: Placement::default(), told: Vec::new() };
        let root = ca(1, Role::Root, 1, Phase::Active);
        world.ask(&Command::Adopt(vec![root, ca(2, Role::Issuing, 1, Phase::Active)])).unwrap();
        world.ask(&join(1)).unwrap();
        world.acknowledge(1);
        world
    }

    fn ask(&mut self, command: &Command) -> Result<Vec<Event>, RejectionCode> {
        let events = self.state.decide(command, &ctx(7)).map_err(|refusal| refusal.code)?;
        for event in &events {
            self.state.evolve(event);
            let effects = self.state.react(event, EntityId::placement());
            self.told.extend(effects.iter().filter_map(|effect| match effect {
                Effect::Tell { to, command: AnyCommand::Authority(_) } => Some(*to),
                _ => None,
            }));
        }
        Ok(events)
    }

    fn acknowledge(&mut self, node: u64) {
        let epoch = self.state.bundle.epoch;
        self.ask(&Command::Acknowledge { node, epoch }).unwrap();
    }

    fn introduce(&mut self) {
        let ca = new_authority(Phase::Introduced);
        self.ask(&Command::Introduce { ca, by: "op".into() }).unwrap();
    }

    fn phase(&self) -> Phase {
        self.state.bundle.by_fingerprint(&[3; 32]).unwrap().phase
    }
}

#[test]
fn a_region_begins_once_and_with_its_authority() {
    let mut world = World::new();
    assert_eq!(world.ask(&found(US_NODE, 3)), Err(RejectionCode::NotNow), "nobody let it in");
    world.told.clear();
    world.introduce();
    let first = EntityId::authority(region(1));
    assert_eq!(world.told, [first], "there is no other ledger yet");
    assert_eq!(
        world.ask(&found(US_NODE, 3)),
        Err(RejectionCode::NotNow),
        "node 1 does not know it"
    );
    world.acknowledge(1);
    assert_eq!(world.ask(&found(US_NODE, 2)), Err(RejectionCode::NotNow), "another's authority");
    world.ask(&found(US_NODE, 3)).unwrap();
    let home = world.state.members.home(region(US_NODE)).unwrap();
    assert_eq!((home.index, home.shards), (1, SHARDS));
    let placed = world.state.members.placed(home.authority()).unwrap();
    assert_eq!(placed.voters, [US_NODE]);
    assert_eq!(world.ask(&found(US_NODE, 3)), Ok(vec![]), "said again");
    assert_eq!(world.ask(&found(US_NODE + 1, 3)), Err(RejectionCode::Exists), "a second beginning");
    // The first node begins to sign, and its region's ledger says so.
    assert_eq!(world.phase(), Phase::Introduced);
    world.told.clear();
    world.ask(&Command::Adopt(vec![new_authority(Phase::Active)])).unwrap();
    assert_eq!(world.phase(), Phase::Active);
    assert_eq!(world.told, [EntityId::authority(region(US_NODE))]);
    assert_eq!(world.ask(&Command::Adopt(vec![new_authority(Phase::Active)])), Ok(vec![]));
}

#[test]
fn operators_let_nothing_sign_for_a_region_without_nodes() {
    let mut world = World::new();
    world.introduce();
    world.acknowledge(1);
    for step in [Step::Activate, Step::ActivateCompromised] {
        let (fingerprint, by) = ([3; 32], "op".to_owned());
        let wanted = Wanted { fingerprint, step, by, second_person: false };
        assert_eq!(world.ask(&Command::Rotate(wanted)), Err(RejectionCode::NotNow));
    }
    assert_eq!(world.phase(), Phase::Introduced);
}

/// What adopts itself into a region that signs already is no way around its operators.
#[test]
fn an_authority_that_waits_is_not_adopted_past_another() {
    let mut world = World::new();
    world
        .ask(&Command::Introduce {
            ca: ca(4, Role::Issuing, 1, Phase::Introduced),
            by: "op".into(),
        })
        .unwrap();
    assert_eq!(
        world.ask(&Command::Adopt(vec![ca(4, Role::Issuing, 1, Phase::Active)])),
        Ok(vec![])
    );
    assert_eq!(world.state.bundle.by_fingerprint(&[4; 32]).unwrap().phase, Phase::Introduced);
}
