//! The receive window over sequence numbers: 1024 wide, so that an outbox flush may arrive in any
//! order (OSCORE's 32 would be too few).

use crate::DecodeError;

const WIDTH: u64 = 1024;
const WORDS: usize = 16;
const BYTES: usize = 8 + 8 * WORDS;

/// What the window says of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeqVerdict {
    Fresh,
    Seen,
    /// Too far behind to know.
    TooOld,
}

/// Which numbers were accepted: `top` is the highest, bit n of the map is `top - n`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayWindow {
    top: u64,
    map: [u64; WORDS],
}

impl ReplayWindow {
    pub fn check(&self, seq: u64) -> SeqVerdict {
        if seq > self.top {
            return SeqVerdict::Fresh;
        }
        let behind = self.top - seq;
        if behind >= WIDTH {
            SeqVerdict::TooOld
        } else if self.map[(behind / 64) as usize] >> (behind % 64) & 1 == 1 {
            SeqVerdict::Seen
        } else {
            SeqVerdict::Fresh
        }
    }

    /// Notes a number as accepted; one that is too old changes nothing.
    pub fn accept(&mut self, seq: u64) {
        if seq > self.top {
            self.shift(seq - self.top);
            self.top = seq;
        }
        let behind = self.top - seq;
        if behind < WIDTH {
            self.map[(behind / 64) as usize] |= 1 << (behind % 64);
        }
    }

    fn shift(&mut self, by: u64) {
        if by >= WIDTH {
            self.map = [0; WORDS];
            return;
        }
        let (words, bits) = ((by / 64) as usize, by % 64);
        for at in (0..WORDS).rev() {
            let from = at.checked_sub(words);
            let high = from.map_or(0, |from| self.map[from] << bits);
            let low = from.and_then(|from| from.checked_sub(1)).filter(|_| bits > 0);
            self.map[at] = high | low.map_or(0, |from| self.map[from] >> (64 - bits));
        }
    }

    pub fn to_bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.top.to_be_bytes());
        for (chunk, word) in bytes[8..].chunks_exact_mut(8).zip(self.map) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// # Errors
    /// Where the bytes are not from [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() != BYTES {
            return Err(DecodeError::Short);
        }
        let word = |chunk: &[u8]| chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let mut map = [0; WORDS];
        for (slot, chunk) in map.iter_mut().zip(bytes[8..].chunks_exact(8)) {
            *slot = word(chunk);
        }
        Ok(Self { top: word(&bytes[..8]), map })
    }
}
