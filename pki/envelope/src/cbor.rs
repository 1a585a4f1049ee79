//! The subset of CBOR (RFC 8949) that the profile uses, deterministic both ways (§4.2.1).
//!
//! The reader takes definite lengths and shortest integers only, and callers read fixed shapes in
//! fixed order, so what is accepted encodes back to the same bytes. **Not here:** COSE.

/// Why bytes are not in the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the input ends early")]
    Short,
    #[error("bytes follow the end")]
    Trailing,
    #[error("the encoding is not the shortest, or of indefinite length")]
    NotCanonical,
    #[error("another shape was expected at byte {0}")]
    Shape(usize),
    #[error("the input is larger than its limit")]
    TooLarge,
    #[error("a text is not UTF-8")]
    Text,
    #[error("the algorithm is not allowed")]
    Algorithm,
    #[error("the key is not a point of the curve")]
    Key,
}

pub(crate) const UINT: u8 = 0;
pub(crate) const NINT: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const TEXT: u8 = 3;
pub(crate) const ARRAY: u8 = 4;
pub(crate) const MAP: u8 = 5;
pub(crate) const TAG: u8 = 6;

/// Writes into memory.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let major = major << 5;
        let bytes = value.to_be_bytes();
        match value {
            0..=23 => self.0.push(major | bytes[7]),
            24..=0xff => self.0.extend_from_slice(&[major | 24, bytes[7]]),
            0x100..=0xffff => {
                self.0.push(major | 25);
                self.0.extend_from_slice(&bytes[6..]);
            }
            0x1_0000..=0xffff_ffff => {
                self.0.push(major | 26);
                self.0.extend_from_slice(&bytes[4..]);
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend_from_slice(&bytes);
            }
        }
        self
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        if value < 0 { self.head(NINT, !value as u64) } else { self.head(UINT, value as u64) }
    }

    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UINT, value)
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64).raw(value)
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64).raw(value.as_bytes())
    }

    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }
}

/// Reads a slice strictly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.at == self.input.len() { Ok(()) } else { Err(DecodeError::Trailing) }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let until = self.at.checked_add(count).ok_or(DecodeError::Short)?;
        let taken = self.input.get(self.at..until).ok_or(DecodeError::Short)?;
        self.at = until;
        Ok(taken)
    }

    fn any_head(&mut self) -> Result<(u8, u64), DecodeError> {
        let first = self.take(1)?[0];
        let (size, least) = match first & 31 {
            small @ 0..=23 => return Ok((first >> 5, u64::from(small))),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return Err(DecodeError::NotCanonical),
        };
        let value = self.take(size)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        if value < least { Err(DecodeError::NotCanonical) } else { Ok((first >> 5, value)) }
    }

    fn head(&mut self, major: u8) -> Result<u64, DecodeError> {
        let at = self.at;
        let (found, value) = self.any_head()?;
        if found == major { Ok(value) } else { Err(DecodeError::Shape(at)) }
    }

    /// A head of this type with exactly this value.
    pub(crate) fn exactly(&mut self, major: u8, value: u64) -> Result<(), DecodeError> {
        let at = self.at;
        if self.head(major)? == value { Ok(()) } else { Err(DecodeError::Shape(at)) }
    }

    /// Exactly this integer.
    pub(crate) fn key(&mut self, value: i64) -> Result<(), DecodeError> {
        if value < 0 { self.exactly(NINT, !value as u64) } else { self.exactly(UINT, value as u64) }
    }

    pub(crate) fn uint(&mut self) -> Result<u64, DecodeError> {
        self.head(UINT)
    }

    /// A small integer of either sign.
    pub(crate) fn int(&mut self) -> Result<i64, DecodeError> {
        let at = self.at;
        let (major, value) = self.any_head()?;
        let value = i64::try_from(value).map_err(|_| DecodeError::Shape(at))?;
        match major {
            UINT => Ok(value),
            NINT => Ok(!value),
            _ => Err(DecodeError::Shape(at)),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.head(BYTES)?;
        self.take(usize::try_from(length).map_err(|_| DecodeError::Short)?)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let at = self.at;
        self.bytes()?.try_into().map_err(|_| DecodeError::Shape(at))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.head(TEXT)?;
        let bytes = self.take(usize::try_from(length).map_err(|_| DecodeError::Short)?)?;
        core::str::from_utf8(bytes).map_err(|_| DecodeError::Text)
    }

    /// Something else was expected here.
    pub(crate) fn shape(&self) -> DecodeError {
        DecodeError::Shape(self.at)
    }

    /// The number of items of an array or map, at most `max`.
    pub(crate) fn count(&mut self, major: u8, max: u64) -> Result<u64, DecodeError> {
        let count = self.head(major)?;
        if count > max { Err(DecodeError::TooLarge) } else { Ok(count) }
    }
}
