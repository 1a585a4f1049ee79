//! The authority's records: registrations, the ledger, and what the whole cluster must know.

use fieldmesh_domain::{
    IndexRow, TimerName,
    authority::{self, Authority, Deed, Note},
    placement,
    registration::{
        self, Approval, Decision, Event, Profile, Proof, Registration, Request, Standing,
    },
};

use crate::{
    HASH, ISSUER, KEY, NOON, SERIAL, SIGNED_PART, are_frozen, customer, head, issued, registration,
    revocation, token,
};

const TIMER: TimerName = TimerName::Deadline;

fn asked(decision: Decision) -> Request {
    Request {
        token_hash: HASH,
        public_key_hash: KEY,
        asked_at: NOON,
        decision,
        minted_by: "op".into(),
        approval: Approval::One,
    }
}

#[test]
fn commands_to_a_registration() {
    use registration::Command;
    let by = || "op".to_owned();
    let (profile, device, label) = (Profile::Technician, Some(customer()), "van".to_owned());
    let first = issued(Proof::Token(HASH), None);
    let next = issued(Proof::Certificate(SERIAL), Some(revocation()));
    are_frozen(&[
        ("82008401<cus>6376616e626f70", Command::Register { profile, device, label, by: by() }),
        (
            "82008401f660626f70",
            Command::Register { profile, device: None, label: String::new(), by: by() },
        ),
        ("82018184<hash><noon>626f7002", Command::Invite(token())),
        ("820282<hash><key>", Command::Request { token_hash: HASH, public_key_hash: KEY }),
        ("820381626f70", Command::Approve { by: by(), key: None }),
        ("820382626f70<key>", Command::Approve { by: by(), key: Some(KEY.into()) }),
        ("820482626f70626e6f", Command::Deny { by: by(), why: "no".into(), key: None }),
        (
            "8205818a820081<hash><key><issuer><serial>0203420405f6<print><signed>",
            Command::Enroll(first),
        ),
        (
            "8205818a820181<serial><key><issuer><serial>020342040583<noon>05f5<print><signed>",
            Command::Enroll(next),
        ),
        ("820683<serial>01626f70", Command::Revoke { serial: Some(SERIAL), reason: 1, by: by() }),
        ("820683f601626f70", Command::Revoke { serial: None, reason: 1, by: by() }),
        ("820782626e6f626f70", Command::Ban { why: "no".into(), by: by() }),
        ("820881626f70", Command::Readmit { by: by() }),
        ("8209820008", Command::Timer { name: TIMER, generation: 8 }),
    ]);
}

#[test]
fn events_of_a_registration() {
    let by = || "op".to_owned();
    let (profile, device, label) = (Profile::Technician, Some(customer()), "van".to_owned());
    let request = asked(Decision::Pending);
    let first = issued(Proof::Token(HASH), None);
    let next = issued(Proof::Certificate(SERIAL), None);
    let (serials, revocation) = (vec![SERIAL.into()], revocation());
    are_frozen(&[
        ("82008401<cus>6376616e626f70", Event::Registered { profile, device, label, by: by() }),
        ("82018184<hash><noon>626f7002", Event::Invited(token())),
        (
            "82028286<hash><key><noon>820080626f7001<noon>",
            Event::Requested { request, lapses: NOON },
        ),
        ("820381626f70", Event::Approved { by: by() }),
        ("820482626f70626e6f", Event::Denied { by: by(), why: "no".into() }),
        ("820580", Event::Lapsed),
        (
            "8206838a820081<hash><key><issuer><serial>0203420405f6<print><signed>02626f70",
            Event::Enrolled { issued: first, forgotten: 2, approved_by: Some(by()) },
        ),
        (
            "8206828a820181<serial><key><issuer><serial>0203420405f6<print><signed>00",
            Event::Enrolled { issued: next, forgotten: 0, approved_by: None },
        ),
        ("82078381<serial>83<noon>05f5626f70", Event::Revoked { serials, revocation, by: by() }),
        ("820882626e6f626f70", Event::Banned { why: "no".into(), by: by() }),
        ("820981626f70", Event::Readmitted { by: by() }),
    ]);
}

#[test]
fn the_state_of_a_registration() {
    let known = Registration {
        profile: Some(Profile::Operator),
        device: Some(customer()),
        label: "van".into(),
        token: Some(token()),
        request: Some(asked(Decision::Pending)),
        issued: vec![
            issued(Proof::Token(HASH), Some(revocation())),
            issued(Proof::Certificate(SERIAL), None),
        ],
        banned: true,
        requests: 4,
        used: vec![HASH.into()],
    };
    let request = Some(asked(Decision::Approved("b".into())));
    let approved = Registration { request, ..Registration::default() };
    let request = Some(asked(Decision::Denied { by: "b".into(), why: "no".into() }));
    let denied = Registration { request, ..Registration::default() };
    are_frozen(&[
        ("89f6f660f6f680f40080", Registration::default()),
        (
            "8902<cus>6376616e84<hash><noon>626f700286<hash><key><noon>820080626f7001828a820081<hash><key><issuer><serial>020342040583<noon>05f5<print><signed>8a820181<serial><key><issuer><serial>0203420405f6<print><signed>f50481<hash>",
            known,
        ),
        ("89f6f660f686<hash><key><noon>8201816162626f700180f40080", approved),
        ("89f6f660f686<hash><key><noon>8202826162626e6f626f700180f40080", denied),
    ]);
}

#[test]
fn notes_of_the_ledger() {
    let (profile, expires) = (Profile::Technician, NOON);
    let first = Deed::Issued {
        profile,
        issuer: ISSUER,
        serial: SERIAL,
        not_after: 3,
        key: KEY,
        signed_part: SIGNED_PART,
        approved_by: Some("b".into()),
        renews: None,
    };
    let next = Deed::Issued {
        profile,
        issuer: ISSUER,
        serial: SERIAL,
        not_after: 3,
        key: KEY,
        signed_part: SIGNED_PART,
        approved_by: None,
        renews: Some(SERIAL.into()),
    };
    are_frozen(&[
        ("82008101", Deed::Registered(profile)),
        (
            "820184<noon>01<hash>01",
            Deed::TokenMinted { expires, approval: Approval::One, token: HASH, profile },
        ),
        ("820283<key><hash>01", Deed::Requested { key: KEY, token: HASH, profile }),
        ("820380", Deed::Approved),
        ("820481626e6f", Deed::Denied { why: "no".into() }),
        ("820580", Deed::Lapsed),
        ("82068701<issuer><serial>03<key><signed>6162", first),
        ("82068801<issuer><serial>03<key><signed>f6<serial>", next),
        ("820783<issuer><serial>01", Deed::Revoked { issuer: ISSUER, serial: SERIAL, reason: 1 }),
        ("820881626e6f", Deed::Banned { why: "no".into() }),
        ("820980", Deed::Readmitted),
        ("820a83190193626e6f02", Deed::Refused { code: 403, why: "no".into(), unlisted: 2 }),
        ("820b816363726c", Deed::KeyUsed { purpose: "crl".into() }),
        (
            "820e8562723163646179<hash>182a6770726f64756374",
            Deed::ChaosBegun {
                run: "r1".into(),
                scenario: "day".into(),
                document: HASH,
                seed: 42,
                target: "product".into(),
            },
        ),
        ("820f8262723102", Deed::ChaosEnded { run: "r1".into(), exit: 2 }),
    ]);
    are_frozen(&[
        ("83<reg>626f70820580", note()),
        ("83f6626f70820580", Note { registration: None, ..note() }),
    ]);
}

fn note() -> Note {
    Note { registration: Some(registration()), by: "op".into(), deed: Deed::Lapsed }
}

#[test]
fn of_an_authority() {
    use authority::{Command, Event};
    are_frozen(&[
        ("82008183<reg>626f70820580", Command::Note(note())),
        ("8201818507<noon>420102410306", Command::SignHead(head())),
        ("8202820008", Command::Timer { name: TIMER, generation: 8 }),
    ]);
    are_frozen(&[
        ("82008306<noon>83<reg>626f70820580", Event::Noted { number: 6, at: NOON, note: note() }),
        ("8201818507<noon>420102410306", Event::HeadSigned(head())),
    ]);
    are_frozen(&[
        ("8300f600", Authority::default()),
        (
            "83078507<noon>420102410306<noon>",
            Authority { size: 7, head: Some(head()), high_water: NOON },
        ),
    ]);
}

#[test]
fn of_a_placement() {
    use placement::{Command, Event};
    let (issuer, serial, not_after, revocation) = (ISSUER, SERIAL, 3, revocation());
    are_frozen(&[
        (
            "820084<issuer><serial>0383<noon>05f5",
            Command::Revoke { issuer, serial, not_after, revocation },
        ),
        ("8201820008", Command::Timer { name: TIMER, generation: 8 }),
    ]);
    are_frozen(&[(
        "820084<issuer><serial>0383<noon>05f5",
        Event::Revoked { issuer, serial, not_after, revocation },
    )]);
}

#[test]
fn rows_of_lists() {
    let (id, state, profile) = (registration(), Standing::Active, Profile::Technician);
    let (issuer, serial, revocation) = (ISSUER, SERIAL, revocation());
    let certificate =
        |revoked| IndexRow::Certificate { issuer, serial, registration: id, not_after: 3, revoked };
    let listed = IndexRow::Registration {
        id,
        state,
        profile,
        device: Some(customer()),
        not_after: Some(3),
        asked_at: Some(NOON),
    };
    let bare = IndexRow::Registration {
        id,
        state: Standing::Registered,
        profile,
        device: None,
        not_after: None,
        asked_at: None,
    };
    are_frozen(&[
        ("820386<reg>0301<cus>03<noon>", listed),
        ("820383<reg>0101", bare),
        ("820484<issuer><serial><reg>03", certificate(None)),
        ("820485<issuer><serial><reg>0383<noon>05f5", certificate(Some(revocation))),
        ("820582<key><reg>", IndexRow::BoundKey { key: KEY, registration: id }),
        (
            "820684<issuer><serial>0383<noon>05f5",
            IndexRow::Revocation { issuer, serial, not_after: 3, revocation },
        ),
    ]);
}

#[test]
fn numbers_of_names() {
    are_frozen(&[("86000102030405", Standing::ALL)]);
    assert_eq!(
        Standing::ALL.map(Standing::name),
        ["unknown", "registered", "pending", "active", "revoked", "banned"]
    );
    let profiles = [
        Profile::Customer,
        Profile::Technician,
        Profile::Operator,
        Profile::Node,
        Profile::Gateway,
    ];
    are_frozen(&[("850001020304", profiles)]);
    are_frozen(&[("83000102", [Approval::None, Approval::One, Approval::SecondPerson])]);
    are_frozen(&[
        ("820080", Decision::Pending),
        ("8201816162", Decision::Approved("b".into())),
        ("8202826162626e6f", Decision::Denied { by: "b".into(), why: "no".into() }),
    ]);
    are_frozen(&[
        ("820081<hash>", Proof::Token(HASH)),
        ("820181<serial>", Proof::Certificate(SERIAL)),
    ]);
}
