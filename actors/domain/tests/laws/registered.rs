//! What must hold of a registration's whole life: who gets a certificate, what a token is good for,
//! what can be revoked and stays so, and what the rest of the cluster is told.

use std::collections::BTreeSet;

use fieldmesh_domain::{
    Aggregate, Command as AnyCommand, Effect, EntityId, EntityKind, IndexRow, TimerName, authority,
    placement,
    registration::{CERTIFICATES_MAX, Command, Event, Proof, Registration},
};

use crate::{
    evidence::{
        certificate_row, certificate_rows, deeds, is_approved, is_believed, is_enough, losers,
        stands, told_to_placement, waits,
    },
    registering::{Happened, Life, id},
};

impl Life {
    /// For the same key or another, and whatever happened in between.
    pub(crate) fn no_token_is_spent_twice(&self) {
        let mut spent = BTreeSet::new();
        for (_, issued) in self.enrolled() {
            if let Proof::Token(hash) = issued.proof {
                assert!(spent.insert(hash), "spent again:\n{}", self.story());
            }
        }
    }

    pub(crate) fn nothing_is_issued_to_the_banned(&self) {
        let mut banned = false;
        for happened in &self.happened {
            match happened.event {
                Event::Banned { .. } => banned = true,
                Event::Readmitted { .. } => banned = false,
                Event::Enrolled { .. } | Event::Invited(_) | Event::Requested { .. } => {
                    assert!(!banned, "\n{}", self.story());
                }
                _ => {}
            }
        }
    }

    /// A token that is enough, an operator's word, or a certificate that may be believed.
    pub(crate) fn every_certificate_has_its_grounds(&self) {
        for (at, happened) in self.happened.iter().enumerate() {
            let Event::Enrolled { issued, approved_by, .. } = &happened.event else { continue };
            let past = &self.happened[..at];
            let granted = match (issued.proof, approved_by) {
                (Proof::Token(hash), None) => is_enough(past, hash, happened.at),
                (Proof::Token(hash), Some(by)) => is_approved(past, hash, issued, by),
                (Proof::Certificate(serial), None) => is_believed(past, serial),
                (Proof::Certificate(_), Some(_)) => false,
            };
            assert!(granted, "approved by {approved_by:?}:\n{}", self.story());
        }
    }

    /// A holder that lost the answer gets it again, not a second certificate.
    pub(crate) fn the_same_proof_and_key_lead_to_one_certificate(&self) {
        let revoked = self.revoked();
        let answers = self.enrolled().filter(|(_, issued)| !revoked.contains(&issued.serial));
        let mut answered = BTreeSet::new();
        for (_, issued) in answers {
            let proof = match issued.proof {
                Proof::Token(hash) => hash.to_vec(),
                Proof::Certificate(serial) => serial.to_vec(),
            };
            let is_new = answered.insert((proof, issued.public_key_hash));
            assert!(is_new, "answered twice:\n{}", self.story());
        }
    }

    /// As long as nothing else was issued, and it is in force.
    pub(crate) fn the_last_answer_is_given_again(&self) {
        let Some((_, last)) = self.enrolled().last() else { return };
        let mut again = last.clone();
        again.serial = [0xff; 16];
        let answer = self.state.answer_to(last.proof, &last.public_key_hash);
        let asked = self.state.decide(&Command::Enroll(again), &self.ctx());
        if self.revoked().contains(&last.serial) {
            assert_eq!(answer, None);
            return;
        }
        assert_eq!(answer, Some(last));
        assert_eq!(asked, Ok(vec![]));
        let other = self.state.answer_to(last.proof, &[0xee; 32]);
        assert_eq!(other, None, "an answer to another key");
    }

    pub(crate) fn every_certificate_in_force_can_be_revoked(&self) {
        let revoked = self.revoked();
        let now_s = self.now.0 / 1000;
        let serials = self.enrolled().filter_map(|(_, issued)| {
            let in_force = issued.not_after >= now_s && !revoked.contains(&issued.serial);
            in_force.then_some(issued.serial)
        });
        let in_force = BTreeSet::from_iter(serials);
        for serial in &in_force {
            let known = self
                .state
                .by_serial(serial)
                .unwrap_or_else(|| panic!("lost {serial:?}:\n{}", self.story()));
            assert_eq!(known.revoked, None, "\n{}", self.story());
            assert_eq!(self.would_revoke(Some(*serial)), BTreeSet::from([*serial]));
        }
        assert!(self.would_revoke(None).is_superset(&in_force));
    }

    fn would_revoke(&self, serial: Option<[u8; 16]>) -> BTreeSet<[u8; 16]> {
        let command = Command::Revoke { serial, reason: 1, by: "a".into() };
        match self.state.decide(&command, &self.ctx()).as_deref() {
            Ok([Event::Revoked { serials, .. }]) => serials.iter().map(|serial| **serial).collect(),
            Ok([]) => BTreeSet::new(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn revoked_stays_revoked(&self) {
        let mut revoked = BTreeSet::new();
        for happened in &self.happened {
            if let Event::Revoked { serials, .. } = &happened.event {
                assert!(!serials.is_empty());
                assert!(serials.iter().all(|serial| revoked.insert(**serial)), "revoked again");
            }
            for issued in &happened.after.issued {
                let is_revoked = revoked.contains(&issued.serial);
                assert_eq!(issued.revoked.is_some(), is_revoked, "\n{}", self.story());
            }
        }
    }

    pub(crate) fn few_certificates_are_kept(&self) {
        for happened in &self.happened {
            assert!(happened.after.issued.len() <= CERTIFICATES_MAX);
        }
    }

    pub(crate) fn lists_show_where_it_stands(&self) {
        for happened in &self.happened {
            let after = &happened.after;
            let shown = IndexRow::Registration {
                id: id(),
                state: stands(after),
                profile: after.profile.unwrap(),
                device: after.device,
                not_after: after
                    .issued
                    .last()
                    .and_then(|last| last.revoked.is_none().then_some(last.not_after)),
                asked_at: after.request.as_ref().map(|request| request.asked_at),
            };
            let rows = happened
                .effects
                .iter()
                .filter(|effect| matches!(effect, Effect::Index(IndexRow::Registration { .. })));
            assert_eq!(Vec::from_iter(rows), [&Effect::Index(shown)]);
        }
    }

    /// Once for each serial number, and never for what was not revoked.
    pub(crate) fn the_cluster_is_told_of_each_revocation(&self) {
        let mut told = BTreeSet::new();
        for happened in &self.happened {
            let wanted = match &happened.event {
                Event::Revoked { serials, revocation, .. } => serials
                    .iter()
                    .map(|serial| {
                        let issued = happened.after.by_serial(serial).unwrap();
                        assert_eq!(issued.revoked, Some(*revocation));
                        issued.clone()
                    })
                    .collect(),
                _ => vec![],
            };
            let commands = wanted.iter().map(|issued| placement::Command::Revoke {
                issuer: issued.issuer,
                serial: issued.serial,
                not_after: issued.not_after,
                revocation: issued.revoked.unwrap(),
            });
            assert_eq!(told_to_placement(&happened.effects), Vec::from_iter(commands));
            assert!(wanted.iter().all(|issued| told.insert(issued.serial)));
            let issued = match &happened.event {
                Event::Enrolled { issued, .. } => vec![issued.clone()],
                _ => wanted,
            };
            let rows = issued.iter().map(certificate_row);
            assert_eq!(certificate_rows(&happened.effects), Vec::from_iter(rows));
        }
    }

    /// Whose key it is, from the event that certified it.
    pub(crate) fn each_key_is_bound(&self) {
        for happened in &self.happened {
            let bound = happened.effects.iter().filter_map(|effect| match effect {
                Effect::Index(IndexRow::BoundKey { key, registration }) => {
                    Some((*key, *registration))
                }
                _ => None,
            });
            let wanted = match &happened.event {
                Event::Enrolled { issued, .. } => vec![(issued.public_key_hash, id())],
                _ => vec![],
            };
            assert_eq!(Vec::from_iter(bound), wanted);
        }
    }

    /// One note for each event, and one for each certificate that was revoked.
    pub(crate) fn the_ledger_is_told_of_everything(&self) {
        for happened in &self.happened {
            let region = id().region();
            let notes = happened.effects.iter().filter_map(|effect| match effect {
                Effect::Tell { to, command: AnyCommand::Authority(command) } => {
                    assert_eq!(*to, EntityId::authority(region));
                    let authority::Command::Note(note) = command else { panic!("{command:?}") };
                    assert_eq!(note.registration, Some(id()));
                    Some((note.by.as_str(), note.deed.clone()))
                }
                _ => None,
            });
            assert_eq!(Vec::from_iter(notes), deeds(happened));
        }
    }

    pub(crate) fn a_device_is_lost_with_its_last_certificate(&self) {
        for happened in &self.happened {
            let lost = losers(&happened.effects);
            let is_revoked = matches!(happened.event, Event::Revoked { .. });
            let kinds = [EntityKind::Customer, EntityKind::Technician];
            let device = happened.after.device.filter(|device| kinds.contains(&device.kind()));
            let all = happened.after.issued.iter().all(|issued| issued.revoked.is_some());
            if is_revoked && all {
                assert_eq!(lost, Vec::from_iter(device));
            }
            if !is_revoked || happened.after.newest().is_some() {
                assert_eq!(lost, []);
            }
        }
    }

    /// Not by the timer of a request before it, and not after it was answered.
    pub(crate) fn a_request_lapses_by_its_own_timer(&self) {
        let mut requests = 0;
        for Happened { command, before, event, after, effects, .. } in &self.happened {
            if let Event::Requested { lapses, .. } = event {
                requests += 1;
                let (name, generation, due) = (TimerName::Deadline, requests, *lapses);
                assert!(effects.contains(&Effect::SetTimer { name, generation, due }));
            }
            if *event == Event::Lapsed {
                let Command::Timer { generation, .. } = command else { panic!("{command:?}") };
                assert_eq!(*generation, requests);
                assert!(waits(before) && after.request.is_none());
            }
        }
    }

    /// So that it lapses at all; the timer that fires is gone.
    pub(crate) fn a_request_that_waits_has_its_timer(&self) {
        let mut running = None;
        for Happened { command, after, effects, .. } in &self.happened {
            if let Command::Timer { generation, .. } = command {
                running = running.filter(|running| running != generation);
            }
            for effect in effects {
                match effect {
                    Effect::SetTimer { generation, .. } => running = Some(*generation),
                    Effect::CancelTimer { .. } => running = None,
                    _ => {}
                }
            }
            if waits(after) {
                assert_eq!(running, Some(after.requests), "\n{}", self.story());
            }
        }
    }

    pub(crate) fn a_log_replays(&self) {
        let mut replayed = Registration::default();
        self.happened.iter().for_each(|happened| replayed.evolve(&happened.event));
        assert_eq!(replayed, self.state);
    }
}
