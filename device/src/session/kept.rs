//! Messages as they were sealed, to be sent again as they are.
//!
//! A service that is busy says so before it opens anything; sealing anew for each time would cost a device more
//! than that costs the service. **Invariants:** what is kept is under the key that the service has now; so many are
//! kept at most. **Not here:** what goes under session keys, whose counters are used once.

use std::collections::BTreeMap;

/// At some 2 KiB each this is half a megabyte; what finds no room is sealed anew.
const KEPT_MAX: usize = 256;

/// A service's key, by its identifier.
type KeyId = [u8; 8];

/// Sealed messages by their identifiers.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<[u8; 16], (KeyId, Vec<u8>)>);

impl Kept {
    pub(super) fn get(&self, message_id: &[u8; 16], key: KeyId) -> Option<Vec<u8>> {
        self.0.get(message_id).filter(|(under, _)| *under == key).map(|(_, sealed)| sealed.clone())
    }

    pub(super) fn keep(&mut self, message_id: [u8; 16], key: KeyId, sealed: &[u8]) {
        if self.0.len() < KEPT_MAX || self.0.contains_key(&message_id) {
            self.0.insert(message_id, (key, sealed.to_vec()));
        }
    }

    pub(super) fn forget(&mut self, message_id: &[u8; 16]) {
        self.0.remove(message_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_for_one_key_and_has_a_bound() {
        let mut kept = Kept::default();
        let id = |number: usize| (number as u128).to_be_bytes();
        kept.keep(id(0), [1; 8], b"sealed");
        assert_eq!(kept.get(&id(0), [1; 8]).as_deref(), Some(&b"sealed"[..]));
        assert_eq!(kept.get(&id(0), [2; 8]), None, "the service has another key by now");
        kept.keep(id(0), [2; 8], b"anew");
        assert_eq!(kept.get(&id(0), [2; 8]).as_deref(), Some(&b"anew"[..]));
        (1..=KEPT_MAX).for_each(|number| kept.keep(id(number), [2; 8], b""));
        assert_eq!(kept.get(&id(KEPT_MAX), [2; 8]), None);
        kept.forget(&id(0));
        kept.keep(id(KEPT_MAX), [2; 8], b"");
        assert!(kept.get(&id(KEPT_MAX), [2; 8]).is_some());
    }
}
