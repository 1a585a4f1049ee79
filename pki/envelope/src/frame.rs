//! The routing header in clear: `[1, to-id, message-id, class]`, bound to the ciphertext.

use crate::{
    Bytes16,
    cbor::{ARRAY, DecodeError, Reader, UINT, Writer},
};

/// Version of the frame.
const VERSION: u64 = 1;

/// Where a sealed message goes, and which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The recipient's identifier.
    pub to: Bytes16,
    /// The same as the signed `cti`.
    pub message_id: Bytes16,
    /// What follows the header; the transport's matter.
    pub class: u8,
}

impl Frame {
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.0
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer
            .head(ARRAY, 4)
            .uint(VERSION)
            .bytes(&self.to)
            .bytes(&self.message_id)
            .uint(u64::from(self.class));
    }

    /// The frame at the start of `input`, and its length in bytes.
    ///
    /// # Errors
    /// Anything but the one encoding.
    pub fn decode(input: &[u8]) -> Result<(Self, usize), DecodeError> {
        let mut reader = Reader::new(input);
        reader.exactly(ARRAY, 4)?;
        reader.exactly(UINT, VERSION)?;
        let (to, message_id) = (reader.fixed()?, reader.fixed()?);
        let at = reader.position();
        let class = u8::try_from(reader.uint()?).map_err(|_| DecodeError::Shape(at))?;
        Ok((Self { to, message_id, class }, reader.position()))
    }

    /// What ties a ciphertext to this frame: `["ESD1", frame]`.
    pub(crate) fn external_aad(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.head(ARRAY, 2).text("ESD1");
        self.write(&mut writer);
        writer.0
    }
}
