//! What must hold of authorities that take over from each other: who signs, what is final, who must
//! know and who must agree, and what the rest of the cluster is told.

use std::collections::{BTreeMap, BTreeSet};

use fieldmesh_domain::{
    Aggregate, Command as AnyCommand, Effect, IndexRow, RejectionCode,
    authority::{self, Note},
    placement::{Ca, Command, Event, Move, Node, Phase, Placement, Proposal, Role, Step, Wanted},
};

use crate::{
    bundles::{Happened, Life, ctx},
    meant::{Group, Moved, agreed, group, known, meant, notes_of},
    world::through_bytes,
};

/// The groups of those that sign, each as often as one does.
fn signing(state: &Placement) -> Vec<Group> {
    let active = state.bundle.cas.iter().filter(|ca| ca.phase == Phase::Active);
    active.map(group).collect()
}

/// Those that a step moved.
fn moved(happened: &Happened) -> Vec<Moved> {
    let before = happened.before.bundle.cas.iter();
    let pairs = before.map(|ca| (ca, known(&happened.after, &ca.fingerprint)));
    let pairs = pairs.filter(|(before, after)| before != after);
    pairs.map(|(ca, after)| (ca.fingerprint, ca.phase, after.phase, after.compromised)).collect()
}

impl Happened {
    /// A step that was taken.
    fn taken(&self) -> Option<(&Wanted, &[Move])> {
        match (&self.command, self.answer.as_deref()) {
            (Command::Rotate(wanted), Ok([Event::Moved { moves, .. }])) => Some((wanted, moves)),
            _ => None,
        }
    }

    /// Whether this is a region's first authority, which was introduced before there was the region.
    fn begins_a_region(&self, (fingerprint, from, to, _): &Moved) -> bool {
        let ca = known(&self.before, fingerprint);
        (*from, *to) == (Phase::Introduced, Phase::Active)
            && ca.role == Role::Issuing
            && !signing(&self.before).contains(&group(ca))
    }

    /// What a step lets sign that never did, as it was before, or had given back.
    fn begins(&self) -> Option<(&Ca, Step)> {
        let (wanted, _) = self.taken()?;
        let ca = known(&self.before, &wanted.fingerprint);
        let is_begun = matches!(wanted.step, Step::Activate | Step::ActivateCompromised)
            && ca.phase == Phase::Introduced;
        is_begun.then_some((ca, wanted.step))
    }
}

/// Whether a root that may sign signed it, or it is one.
fn signs(state: &Placement, ca: &Ca) -> bool {
    let root = known(state, &ca.signer);
    ca.role == Role::Root
        || root.role == Role::Root
            && !matches!(root.phase, Phase::Retired | Phase::Removed)
            && !root.compromised
}

impl Life {
    pub(crate) fn at_most_one_of_a_group_signs(&self) {
        for happened in &self.happened {
            let signing = signing(&happened.after);
            let groups = BTreeSet::from_iter(&signing);
            assert_eq!(groups.len(), signing.len(), "\n{}", self.story());
        }
    }

    /// Once one did.
    pub(crate) fn somebody_always_signs(&self) {
        for happened in &self.happened {
            let after = signing(&happened.after);
            for group in signing(&happened.before) {
                assert!(after.contains(&group), "nobody in {group:?}:\n{}", self.story());
            }
        }
    }

    /// Nothing is forgotten, what was removed or retired does not come back, and what others may have
    /// the key of does not sign again.
    pub(crate) fn there_is_no_way_back(&self) {
        for happened in &self.happened {
            for before in &happened.before.bundle.cas {
                let after = known(&happened.after, &before.fingerprint);
                let (phase, since, compromised) = (before.phase, before.since, before.compromised);
                assert_eq!(&Ca { phase, since, compromised, ..after.clone() }, before);
                let is_final = match before.phase {
                    Phase::Removed => after == before,
                    Phase::Retired => matches!(after.phase, Phase::Retired | Phase::Removed),
                    Phase::Superseded if before.compromised => after.phase != Phase::Active,
                    _ => true,
                };
                assert!(is_final, "{before:?} is {:?}:\n{}", after.phase, self.story());
                assert!(after.compromised || !before.compromised, "\n{}", self.story());
                assert!(after.phase != Phase::Active || !after.compromised, "\n{}", self.story());
            }
        }
    }

    /// Unless others may have the key of the one before, which signs until then.
    pub(crate) fn each_node_knows_what_begins_to_sign(&self) {
        for happened in &self.happened {
            let Some((begins, step)) = happened.begins() else { continue };
            let is_group = |one: &Group| *one == group(begins);
            if step == Step::ActivateCompromised && signing(&happened.before).iter().any(is_group) {
                continue;
            }
            for node in &happened.before.bundle.nodes {
                assert!(node.epoch >= begins.epoch, "{node:?}:\n{}", self.story());
            }
        }
    }

    /// A node says what it knows, and never more than there is; only an operator forgets it.
    pub(crate) fn nodes_know_ever_more(&self) {
        for happened in &self.happened {
            let (before, after) = (&happened.before.bundle, &happened.after.bundle);
            let numbers = BTreeSet::from_iter(after.nodes.iter().map(|node| node.number));
            assert_eq!(numbers.len(), after.nodes.len());
            let known = |number| after.nodes.iter().find(|node| node.number == number);
            for Node { number, epoch, at } in &before.nodes {
                match (known(*number), &happened.command) {
                    (None, Command::ForgetNode { node, .. }) => assert_eq!(node, number),
                    (Some(node), Command::Acknowledge { .. }) => assert!(node.epoch >= *epoch),
                    (node, _) => {
                        assert_eq!(node.map(|node| (node.epoch, node.at)), Some((*epoch, *at)))
                    }
                }
            }
            match &happened.command {
                Command::ForgetNode { node, .. } => assert_eq!(known(*node), None),
                Command::Acknowledge { node, epoch } if happened.answer.is_ok() => {
                    let now = known(*node).unwrap();
                    assert!(now.epoch >= *epoch.min(&before.epoch) && now.epoch <= after.epoch);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn the_epoch_counts_the_changes(&self) {
        for happened in &self.happened {
            let changes =
                happened.answer.iter().flatten().filter(|event| {
                    matches!(event, Event::Introduced { .. } | Event::Moved { .. })
                });
            let epoch = happened.before.bundle.epoch + changes.count() as u64;
            assert_eq!(happened.after.bundle.epoch, epoch, "\n{}", self.story());
            let cas = (&happened.before.bundle.cas, &happened.after.bundle.cas);
            assert_eq!(cas.0 != cas.1, epoch > happened.before.bundle.epoch, "\n{}", self.story());
        }
    }

    /// Believed, signing nothing, from now on, whatever the operator says.
    pub(crate) fn what_is_introduced_waits(&self) {
        for (happened, event) in self.events() {
            let Event::Introduced { cas, by: author } = event else { continue };
            let epoch = happened.after.bundle.epoch;
            let whole = match &happened.command {
                Command::Introduce { ca, by } => {
                    assert_eq!(author, by);
                    let (phase, since, compromised) = (Phase::Introduced, happened.at, false);
                    vec![Ca { phase, since, epoch, compromised, ..ca.clone() }]
                }
                Command::Adopt(cas) => {
                    assert_eq!(author, "");
                    let is_new =
                        |ca: &&Ca| happened.before.bundle.by_fingerprint(&ca.fingerprint).is_none();
                    cas.iter().filter(is_new).map(|ca| Ca { epoch, ..ca.clone() }).collect()
                }
                command => panic!("{command:?}"),
            };
            assert_eq!(cas.len(), whole.len());
            let before = happened.before.bundle.cas.iter();
            assert!(before.chain(&whole).eq(&happened.after.bundle.cas), "\n{}", self.story());
        }
    }

    /// None is below a root that does not sign, nor has a name again.
    pub(crate) fn what_is_introduced_has_its_grounds(&self) {
        for (happened, event) in self.events() {
            let Event::Introduced { cas, .. } = event else { continue };
            for ca in cas {
                assert!(signs(&happened.after, ca), "{ca:?}:\n{}", self.story());
            }
            let cas = &happened.after.bundle.cas;
            assert_eq!(BTreeSet::from_iter(cas.iter().map(|ca| ca.name)).len(), cas.len());
            assert_eq!(BTreeSet::from_iter(cas.iter().map(|ca| ca.fingerprint)).len(), cas.len());
        }
    }

    /// Of a region's issuing ones.
    pub(crate) fn at_most_one_waits(&self) {
        for happened in &self.happened {
            let cas = happened.after.bundle.cas.iter();
            let waits = cas.filter(|ca| ca.role == Role::Issuing && ca.phase == Phase::Introduced);
            let waits = Vec::from_iter(waits.map(group));
            assert_eq!(BTreeSet::from_iter(&waits).len(), waits.len(), "\n{}", self.story());
        }
    }

    /// Nothing begins to sign below a root that does not.
    pub(crate) fn what_begins_to_sign_has_a_root_that_signs(&self) {
        for happened in &self.happened {
            let Some((begins, _)) = happened.begins() else { continue };
            assert!(signs(&happened.before, begins), "{begins:?}:\n{}", self.story());
        }
    }

    /// Nothing signs again, by whichever step, whose root others may have the key of.
    pub(crate) fn what_signs_again_has_a_root_of_its_own(&self) {
        for happened in &self.happened {
            let Some((_, moves)) = happened.taken() else { continue };
            for one in moves.iter().filter(|one| one.to == Phase::Active) {
                let ca = known(&happened.before, &one.fingerprint);
                let is_lost = known(&happened.before, &ca.signer).compromised;
                assert!(ca.role == Role::Root || !is_lost, "{ca:?}:\n{}", self.story());
            }
        }
    }

    /// Each step moves what it is for, and nothing else.
    pub(crate) fn each_step_has_its_moves(&self) {
        for happened in &self.happened {
            let Some((wanted, moves)) = happened.taken() else {
                let mut others = moved(happened);
                if matches!(happened.command, Command::Adopt(_)) {
                    others.retain(|moved| !happened.begins_a_region(moved));
                }
                assert!(others.is_empty(), "{:?} moves:\n{}", happened.command, self.story());
                continue;
            };
            let told = moves.iter().map(|one| (one.fingerprint, one.from, one.to, one.compromised));
            let told = BTreeMap::from_iter(told.map(|one| (one.0, one)));
            let moved = BTreeMap::from_iter(moved(happened).into_iter().map(|one| (one.0, one)));
            let meant = meant(&happened.before, wanted);
            assert_eq!(moved, BTreeMap::from_iter(meant.into_iter().map(|one| (one.0, one))));
            assert_eq!((told, moves.len()), (moved.clone(), moved.len()));
            for fingerprint in moved.keys() {
                assert_eq!(known(&happened.after, fingerprint).since, happened.at);
            }
        }
    }

    /// No issuing one is believed whose root is not.
    pub(crate) fn a_root_is_believed_as_long_as_what_it_signed(&self) {
        for happened in &self.happened {
            let is_believed = |ca: &&Ca| ca.role == Role::Issuing && ca.phase != Phase::Removed;
            for ca in happened.after.bundle.cas.iter().filter(is_believed) {
                let root = known(&happened.after, &ca.signer);
                assert_eq!(root.role, Role::Root);
                assert_ne!(root.phase, Phase::Removed, "{ca:?}:\n{}", self.story());
            }
        }
    }

    /// A row of each that changed, as it is now; put together they are what is known.
    pub(crate) fn rows_show_each_change(&self) {
        let (mut rows, mut newest) = (BTreeMap::new(), 0);
        for happened in &self.happened {
            let mut shown = BTreeSet::new();
            for effect in &happened.effects {
                let Effect::Index(IndexRow::Ca { ca, epoch }) = effect else { continue };
                assert_eq!(ca, known(&happened.after, &ca.fingerprint));
                assert_eq!(*epoch, happened.after.bundle.epoch);
                assert!(shown.insert(ca.fingerprint), "shown twice");
                newest = *epoch;
                rows.insert(ca.fingerprint, ca.clone());
            }
            let wanted = happened.after.bundle.cas.iter().map(|ca| (ca.fingerprint, ca.clone()));
            assert_eq!(rows, BTreeMap::from_iter(wanted), "\n{}", self.story());
            assert_eq!(newest, happened.after.bundle.epoch);
        }
    }

    /// Each region's ledger is told of its own ones; nothing but rows and notes follows.
    pub(crate) fn the_ledger_is_told_of_each_change(&self) {
        for happened in &self.happened {
            let wanted = Vec::from_iter(happened.answer.iter().flatten().flat_map(notes_of));
            let wanted = wanted.into_iter().map(|(certificate, by, deed)| {
                let note = Note { registration: None, by, deed };
                let command = AnyCommand::Authority(authority::Command::Note(note));
                let to = known(&happened.after, &certificate).authority;
                Effect::Tell { to, command }
            });
            let is_row = |effect: &&Effect| matches!(effect, Effect::Index(IndexRow::Ca { .. }));
            let told = happened.effects.iter().filter(|effect| !is_row(effect));
            assert!(told.cloned().eq(wanted), "{:?}\n{}", happened.effects, self.story());
        }
    }

    /// Where a second operator is needed: the step waits, and one who is not the first takes it within
    /// a week. Else it is taken at once.
    pub(crate) fn two_operators_agree(&self) {
        let mut open: Option<Proposal> = None;
        for happened in &self.happened {
            if let Command::Rotate(wanted) = &happened.command {
                let alone = Wanted { second_person: false, ..wanted.clone() };
                let alone = happened.before.decide(&Command::Rotate(alone), &ctx(happened.at));
                let answer = agreed(alone, wanted, open.as_ref(), happened.at);
                assert_eq!(happened.answer, answer, "{open:?}\n{}", self.story());
            }
            for event in happened.answer.iter().flatten() {
                match event {
                    Event::Proposed(proposal) => open = Some(proposal.clone()),
                    Event::Moved { .. } => open = None,
                    _ => {}
                }
            }
            assert_eq!(happened.after.bundle.proposal, open, "\n{}", self.story());
        }
    }

    /// Who asked for a step does not agree to it.
    pub(crate) fn what_is_asked_again_changes_nothing(&self) {
        for happened in self.happened.iter().filter(|happened| happened.answer.is_ok()) {
            let again = happened.after.decide(&happened.command, &ctx(happened.at));
            if let Ok([Event::Proposed(_)]) = happened.answer.as_deref() {
                assert_eq!(again.unwrap_err().code, RejectionCode::SecondPerson);
            } else {
                assert_eq!(again, Ok(vec![]), "{:?}\n{}", happened.command, self.story());
            }
        }
    }

    pub(crate) fn a_refusal_changes_nothing(&self) {
        for happened in &self.happened {
            if happened.answer.as_deref().is_ok_and(|events| !events.is_empty()) {
                continue;
            }
            assert_eq!((&happened.before, &happened.effects), (&happened.after, &vec![]));
        }
    }

    pub(crate) fn its_log_replays(&self) {
        let mut replayed = Placement::default();
        for (_, event) in self.events() {
            let stored: Event = through_bytes(event);
            assert_eq!(&stored, event);
            replayed.evolve(&stored);
        }
        assert_eq!(replayed, self.state);
        assert_eq!(through_bytes::<Placement>(&self.state), self.state);
    }
}
