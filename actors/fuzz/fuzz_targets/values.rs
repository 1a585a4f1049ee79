//! Arbitrary bytes as everything that entities, nodes and devices tell each other or keep: no decoder
//! panics, and what one of them takes goes through bytes unchanged.
//!
//! The first byte chooses what it is. Not here: what envelopes and frames look like, which have targets
//! of their own, and rows that only the node knows.

#![no_main]

use core::fmt::Debug;

use fieldmesh_actors_fuzz::{text, through_bytes};
use fieldmesh_domain::{
    Command, EntityId, IndexRow,
    attachment::{self, Attachment},
    authority::{self, Authority},
    customer::{self, Customer},
    desk::{self, Desk},
    integration::{self, Integration},
    message::{
        AlertBody, ConfirmationBody, CustomerActBody, NoteBody, ReceiptBody, RequestBody,
        ResponseBody,
    },
    notifier::{self, Notifier},
    placement::{self, Placement},
    registration::{self, Registration},
    technician::{self, Technician},
    ticket::{self, Ticket},
};
use fieldmesh_rules::{Facts, Outcome, RuleSet};
use libfuzzer_sys::fuzz_target;
use minicbor::{Decode, Encode};

/// Its place is its number in committed inputs: more come at the end.
const READERS: &[fn(&[u8])] = &[
    value::<Command>,
    value::<IndexRow>,
    value::<Customer>,
    value::<Technician>,
    value::<Ticket>,
    value::<Desk>,
    value::<Registration>,
    value::<Authority>,
    value::<Placement>,
    value::<Notifier>,
    value::<Integration>,
    value::<Attachment>,
    value::<customer::Event>,
    value::<technician::Event>,
    value::<ticket::Event>,
    value::<desk::Event>,
    value::<registration::Event>,
    value::<authority::Event>,
    value::<placement::Event>,
    value::<notifier::Event>,
    value::<integration::Event>,
    value::<attachment::Event>,
    value::<ReceiptBody>,
    value::<AlertBody>,
    value::<NoteBody>,
    value::<ConfirmationBody>,
    request,
    response,
    act,
    value::<RuleSet>,
    value::<Facts>,
    value::<Outcome>,
    identifier,
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    READERS[usize::from(*choice) % READERS.len()](bytes);
});

fn read<T>(bytes: &[u8]) -> Option<T>
where
    T: Debug + PartialEq + Encode<()> + for<'b> Decode<'b, ()>,
{
    let value = minicbor::decode(bytes).ok()?;
    through_bytes(&value);
    Some(value)
}

fn value<T>(bytes: &[u8])
where
    T: Debug + PartialEq + Encode<()> + for<'b> Decode<'b, ()>,
{
    let _ = read::<T>(bytes);
}

// What a device says is looked at before anybody decides on it.

fn request(bytes: &[u8]) {
    let _ = read::<RequestBody>(bytes).map(|body| body.check());
}

fn response(bytes: &[u8]) {
    let _ = read::<ResponseBody>(bytes).map(|body| body.check());
}

fn act(bytes: &[u8]) {
    let _ = read::<CustomerActBody>(bytes).map(|body| body.check());
}

fn identifier(bytes: &[u8]) {
    value::<EntityId>(bytes);
    if let Ok(id) = text(bytes).parse::<EntityId>() {
        assert_eq!(id.to_string(), text(bytes));
        assert_eq!(EntityId::from_bytes(id.to_bytes()), Ok(id));
    }
}
