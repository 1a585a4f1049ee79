//! What operators write for dispatch: the command, the event, the row and what the group keeps.

use fieldmesh_domain::{
    EntityId, IndexRow,
    effect::RowKey,
    placement::{Command, Document, DocumentKind, Event, Placement, Written},
};

use crate::{NOON, are_frozen};

fn document() -> Document {
    let (text, by) = ("abc".to_owned(), "op".to_owned());
    Document { kind: DocumentKind::Silences, version: 18, text, by, at: NOON }
}

#[test]
fn of_the_placement_group() {
    let write = Command::Write {
        kind: DocumentKind::Silences,
        text: "abc".into(),
        base: 17,
        by: "op".into(),
    };
    are_frozen(&[("821784036361626311626f70", write)]);
    are_frozen(&[("820e8185031263616263626f70<noon>", Event::Written(document()))]);
}

#[test]
fn rows() {
    let row = IndexRow::Document(document());
    assert_eq!(row.key(), RowKey { kind: 0x27, name: vec![3, 2] });
    assert_eq!(row.id(), EntityId::placement());
    are_frozen(&[("820b8185031263616263626f70<noon>", row)]);
}

#[test]
fn numbers_of_kinds() {
    are_frozen(&[("850001020304", DocumentKind::ALL)]);
    assert_eq!(
        DocumentKind::ALL.map(DocumentKind::name),
        ["rules", "policies", "calendars", "silences", "webhooks"]
    );
}

#[test]
fn the_state() {
    let written = Written {
        kind: DocumentKind::Rules,
        version: 2,
        hash: 0xe71f_a219_0541_574b,
        bytes: 3,
        by: "op".into(),
        at: NOON,
    };
    let state = Placement { documents: Some(vec![written]), ..Placement::default() };
    are_frozen(&[
        ("8400830080808400808080818600021be71fa2190541574b03626f70<noon>", state),
        // As an earlier release wrote it, and as it is before the first document.
        ("8300830080808400808080", Placement::default()),
    ]);
}
