//! A reader of strict DER (X.690 §10 and §11) for bytes from outside.
//!
//! The libraries that read content let some BER through (x509-parser, yasna), and some bytes at the
//! end of a sequence too; yasna 0.6 also adds a length from outside to a position without a check,
//! so that ten bytes make it panic or never end. What is read here first has one encoding only.
//!
//! **Invariants:** no input panics; work is linear in the input's length; nesting is bounded.
//! **Not here:** tags above 30 and values of 64 KiB and more, which nothing that is read has; what
//! any structure means; the order of a SET OF, which clients in use get wrong and which decides
//! nothing.

/// Levels of nesting: a request with our names has eight, an OCSP request that its sender signed
/// and sent certificates with has eleven.
const DEPTH_MAX: usize = 16;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OID: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const UTF8_STRING: u8 = 0x0c;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The tag `[number]`, constructed.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// The bytes are not DER, or not the structure that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DerError;

/// One value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// With tag and length.
    pub(crate) raw: &'a [u8],
}

impl<'a> Element<'a> {
    /// The only value in `bytes`, strict at every level.
    pub(crate) fn only(bytes: &'a [u8]) -> Result<Self, DerError> {
        let mut reader = Reader::new(bytes);
        let element = reader.next()?;
        reader.end()?;
        element.check(DEPTH_MAX)?;
        Ok(element)
    }

    /// What a value with this tag holds.
    pub(crate) fn inside(self, tag: u8) -> Result<Reader<'a>, DerError> {
        if self.tag == tag { Ok(Reader(self.content)) } else { Err(DerError) }
    }

    fn check(self, depth: usize) -> Result<(), DerError> {
        let is_constructed = self.tag & 0x20 != 0;
        let is_universal = self.tag & 0xc0 == 0;
        let is_well_formed = match (is_universal, is_constructed) {
            (true, false) => is_canonical(self.tag, self.content),
            // A constructed string is BER.
            (true, true) => matches!(self.tag, SEQUENCE | SET),
            (false, _) => true,
        };
        if !is_well_formed {
            return Err(DerError);
        }
        if !is_constructed {
            return Ok(());
        }
        let depth = depth.checked_sub(1).ok_or(DerError)?;
        let mut reader = Reader(self.content);
        while !reader.is_at_end() {
            reader.next()?.check(depth)?;
        }
        Ok(())
    }
}

/// Whether a primitive value of a universal type has its one encoding.
fn is_canonical(tag: u8, content: &[u8]) -> bool {
    match (tag, content) {
        // The end of an indefinite length, and structures that are not constructed.
        (0x00 | 0x10 | 0x11, _) => false,
        (BOOLEAN, content) => matches!(content, [0x00 | 0xff]),
        (INTEGER | ENUMERATED, content) => match content {
            [] | [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => false,
            [..] => true,
        },
        (BIT_STRING, [0, ..]) => true,
        (BIT_STRING, [unused @ 1..=7, .., last]) => last.trailing_zeros() >= u32::from(*unused),
        (BIT_STRING, _) => false,
        (NULL, content) => content.is_empty(),
        (OID, content) => is_oid(content),
        (UTF8_STRING, content) => core::str::from_utf8(content).is_ok(),
        _ => true,
    }
}

/// Whole arcs, each without a leading zero group.
fn is_oid(content: &[u8]) -> bool {
    let begins = core::iter::once(true).chain(content.iter().map(|byte| byte & 0x80 == 0));
    content.last().is_some_and(|last| last & 0x80 == 0)
        && content.iter().zip(begins).all(|(byte, is_first)| !is_first || *byte != 0x80)
}

/// Values one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Of bytes that are not checked yet: what is in a value is checked by [`Element::only`].
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// Where something is left.
    pub(crate) fn end(self) -> Result<(), DerError> {
        if self.is_at_end() { Ok(()) } else { Err(DerError) }
    }

    /// The next value, whatever it is; its content is not looked at.
    pub(crate) fn next(&mut self) -> Result<Element<'a>, DerError> {
        let (header, length) = match self.0 {
            // Numbers above 30 take more bytes.
            [tag, ..] if tag & 0x1f == 0x1f => return Err(DerError),
            [_, length @ ..=0x7f, ..] => (2, usize::from(*length)),
            // The shortest form only.
            [_, 0x81, length @ 0x80..=0xff, ..] => (3, usize::from(*length)),
            [_, 0x82, high @ 1..=0xff, low, ..] => (4, usize::from(*high) << 8 | usize::from(*low)),
            _ => return Err(DerError),
        };
        let (raw, rest) = self.0.split_at_checked(header + length).ok_or(DerError)?;
        self.0 = rest;
        Ok(Element { tag: raw[0], content: &raw[header..], raw })
    }

    /// The next value, which has this tag.
    pub(crate) fn read(&mut self, tag: u8) -> Result<Element<'a>, DerError> {
        let element = self.next()?;
        if element.tag == tag { Ok(element) } else { Err(DerError) }
    }

    /// What is in the next value, which has this tag.
    pub(crate) fn enter(&mut self, tag: u8) -> Result<Self, DerError> {
        self.next()?.inside(tag)
    }

    /// The next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerError> {
        if self.0.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_encoding_of_a_value_is_taken() {
        let good: [&[u8]; 12] = [
            &[1, 1, 0],
            &[1, 1, 0xff],
            &[2, 1, 0],
            &[2, 2, 0, 0x80],
            &[2, 2, 0xff, 0x7f],
            &[3, 1, 0],
            &[3, 2, 4, 0xf0],
            &[5, 0],
            &[6, 2, 0x2a, 3],
            &[0x30, 3, 4, 1, 9],
            &[0xa0, 0],
            &[0x86, 1, 0xff],
        ];
        for bytes in good {
            assert_eq!(Element::only(bytes).unwrap().raw, bytes, "{bytes:02x?}");
        }
        for (header, length) in [(&[4, 0x81, 0x80][..], 128), (&[4, 0x82, 0xff, 0xff], 0xffff)] {
            let long = [header, &vec![7; length]].concat();
            assert_eq!(Element::only(&long).unwrap().content, vec![7; length]);
        }
    }

    #[test]
    fn ber_is_refused() {
        let bad: [&[u8]; 26] = [
            &[1, 1, 1],
            &[1, 0],
            &[2, 0],
            &[2, 2, 0, 1],
            &[2, 2, 0xff, 0x80],
            &[3, 0],
            &[3, 1, 1],
            &[3, 2, 8, 0],
            &[3, 2, 4, 0xf8],
            &[5, 1, 0],
            &[6, 0],
            &[6, 1, 0x80],
            &[6, 2, 0x2a, 0x80],
            &[6, 3, 0x2a, 0x80, 1],
            &[0x0c, 1, 0xff],
            // A length that is longer than it need be, and one that is indefinite.
            &[4, 0x81, 1, 9],
            &[0x30, 0x80, 0, 0],
            // Fewer bytes than there should be.
            &[4],
            &[4, 2, 9],
            &[4, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            // Constructed strings, primitive structures, high tags, ends, bytes that follow.
            &[0x24, 3, 4, 1, 9],
            &[0x10, 0],
            &[0x1f, 0x1f, 0],
            &[0, 0],
            &[5, 0, 0],
            &[0x30, 3, 2, 1],
        ];
        for bytes in bad {
            assert_eq!(Element::only(bytes), Err(DerError), "{bytes:02x?}");
        }
        for (header, length) in [(&[4, 0x82, 0, 0x80][..], 0x80), (&[4, 0x83, 1, 0, 0], 0x1_0000)] {
            let padded = [header, &vec![7; length]].concat();
            assert_eq!(Element::only(&padded), Err(DerError));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| {
            (0..levels).fold(Vec::new(), |inner: Vec<u8>, _| {
                [&[0x30, u8::try_from(inner.len()).unwrap()][..], &inner].concat()
            })
        };
        assert!(Element::only(&nested(DEPTH_MAX)).is_ok());
        assert!(Element::only(&nested(DEPTH_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_the_shortest_form_of_its_content(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut reader = Reader::new(&bytes);
            while let Ok(element) = reader.next() {
                let shortest = yasna::construct_der(|writer| writer.write_bytes(element.content));
                prop_assert_eq!(&shortest[1..], &element.raw[1..]);
                let _ = Element::only(element.raw);
            }
            prop_assert!(bytes.ends_with(reader.0));
        }

        #[test]
        fn what_yasna_writes_is_read(
            number: i64,
            text in ".{0,80}",
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            flag: bool,
        ) {
            let der = yasna::construct_der(|writer| writer.write_sequence(|writer| {
                writer.next().write_i64(number);
                writer.next().write_utf8_string(&text);
                writer.next().write_bytes(&bytes);
                writer.next().write_bool(flag);
            }));
            let mut reader = Element::only(&der).unwrap().inside(SEQUENCE).unwrap();
            let integer = reader.read(INTEGER).unwrap().content;
            let sign = if number < 0 { -1 } else { 0 };
            let read = integer.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte));
            prop_assert_eq!(read, number);
            prop_assert_eq!(reader.read(UTF8_STRING).unwrap().content, text.as_bytes());
            prop_assert_eq!(reader.optional(BOOLEAN), Ok(None));
            prop_assert_eq!(reader.read(OCTET_STRING).unwrap().content, &bytes[..]);
            prop_assert!(reader.optional(BOOLEAN).unwrap().is_some());
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
