//! A device is enrolled, renewed, revoked and banned, step by step, with exactly what must follow.

use fieldmesh_domain::{
    Effect, EntityId, IndexRow, RejectionCode, TimerName,
    registration::{
        Approval, CERTIFICATES_MAX, Command, Event, Issued, Profile, Proof, REQUEST_LIFE_MS,
        Revocation, SAME_KEY_MAX, Standing, TEXT_BYTES_MAX, Token,
    },
    time::Millis,
};

use crate::{
    evidence::{losers, told_to_placement},
    registering::{Happened, Life, id},
    world,
};

const START: Millis = Millis(1_800_000_000_000);
/// Certificates of devices live this long.
const LIFE_S: u64 = 90 * 24 * 3600;

fn device() -> EntityId {
    world::customer(0)
}

/// A device that is registered and has nothing yet.
fn registered() -> Life {
    let mut life = Life::new(START);
    let (profile, device, label) = (Profile::Customer, Some(device()), "phone".to_owned());
    life.ask(Command::Register { profile, device, label, by: "ann".into() }).unwrap();
    life
}

impl Life {
    fn invite(&mut self, number: u8, approval: Approval) -> Result<(), RejectionCode> {
        let expires = self.now.after_s(3600);
        let token = Token { hash: [number; 32], expires, by: "ann".into(), approval };
        self.ask(Command::Invite(token)).map_err(|rejection| rejection.code)
    }

    fn request(&mut self, token: u8, key: u8) -> Result<(), RejectionCode> {
        let (token_hash, public_key_hash) = ([token; 32], [key; 32]);
        let command = Command::Request { token_hash, public_key_hash };
        self.ask(command).map_err(|rejection| rejection.code)
    }

    fn approve(&mut self, by: &str) -> Result<(), RejectionCode> {
        self.ask(Command::Approve { by: by.into(), key: None }).map_err(|rejection| rejection.code)
    }

    fn enroll(&mut self, proof: Proof, key: u8, serial: u8) -> Result<(), RejectionCode> {
        let now_s = self.now.0 / 1000;
        let issued = Issued {
            proof,
            public_key_hash: [key; 32],
            issuer: [1; 32],
            serial: [serial; 16],
            not_before: now_s,
            not_after: now_s + LIFE_S,
            certificate: vec![serial],
            revoked: None,
            fingerprint: [2; 32],
            signed_part: [3; 32],
        };
        self.ask(Command::Enroll(issued)).map_err(|rejection| rejection.code)
    }

    fn revoke(&mut self, serial: Option<u8>) -> Result<(), RejectionCode> {
        let serial = serial.map(|serial| [serial; 16]);
        let command = Command::Revoke { serial, reason: 1, by: "ann".into() };
        self.ask(command).map_err(|rejection| rejection.code)
    }

    fn ban(&mut self) {
        self.ask(Command::Ban { why: "stolen".into(), by: "ann".into() }).unwrap();
    }

    fn serials(&self) -> Vec<u8> {
        self.state.issued.iter().map(|issued| issued.serial[0]).collect()
    }

    fn last(&self) -> &Happened {
        self.happened.last().unwrap()
    }
}

fn token(number: u8) -> Proof {
    Proof::Token([number; 32])
}

fn certificate(serial: u8) -> Proof {
    Proof::Certificate([serial; 16])
}

/// A device with certificate 1 for key 11, from token 1.
fn enrolled() -> Life {
    let mut life = registered();
    life.invite(1, Approval::None).unwrap();
    life.enroll(token(1), 11, 1).unwrap();
    life
}

#[test]
fn a_token_becomes_one_certificate() {
    let mut life = enrolled();
    assert_eq!(life.state.standing(), Standing::Active);
    assert_eq!((life.serials(), &life.state.token), (vec![1], &None));
    // The answer was lost: the same one again, whatever was made for the second try.
    life.enroll(token(1), 11, 2).unwrap();
    let answer = life.state.answer_to(token(1), &[11; 32]).unwrap();
    assert_eq!((answer.serial, life.serials()), ([1; 16], vec![1]));
    assert_eq!(life.enroll(token(1), 12, 3), Err(RejectionCode::Token));
    assert_eq!(life.enroll(token(2), 11, 3), Err(RejectionCode::Token));
    life.invite(1, Approval::None).unwrap();
    assert_eq!(life.enroll(token(1), 12, 3), Err(RejectionCode::Token));
}

#[test]
fn a_token_counts_until_it_expires_and_not_then() {
    for (late_ms, result) in [(0, Err(RejectionCode::Token)), (1, Ok(()))] {
        let mut life = registered();
        life.invite(1, Approval::None).unwrap();
        life.now = Millis(START.after_s(3600).0 - late_ms);
        assert_eq!(life.enroll(token(1), 11, 1), result);
    }
    let mut life = registered();
    life.now = START;
    let expired =
        Token { hash: [1; 32], expires: START, by: "ann".into(), approval: Approval::One };
    assert_eq!(life.ask(Command::Invite(expired)).unwrap_err().code, RejectionCode::Token);
}

#[test]
fn a_second_person_approves() {
    let mut life = registered();
    life.invite(1, Approval::SecondPerson).unwrap();
    assert_eq!(life.enroll(token(1), 11, 1), Err(RejectionCode::NotNow));
    life.request(1, 11).unwrap();
    let timer = Effect::SetTimer {
        name: TimerName::Deadline,
        generation: 1,
        due: Millis(START.0 + REQUEST_LIFE_MS),
    };
    assert!(life.last().effects.contains(&timer));
    assert_eq!(life.state.standing(), Standing::Pending);
    assert_eq!(life.enroll(token(1), 11, 1), Err(RejectionCode::NotNow));
    assert_eq!(life.approve("ann"), Err(RejectionCode::SecondPerson));
    life.approve("bob").unwrap();
    assert_eq!(life.request(1, 12), Err(RejectionCode::Token));
    assert_eq!(life.enroll(token(1), 12, 1), Err(RejectionCode::Token));
    // The token may expire meanwhile: the approval is what counts.
    life.now = life.now.after_s(24 * 3600);
    life.enroll(token(1), 11, 1).unwrap();
    let Event::Enrolled { approved_by, .. } = &life.last().event else { panic!() };
    assert_eq!(approved_by.as_deref(), Some("bob"));
    assert!(life.last().effects.contains(&Effect::CancelTimer { name: TimerName::Deadline }));
    assert_eq!(life.state.standing(), Standing::Active);
}

#[test]
fn who_minted_the_token_approves_where_one_is_enough() {
    let mut life = registered();
    life.invite(1, Approval::One).unwrap();
    life.request(1, 11).unwrap();
    life.approve("ann").unwrap();
    life.enroll(token(1), 11, 1).unwrap();
}

#[test]
fn a_request_is_denied_or_lapses() {
    let mut life = registered();
    life.invite(1, Approval::One).unwrap();
    life.request(1, 11).unwrap();
    life.ask(Command::Deny { by: "bob".into(), why: "unknown phone".into(), key: None }).unwrap();
    assert_eq!(life.request(1, 11), Err(RejectionCode::Denied));
    assert_eq!(life.enroll(token(1), 11, 1), Err(RejectionCode::Denied));
    assert_eq!(life.approve("bob"), Err(RejectionCode::NotNow));
    life.invite(2, Approval::One).unwrap();
    life.request(2, 11).unwrap();
    life.approve("bob").unwrap();
    let fire = |generation| Command::Timer { name: TimerName::Deadline, generation };
    life.ask(fire(1)).unwrap();
    assert_eq!(life.last().event, Event::Approved { by: "bob".into() });
    life.ask(fire(2)).unwrap();
    assert_eq!(life.last().event, Event::Lapsed);
    assert_eq!(life.enroll(token(2), 11, 1), Err(RejectionCode::Token));
    assert_eq!(life.state.standing(), Standing::Registered);
}

#[test]
fn a_certificate_becomes_the_next_one() {
    let mut life = enrolled();
    life.enroll(certificate(1), 12, 2).unwrap();
    assert_eq!(life.serials(), [1, 2]);
    life.enroll(certificate(1), 12, 3).unwrap();
    assert_eq!(life.serials(), [1, 2]);
    assert_eq!(life.enroll(certificate(9), 13, 4), Err(RejectionCode::Unknown));
    // Both are in force until the old one expires.
    life.now = life.now.after_s(LIFE_S + 1);
    life.enroll(certificate(2), 13, 5).unwrap();
    let Event::Enrolled { forgotten, .. } = &life.last().event else { panic!() };
    assert_eq!((*forgotten, life.serials()), (2, vec![5]));
}

#[test]
fn one_key_is_certified_a_few_times_in_a_row() {
    let mut life = enrolled();
    for serial in 2..=SAME_KEY_MAX as u8 {
        life.enroll(certificate(serial - 1), 11, serial).unwrap();
    }
    let last = SAME_KEY_MAX as u8;
    assert_eq!(life.state.uses_of(&[11; 32]), SAME_KEY_MAX);
    assert_eq!(life.enroll(certificate(last), 11, last + 1), Err(RejectionCode::Limit));
    life.enroll(certificate(last), 12, last + 1).unwrap();
}

#[test]
fn few_certificates_are_in_force_at_a_time() {
    let mut life = enrolled();
    for serial in 2..=CERTIFICATES_MAX as u8 {
        life.enroll(certificate(serial - 1), 10 + serial, serial).unwrap();
    }
    let last = CERTIFICATES_MAX as u8;
    assert_eq!(life.enroll(certificate(last), 99, last + 1), Err(RejectionCode::Limit));
    life.now = life.now.after_s(LIFE_S);
    assert_eq!(life.enroll(certificate(last), 99, last + 1), Err(RejectionCode::Limit));
    life.now = life.now.after_s(1);
    life.enroll(certificate(last), 99, last + 1).unwrap();
    assert_eq!(life.serials(), [last + 1]);
}

#[test]
fn the_revoked_enrolls_again_with_a_new_token() {
    let mut life = enrolled();
    life.revoke(None).unwrap();
    assert_eq!(life.state.standing(), Standing::Revoked);
    let told = told_to_placement(&life.last().effects);
    assert_eq!((told.len(), losers(&life.last().effects)), (1, vec![device()]));
    let revocation = Revocation { at: START, reason: 1, banned: false };
    assert_eq!(life.state.issued[0].revoked, Some(revocation));
    assert_eq!(life.enroll(certificate(1), 12, 2), Err(RejectionCode::Revoked));
    assert_eq!(life.enroll(token(1), 11, 2), Err(RejectionCode::Token));
    life.invite(2, Approval::None).unwrap();
    life.enroll(token(2), 12, 2).unwrap();
    assert_eq!(life.state.standing(), Standing::Active);
    assert_eq!(life.revoke(Some(9)), Err(RejectionCode::Unknown));
}

#[test]
fn an_old_certificate_is_revoked_and_the_device_stays() {
    let mut life = enrolled();
    life.enroll(certificate(1), 12, 2).unwrap();
    life.revoke(Some(1)).unwrap();
    assert_eq!(losers(&life.last().effects), []);
    assert_eq!(life.state.standing(), Standing::Active);
    assert_eq!(life.state.newest().map(|issued| issued.serial), Some([2; 16]));
}

#[test]
fn the_banned_get_nothing_until_they_are_readmitted() {
    let mut life = enrolled();
    life.invite(2, Approval::One).unwrap();
    life.request(2, 12).unwrap();
    life.approve("bob").unwrap();
    life.ban();
    assert_eq!(life.state.standing(), Standing::Banned);
    assert_eq!((&life.state.token, &life.state.request), (&None, &None));
    let [.., revoked, banned] = life.happened.as_slice() else { panic!() };
    assert!(matches!(banned.event, Event::Banned { .. }));
    assert_eq!(losers(&revoked.effects), [device()]);
    assert!(revoked.after.issued[0].revoked.unwrap().banned);
    assert_eq!(life.invite(3, Approval::None), Err(RejectionCode::Banned));
    assert_eq!(life.request(2, 12), Err(RejectionCode::Banned));
    assert_eq!(life.enroll(token(2), 12, 2), Err(RejectionCode::Banned));
    assert_eq!(life.enroll(certificate(1), 12, 2), Err(RejectionCode::Banned));
    life.ask(Command::Readmit { by: "bob".into() }).unwrap();
    assert_eq!(life.state.standing(), Standing::Revoked);
    assert_eq!(life.enroll(token(2), 12, 2), Err(RejectionCode::Token));
    life.invite(3, Approval::None).unwrap();
    life.enroll(token(3), 12, 2).unwrap();
    assert_eq!(life.state.standing(), Standing::Active);
}

#[test]
fn what_is_not_registered_or_too_long_is_refused() {
    let mut life = Life::new(START);
    assert_eq!(life.invite(1, Approval::None), Err(RejectionCode::Unknown));
    let register = |profile, label: String| Command::Register {
        profile,
        device: Some(device()),
        label,
        by: "ann".into(),
    };
    for label in ["x".repeat(TEXT_BYTES_MAX + 1), "a\nb".to_owned()] {
        let refusal = life.ask(register(Profile::Customer, label)).unwrap_err();
        assert_eq!(refusal.code, RejectionCode::Invalid);
    }
    life.ask(register(Profile::Customer, "x".repeat(TEXT_BYTES_MAX))).unwrap();
    let other = life.ask(register(Profile::Technician, String::new())).unwrap_err();
    assert_eq!(other.code, RejectionCode::Exists);
    let row = IndexRow::Registration {
        id: id(),
        state: Standing::Registered,
        profile: Profile::Customer,
        device: Some(device()),
        not_after: None,
        asked_at: None,
    };
    assert!(life.last().effects.contains(&Effect::Index(row)));
}

#[test]
fn a_spent_token_stays_spent_when_its_certificate_is_forgotten() {
    let mut life = registered();
    let expires = START.after_s(2 * LIFE_S);
    let invitation = |number| {
        let (by, approval) = ("ann".into(), Approval::None);
        Command::Invite(Token { hash: [number; 32], expires, by, approval })
    };
    life.ask(invitation(1)).unwrap();
    life.enroll(token(1), 11, 1).unwrap();
    life.now = life.now.after_s(LIFE_S + 1);
    life.ask(invitation(2)).unwrap();
    life.enroll(token(2), 12, 2).unwrap();
    assert_eq!(life.serials(), [2]);
    // The first invitation comes again.
    let _ = life.ask(invitation(1));
    assert_eq!(life.enroll(token(1), 13, 3), Err(RejectionCode::Token));
}

#[test]
fn another_token_leaves_a_waiting_request_its_timer() {
    let mut life = registered();
    life.invite(1, Approval::One).unwrap();
    life.request(1, 11).unwrap();
    life.invite(2, Approval::None).unwrap();
    life.enroll(token(2), 12, 2).unwrap();
    assert_eq!(life.state.standing(), Standing::Pending);
    assert!(!life.last().effects.contains(&Effect::CancelTimer { name: TimerName::Deadline }));
}

#[test]
fn a_renewal_that_is_asked_for_again_later_is_no_second_one() {
    let mut life = enrolled();
    life.enroll(certificate(1), 12, 2).unwrap();
    life.enroll(certificate(1), 13, 3).unwrap();
    let _ = life.enroll(certificate(1), 12, 4);
    assert_eq!(life.serials(), [1, 2, 3]);
}

#[test]
fn a_record_that_arrives_again_gives_no_certificate_its_force_back() {
    let mut life = enrolled();
    life.enroll(certificate(1), 12, 2).unwrap();
    life.revoke(Some(2)).unwrap();
    let _ = life.enroll(certificate(1), 12, 2);
    let force = life.state.issued.iter().map(|issued| (issued.serial[0], issued.revoked.is_none()));
    assert_eq!(Vec::from_iter(force), [(1, true), (2, false)]);
}
