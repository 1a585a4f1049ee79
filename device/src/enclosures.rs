//! What opens the attachments that messages told of, kept until somebody fetches them.
//!
//! **Invariants:** readable by the device's owner only; the newest are kept, so many at most. **Not here:**
//! fetching (`attachments`).

use std::{io, path::Path};

use fieldmesh_device::files;
use fieldmesh_domain::{
    EntityId,
    message::{Enclosure, NoteBody},
};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

const FILE: &str = "enclosures";
/// All attachments of sixteen tickets.
const KEPT_MAX: usize = 256;

#[derive(Default, Encode, Decode)]
struct Stored {
    /// Oldest first.
    #[n(0)]
    kept: Vec<(EntityId, Enclosure)>,
}

fn read(dir: &Path) -> io::Result<Stored> {
    let path = dir.join(FILE);
    let bytes = match files::read_secret(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
        read => Zeroizing::new(read?),
    };
    minicbor::decode(&bytes).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} does not decode", path.display()))
    })
}

/// Keeps what a message came with, if anything.
pub(crate) fn keep(dir: &Path, note: &NoteBody) -> io::Result<()> {
    let Some(enclosure) = &note.enclosure else { return Ok(()) };
    let mut stored = read(dir)?;
    // Somebody else's message may name the same number, and be wrong about it.
    stored.kept.retain(|(ticket, kept)| (*ticket, kept) != (note.ticket, enclosure));
    if stored.kept.len() >= KEPT_MAX {
        stored.kept.remove(0);
    }
    stored.kept.push((note.ticket, enclosure.clone()));
    let bytes = Zeroizing::new(minicbor::to_vec(&stored).map_err(io::Error::other)?);
    files::write_secret(&dir.join(FILE), &bytes)
}

/// What messages said of an attachment, the newest first.
pub(crate) fn find(dir: &Path, ticket: EntityId, number: u8) -> io::Result<Vec<Enclosure>> {
    let kept = read(dir)?.kept.into_iter().rev();
    let meant = kept.filter(|(of, kept)| (*of, kept.number) == (ticket, number));
    Ok(meant.map(|(_, kept)| kept).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use fieldmesh_domain::EntityKind;

    use super::*;

    #[test]
    fn the_bytes_of_what_is_kept_are_frozen() {
        let ticket = EntityId::new(EntityKind::Ticket, "eu1".parse().unwrap(), [10; 10]);
        let enclosure = Enclosure {
            number: 3,
            name: "a.jpg".into(),
            bytes: 70_000,
            digest: [1; 32],
            key: [2; 32],
        };
        let stored = Stored { kept: vec![(ticket, enclosure)] };
        let bytes = minicbor::to_vec(&stored).unwrap();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let (digest, key) = ("01".repeat(32), "02".repeat(32));
        let ticket = "506575310081150a0a0a0a0a0a0a0a0a0a";
        let enclosure = format!("850365612e6a70671a000111705820{digest}5820{key}");
        assert_eq!(text, format!("818182{ticket}{enclosure}"));
        assert_eq!(minicbor::decode::<Stored>(&bytes).unwrap().kept, stored.kept);
    }
}
