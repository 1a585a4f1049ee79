//! What must hold of what operators write, whoever writes and over whichever version.

use std::collections::BTreeMap;

use fieldmesh_domain::{
    Aggregate, Effect, EntityId, IndexRow, RejectionCode,
    effect::RowKey,
    placement::{
        Command, DOCUMENT_BYTES_MAX, Document, DocumentKind, Event, ORDERS, Placement,
        VERSIONS_KEPT,
    },
};
use proptest::{collection::vec, prelude::*};

use crate::{
    members::{ctx, join, member},
    world::through_bytes,
};

/// A write, and how far the version that it names is from the one that is there.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    kind: DocumentKind,
    text: String,
    astray: i64,
}

pub(crate) fn kind() -> impl Strategy<Value = DocumentKind> {
    (0..DocumentKind::ALL.len()).prop_map(|at| DocumentKind::ALL[at])
}

pub(crate) fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = (kind(), "[ab]{0,2}", prop_oneof![6 => Just(0_i64), 1 => -2_i64..3])
        .prop_map(|(kind, text, astray)| Write { kind, text, astray });
    vec(write, 0..80)
}

fn write(kind: DocumentKind, text: &str, base: u32) -> Command {
    Command::Write { kind, text: text.into(), base, by: "op".into() }
}

/// The group with the rows that its lists have.
#[derive(Default)]
struct Kept {
    state: Placement,
    rows: BTreeMap<(u8, Vec<u8>), Document>,
    /// Each kind's texts, from version 1.
    texts: BTreeMap<DocumentKind, Vec<String>>,
}

impl Kept {
    fn version(&self, kind: DocumentKind) -> u32 {
        self.state.written(kind).map_or(0, |written| written.version)
    }

    fn ask(&mut self, command: &Command) -> Result<usize, RejectionCode> {
        let events = self.state.decide(command, &ctx(7)).map_err(|refused| refused.code)?;
        for event in &events {
            self.state.evolve(event);
            for effect in self.state.react(event, EntityId::placement()) {
                if let Effect::Index(row @ IndexRow::Document(document)) = &effect {
                    let RowKey { kind, name } = row.key();
                    self.rows.insert((kind, name), document.clone());
                }
            }
            if let Event::Written(document) = event {
                self.texts.entry(document.kind).or_default().push(document.text.clone());
            }
        }
        Ok(events.len())
    }

    fn take(&mut self, Write { kind, text, astray }: &Write) {
        let version = self.version(*kind);
        let base = i64::from(version) + astray;
        let base = u32::try_from(base).unwrap_or(9);
        let is_same = self.texts.get(kind).is_some_and(|texts| texts.last() == Some(text));
        let expected = match () {
            () if is_same => Ok(0),
            () if base == version => Ok(1),
            () => Err(RejectionCode::NotNow),
        };
        assert_eq!(self.ask(&write(*kind, text, base)), expected);
        assert_eq!(self.version(*kind), version + u32::from(expected == Ok(1)));
    }

    /// The last sixteen versions of each kind are there, with their texts, and no other.
    fn rows_are_the_last_versions(&self) {
        for kind in DocumentKind::ALL {
            let newest = self.version(kind);
            let texts = self.texts.get(&kind).cloned().unwrap_or_default();
            assert_eq!(texts.len(), newest as usize);
            let mut found: Vec<&Document> =
                self.rows.values().filter(|document| document.kind == kind).collect();
            found.sort_by_key(|document| document.version);
            let oldest = newest.saturating_sub(VERSIONS_KEPT) + 1;
            let versions: Vec<u32> = found.iter().map(|document| document.version).collect();
            assert_eq!(versions, (oldest..=newest).collect::<Vec<_>>());
            for document in found {
                assert_eq!(document.text, texts[document.version as usize - 1]);
            }
        }
    }
}

pub(crate) fn versions_rise_and_the_last_are_kept(writes: &[Write]) {
    let mut kept = Kept::default();
    kept.ask(&join(1)).unwrap();
    for write in writes {
        kept.take(write);
    }
    kept.rows_are_the_last_versions();
    assert_eq!(through_bytes(&kept.state), kept.state);
}

#[test]
fn both_versions_are_named_where_they_differ() {
    let mut kept = Kept::default();
    kept.ask(&write(DocumentKind::Rules, "a", 0)).unwrap();
    let refused = kept.state.decide(&write(DocumentKind::Rules, "b", 4), &ctx(7)).unwrap_err();
    assert_eq!(
        refused.detail,
        "the rules are at version 1, not at 4: read that one, and write over it"
    );
    // Another kind has versions of its own.
    assert_eq!(kept.ask(&write(DocumentKind::Policies, "b", 0)), Ok(1));
}

#[test]
fn a_text_has_a_limit() {
    let mut kept = Kept::default();
    let most = "a".repeat(DOCUMENT_BYTES_MAX);
    assert_eq!(kept.ask(&write(DocumentKind::Rules, &most, 0)), Ok(1));
    let more = format!("{most}a");
    assert_eq!(kept.ask(&write(DocumentKind::Rules, &more, 1)), Err(RejectionCode::Limit));
}

#[test]
fn nothing_is_written_before_every_node_knows_of_it() {
    let older = fieldmesh_domain::placement::Member { level: ORDERS, ..member(2) };
    let mut kept = Kept::default();
    kept.ask(&join(1)).unwrap();
    kept.ask(&Command::Join { member: older, shards: crate::members::SHARDS, by: "op".into() })
        .unwrap();
    let first = write(DocumentKind::Rules, "a", 0);
    assert_eq!(kept.ask(&first), Err(RejectionCode::NotNow));
    kept.ask(&join(2)).unwrap();
    assert_eq!(kept.ask(&first), Ok(1));
}
