//! Identifiers as bytes and as text, and where rows are found.

use fieldmesh_domain::{
    EntityId, EntityKind, IndexRow, Region,
    customer::Standing,
    effect::RowKey,
    ids::{IdError, SLOTS},
    registration::Profile,
    technician::Duty,
    ticket::Stage,
};

use crate::{
    HASH, ISSUER, KEY, NOON, SERIAL, are_frozen, bundles::issuing, customer, hex, id, registration,
    revocation, technician, ticket,
};

fn region() -> Region {
    "eu1".parse().unwrap()
}

#[test]
fn of_each_kind() {
    let random = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    let new = |kind| EntityId::new(kind, region(), random);
    let (customer, technician) = (new(EntityKind::Customer), new(EntityKind::Technician));
    let table = [
        ("506575310002520102030405060708090a", "cus_eu1_099020g30g2gc1r81450", customer),
        ("506575310042520102030405060708090a", "tec_eu1_899020g30g2gc1r81450", technician),
        (
            "506575310082520102030405060708090a",
            "tkt_eu1_g99020g30g2gc1r81450",
            new(EntityKind::Ticket),
        ),
        (
            "506575310082523c43ca2eb06e10c33c43",
            "tkt_eu1_g993rgya5tr6w4637h1g",
            EntityId::ticket_of(customer, [5; 16]),
        ),
        (
            "5065753100c00000000000000000000000",
            "dsk_eu1_r0000000000000000000",
            EntityId::desk(region()),
        ),
        (
            "506575310006520102030405060708090a",
            "reg_eu1_0s9020g30g2gc1r81450",
            new(EntityKind::Registration),
        ),
        (
            "506575310006520102030405060708090a",
            "reg_eu1_0s9020g30g2gc1r81450",
            EntityId::registration_of(customer),
        ),
        (
            "506575310006520102030405060708090b",
            "reg_eu1_0s9020g30g2gc1r8145g",
            EntityId::registration_of(technician),
        ),
        (
            "5065753100440000000000000000000000",
            "aut_eu1_8g000000000000000000",
            EntityId::authority(region()),
        ),
        (
            "50616c6c00840000000000000000000000",
            "plc_all_gg000000000000000000",
            EntityId::placement(),
        ),
        (
            "5065753100c40000000000000000000000",
            "ntf_eu1_rg000000000000000000",
            EntityId::notifier(region()),
        ),
    ];
    for (bytes, text, id) in table {
        are_frozen(&[(bytes, id)]);
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(EntityId::from_bytes(id.to_bytes()), Ok(id));
    }
}

#[test]
fn of_registrations_stay_with_their_devices() {
    for device in [customer(), technician(), id(EntityKind::Customer)] {
        let registration = EntityId::registration_of(device);
        assert_eq!(registration.kind(), EntityKind::Registration);
        assert_eq!((registration.slot(), registration.region()), (device.slot(), device.region()));
    }
    assert_ne!(
        EntityId::registration_of(customer()),
        EntityId::registration_of(technician()),
        "the same random bytes"
    );
}

/// The six bits of a kind: no others are an identifier, whatever the slot.
#[test]
fn of_no_other_kind() {
    let kinds = [
        (0b00_0000, EntityKind::Customer),
        (0b01_0000, EntityKind::Technician),
        (0b10_0000, EntityKind::Ticket),
        (0b11_0000, EntityKind::Desk),
        (0b00_0001, EntityKind::Registration),
        (0b01_0001, EntityKind::Authority),
        (0b10_0001, EntityKind::Placement),
        (0b11_0001, EntityKind::Notifier),
        (0b00_0010, EntityKind::Integration),
        (0b01_0010, EntityKind::Attachment),
    ];
    let mut bytes = customer().to_bytes();
    for bits in 0_u16..64 {
        for slot in [0, 1, SLOTS - 1] {
            bytes[4..6].copy_from_slice(&(bits << 10 | slot).to_be_bytes());
            let wanted = kinds.iter().find(|(known, _)| *known == bits).map(|(_, kind)| *kind);
            let found = EntityId::from_bytes(bytes);
            assert_eq!(
                found.map(|id| (id.kind(), id.slot())).ok(),
                wanted.map(|kind| (kind, slot))
            );
        }
    }
}

#[test]
fn of_one_kind_do_not_pass_for_another() {
    let text = EntityId::registration_of(customer()).to_string();
    for prefix in ["cus", "tec", "tkt", "dsk", "aut", "plc", "ntf", "int", "att"] {
        let other = text.replacen("reg", prefix, 1);
        assert_eq!(other.parse::<EntityId>(), Err(IdError::Kind), "{other}");
    }
}

#[test]
fn of_rows() {
    let (issuer, serial, not_after, revocation) = (ISSUER, SERIAL, 3, revocation());
    let ticket_row = IndexRow::Ticket {
        id: ticket(),
        state: Stage::Offered,
        priority: 2,
        opened_at: NOON,
        technician: None,
        standing: None,
        counted: None,
    };
    let registered = IndexRow::Registration {
        id: registration(),
        state: fieldmesh_domain::registration::Standing::Active,
        profile: Profile::Customer,
        device: None,
        not_after: None,
        asked_at: None,
    };
    let (registration, id) = (registration(), technician());
    let certificate =
        IndexRow::Certificate { issuer, serial, registration, not_after, revoked: None };
    let table = [
        (
            0,
            "6575310001150a0a0a0a0a0a0a0a0a0a",
            IndexRow::Customer { id: customer(), state: Standing::Active },
        ),
        (
            1,
            "6575310041150a0a0a0a0a0a0a0a0a0a",
            IndexRow::Technician { id, state: Duty::OnSite, load: 2 },
        ),
        (2, "6575310081150a0a0a0a0a0a0a0a0a0a", ticket_row),
        (4, "6575310005150a0a0a0a0a0a0a0a0a0a", registered),
        (
            0x20,
            "060606060606060606060606060606060909090909090909090909090909090909090909090909090909090909090909",
            certificate,
        ),
        (
            0x21,
            "0808080808080808080808080808080808080808080808080808080808080808",
            IndexRow::BoundKey { key: KEY, registration },
        ),
        (
            0x22,
            "060606060606060606060606060606060909090909090909090909090909090909090909090909090909090909090909",
            IndexRow::Revocation { issuer, serial, not_after, revocation },
        ),
        (
            0x23,
            "0404040404040404040404040404040404040404040404040404040404040404",
            IndexRow::Ca { ca: issuing(), epoch: 8 },
        ),
    ];
    for (kind, name, row) in &table {
        let key = row.key();
        assert_eq!((key.kind, hex(&key.name).as_str()), (*kind, *name), "{row:?}");
    }
    let writers = table.map(|(_, _, row)| row.id());
    let placement = EntityId::placement();
    let wanted =
        [customer(), id, ticket(), registration, registration, registration, placement, placement];
    assert_eq!(writers, wanted);
    assert_eq!(
        RowKey::certificate(&serial, &issuer),
        RowKey { kind: 0x20, name: [&serial[..], &issuer].concat() }
    );
    assert_ne!(RowKey::bound_key(&KEY), RowKey::bound_key(&HASH));
}
