//! Identifiers: 16 bytes that say region, kind and slot, so that routing needs no lookup.
//!
//! Layout: `[0..4]` region code, zero padded; `[4..6]` big-endian: kind in the top six bits (its low
//! two bits first), slot in the low ten; `[6..16]` random. Text: `cus_eu1_` and 20 characters of Crockford's base32 over the
//! bytes from 4 on. **Invariant:** an [`EntityId`] that exists is well-formed.

use core::{fmt, str::FromStr};

use minicbor::{Decode, Decoder, Encode, Encoder, encode::Write};

/// Slots are fixed for ever; shards own sets of them.
pub const SLOTS: u16 = 1024;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of base32 for 12 bytes.
const TEXT_CHARS: usize = 20;

/// Why bytes or text are not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("a region code is 1 to 4 of [a-z0-9]")]
    Region,
    #[error("an identifier looks like cus_eu1_ and 20 characters of base32")]
    Text,
    #[error("the prefix and the content of the identifier name different kinds")]
    Kind,
}

/// A region's code: 1 to 4 of `[a-z0-9]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region([u8; 4]);

impl Region {
    fn from_padded(bytes: [u8; 4]) -> Result<Self, IdError> {
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(4);
        let (code, padding) = bytes.split_at(length);
        let is_code = !code.is_empty()
            && code.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if is_code && padding.iter().all(|byte| *byte == 0) {
            Ok(Self(bytes))
        } else {
            Err(IdError::Region)
        }
    }
}

impl FromStr for Region {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 4];
        bytes.get_mut(..text.len()).ok_or(IdError::Region)?.copy_from_slice(text.as_bytes());
        Self::from_padded(bytes)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take_while(|byte| **byte != 0)
            .try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl<C> Encode<C> for Region {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Region {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d
            .bytes()?
            .try_into()
            .map_err(|_| minicbor::decode::Error::message("a region has 4 bytes"))?;
        Self::from_padded(bytes).map_err(|_| minicbor::decode::Error::message("malformed region"))
    }
}

/// The kinds of entity. The numbers are in every identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum EntityKind {
    Customer = 0,
    Technician = 1,
    Ticket = 2,
    Desk = 3,
    /// An identity's record with the authority.
    Registration = 4,
    /// A region's authority.
    Authority = 5,
    /// The whole cluster.
    Placement = 6,
    /// What a region tells outside.
    Notifier = 7,
    /// A program of somebody else that reports for a customer.
    Integration = 8,
    /// What is attached to a ticket.
    Attachment = 9,
}

impl EntityKind {
    const ALL: [Self; 10] = [
        Self::Customer,
        Self::Technician,
        Self::Ticket,
        Self::Desk,
        Self::Registration,
        Self::Authority,
        Self::Placement,
        Self::Notifier,
        Self::Integration,
        Self::Attachment,
    ];

    /// Those that shards serve.
    pub const IN_SLOTS: [Self; 7] = [
        Self::Customer,
        Self::Technician,
        Self::Ticket,
        Self::Desk,
        Self::Notifier,
        Self::Integration,
        Self::Attachment,
    ];

    /// The six bits of an identifier: the first four kinds have only the top two.
    fn bits(self) -> u16 {
        let number = self as u16;
        (number & 3) << 14 | (number >> 2) << 10
    }

    fn from_bits(bits: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.bits() == bits & !(SLOTS - 1))
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Customer => "cus",
            Self::Technician => "tec",
            Self::Ticket => "tkt",
            Self::Desk => "dsk",
            Self::Registration => "reg",
            Self::Authority => "aut",
            Self::Placement => "plc",
            Self::Notifier => "ntf",
            Self::Integration => "int",
            Self::Attachment => "att",
        }
    }
}

/// An entity's address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntityId([u8; 16]);

impl EntityId {
    /// A new identifier; its slot follows from the random part, so that slots fill evenly.
    pub fn new(kind: EntityKind, region: Region, random: [u8; 10]) -> Self {
        let slot = (fnv1a(&random) % u64::from(SLOTS)) as u16;
        Self::build(kind, region, slot, random)
    }

    /// The ticket of a customer's message: in the customer's slot, and the same for the same message.
    pub fn ticket_of(customer: Self, message_id: [u8; 16]) -> Self {
        Self::beside(customer, EntityKind::Ticket, message_id)
    }

    /// An attachment of a ticket by its number, in the ticket's slot.
    pub fn attachment_of(ticket: Self, number: u8) -> Self {
        Self::beside(ticket, EntityKind::Attachment, [number; 16])
    }

    /// What follows from another entity, in its slot.
    fn beside(other: Self, kind: EntityKind, what: [u8; 16]) -> Self {
        let mut seed = [0; 33];
        seed[..16].copy_from_slice(&other.0);
        seed[16..32].copy_from_slice(&what);
        let mut random = [0; 10];
        let low = fnv1a(&seed);
        seed[32] = 1;
        random[..8].copy_from_slice(&low.to_be_bytes());
        random[8..].copy_from_slice(&fnv1a(&seed).to_be_bytes()[..2]);
        Self::build(kind, other.region(), other.slot(), random)
    }

    /// A region's desk.
    pub fn desk(region: Region) -> Self {
        Self::build(EntityKind::Desk, region, 0, [0; 10])
    }

    /// A region's notifier.
    pub fn notifier(region: Region) -> Self {
        Self::build(EntityKind::Notifier, region, 0, [0; 10])
    }

    /// The registration of a customer's or technician's device: in the same slot.
    pub fn registration_of(device: Self) -> Self {
        let mut random = [0; 10];
        random.copy_from_slice(&device.0[6..]);
        // Two kinds may share random bytes, their registrations may not.
        random[9] ^= device.kind() as u8;
        Self::build(EntityKind::Registration, device.region(), device.slot(), random)
    }

    /// A region's authority.
    pub fn authority(region: Region) -> Self {
        Self::build(EntityKind::Authority, region, 0, [0; 10])
    }

    /// The cluster's placement, which is of no region.
    pub fn placement() -> Self {
        Self::build(EntityKind::Placement, Region(*b"all\0"), 0, [0; 10])
    }

    /// What the identifiers of a kind begin with in a region's slot, and no others do.
    pub fn prefix_of(kind: EntityKind, region: Region, slot: u16) -> [u8; 6] {
        let mut prefix = [0; 6];
        prefix.copy_from_slice(&Self::build(kind, region, slot, [0; 10]).0[..6]);
        prefix
    }

    fn build(kind: EntityKind, region: Region, slot: u16, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&region.0);
        bytes[4..6].copy_from_slice(&(kind.bits() | slot).to_be_bytes());
        bytes[6..].copy_from_slice(&random);
        Self(bytes)
    }

    /// # Errors
    /// Where the region is malformed or unused bits are set.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, IdError> {
        Region::from_padded([bytes[0], bytes[1], bytes[2], bytes[3]])?;
        EntityKind::from_bits(u16::from_be_bytes([bytes[4], bytes[5]]))
            .map_or(Err(IdError::Text), |_| Ok(Self(bytes)))
    }

    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    pub fn kind(self) -> EntityKind {
        // An identifier that exists has a kind that is known.
        EntityKind::from_bits(u16::from_be_bytes([self.0[4], self.0[5]]))
            .unwrap_or(EntityKind::Placement)
    }

    pub fn slot(self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]]) & (SLOTS - 1)
    }

    pub fn region(self) -> Region {
        Region([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

/// 64-bit FNV-1a (draft-eastlake-fnv): spreads, and needs no secret.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_", self.kind().prefix(), self.region())?;
        // 96 bits, and four zero bits to fill the last character.
        let bits = self.0[4..].iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte)) << 4;
        for at in (0..TEXT_CHARS).rev() {
            write!(f, "{}", char::from(ALPHABET[(bits >> (5 * at) & 31) as usize]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EntityId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut parts = text.split('_');
        let (Some(prefix), Some(region), Some(rest), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(IdError::Text);
        };
        if rest.len() != TEXT_CHARS {
            return Err(IdError::Text);
        }
        let mut bits = 0_u128;
        for char in rest.bytes() {
            let digit = ALPHABET.iter().position(|known| *known == char).ok_or(IdError::Text)?;
            bits = bits << 5 | digit as u128;
        }
        if bits & 15 != 0 {
            return Err(IdError::Text);
        }
        let region: Region = region.parse()?;
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&region.0);
        bytes[4..].copy_from_slice(&(bits >> 4).to_be_bytes()[4..]);
        let id = Self::from_bytes(bytes)?;
        if id.kind().prefix() == prefix { Ok(id) } else { Err(IdError::Kind) }
    }
}

impl<C> Encode<C> for EntityId {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for EntityId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d
            .bytes()?
            .try_into()
            .map_err(|_| minicbor::decode::Error::message("an identifier has 16 bytes"))?;
        Self::from_bytes(bytes)
            .map_err(|_| minicbor::decode::Error::message("malformed identifier"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_form_is_frozen() {
        let region = "eu1".parse().unwrap();
        let id = EntityId::new(EntityKind::Customer, region, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(EntityId::desk(region).to_string(), "dsk_eu1_r0000000000000000000");
        assert!("cus_eu1_r0000000000000000000".parse::<EntityId>().is_err());
        assert!("dsk_eu1_r0000000000000000001".parse::<EntityId>().is_err());
    }

    proptest! {
        #[test]
        fn text_and_bytes_come_back(random: [u8; 10], kind in 0_u8..3, message: [u8; 16]) {
            let kind = [EntityKind::Customer, EntityKind::Technician, EntityKind::Ticket][usize::from(kind)];
            let id = EntityId::new(kind, "a".parse().unwrap(), random);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(EntityId::from_bytes(id.to_bytes()), Ok(id));
            let ticket = EntityId::ticket_of(id, message);
            prop_assert_eq!((ticket.slot(), ticket.region()), (id.slot(), id.region()));
            prop_assert_eq!(ticket, EntityId::ticket_of(id, message));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<EntityId>();
        }
    }
}
