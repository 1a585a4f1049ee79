//! Civil time as it is written on a wall: dates, times of day, days of the week.
//!
//! **Invariants:** a value is within its bounds however it came to be, from text, from storage or by
//! counting; all arithmetic is on whole days and minutes. **Not here:** instants and zones (`zone`).

use std::fmt;

use jiff::{Timestamp, civil, tz::Offset};
use minicbor::{Decode, Decoder, Encode, decode};
use thiserror::Error;

pub const MINUTES_OF_DAY: u16 = 24 * 60;
pub const SECONDS_OF_DAY: u32 = 24 * 60 * 60;
/// Days are written by two letters in calendar files (RFC 5545 §3.3.10), Monday first.
pub const DAY_CODES: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

/// A date, as the number of days after 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode)]
#[cbor(transparent)]
pub struct Date(#[n(0)] u32);

/// A time of day in whole minutes, 00:00 to 23:59.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode)]
#[cbor(transparent)]
pub struct TimeOfDay(#[n(0)] u16);

/// One day of the week or several, never none: bit 0 is Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode)]
#[cbor(transparent)]
pub struct Weekdays(#[n(0)] u8);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CivilError {
    #[error("{0:?} is no date from 1970-01-02 to 2199-12-31; write it as 2026-03-29")]
    Date(String),
    #[error("{0:?} is no time of day; write it as 22:30, with 00:00 for midnight")]
    Time(String),
    #[error("{0:?} names no days of the week; write MO,TU,WE,TH,FR,SA,SU or some of them")]
    Weekdays(String),
}

impl Date {
    /// The first date whose every instant is after 1970-01-01 00:00 UTC, in every zone.
    pub const MIN: Self = Self(1);
    /// 2199-12-31: rosters do not reach further, and every sum of instants stays far from overflow.
    pub const MAX: Self = Self(84_005);

    /// A date of the Gregorian calendar.
    ///
    /// # Errors
    /// There is no such date, or it is outside [`Date::MIN`] to [`Date::MAX`].
    pub fn new(year: i16, month: i8, day: i8) -> Result<Self, CivilError> {
        let error = || CivilError::Date(format!("{year:04}-{month:02}-{day:02}"));
        let date = civil::Date::new(year, month, day).map_err(|_| error())?;
        Self::from_jiff(date).filter(|date| date.is_within()).ok_or_else(error)
    }

    /// Reads `2026-03-29` (RFC 3339 full-date).
    ///
    /// # Errors
    /// It is written in another way, or [`Date::new`] refuses it.
    pub fn parse(text: &str) -> Result<Self, CivilError> {
        let error = || CivilError::Date(text.chars().take(QUOTED_MAX).collect());
        let fields = (digits(text, 0, 4), digits(text, 5, 2), digits(text, 8, 2));
        let separated =
            text.len() == 10 && text.get(4..5) == Some("-") && text.get(7..8) == Some("-");
        let (Some(year), Some(month), Some(day), true) = (fields.0, fields.1, fields.2, separated)
        else {
            return Err(error());
        };
        let (Ok(month), Ok(day)) = (i8::try_from(month), i8::try_from(day)) else {
            return Err(error());
        };
        Self::new(year, month, day).map_err(|_| error())
    }

    /// Whole days after 1970-01-01.
    pub fn days(self) -> u32 {
        self.0
    }

    /// The date of that many days after 1970-01-01, at the bound if it is outside of it.
    pub fn from_days(days: u32) -> Self {
        Self(days.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// The date so many days later. It may pass [`Date::MAX`]: a night shift ends a day later.
    #[must_use]
    pub(crate) fn plus(self, days: u32) -> Self {
        Self(self.0.saturating_add(days))
    }

    pub(crate) fn is_within(self) -> bool {
        (Self::MIN..=Self::MAX).contains(&self)
    }

    /// 0 is Monday, 6 is Sunday.
    pub fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        u8::try_from((self.0 + 3) % 7).unwrap_or_default()
    }

    pub(crate) fn to_jiff(self) -> civil::Date {
        let second = i64::from(self.0) * i64::from(SECONDS_OF_DAY);
        let at = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        Offset::UTC.to_datetime(at).date()
    }

    /// None before 1970-01-01.
    pub(crate) fn from_jiff(date: civil::Date) -> Option<Self> {
        let midnight = Offset::UTC.to_timestamp(date.to_datetime(civil::Time::midnight())).ok()?;
        let days = midnight.as_second() / i64::from(SECONDS_OF_DAY);
        u32::try_from(days).ok().map(Self)
    }
}

impl TimeOfDay {
    pub const MIDNIGHT: Self = Self(0);

    /// None if the hour is above 23 or the minute above 59.
    pub const fn new(hour: u16, minute: u16) -> Option<Self> {
        if hour < 24 && minute < 60 { Some(Self(hour * 60 + minute)) } else { None }
    }

    /// Reads `22:30`.
    ///
    /// # Errors
    /// It is written in another way, or there is no such time; `24:00` is none.
    pub fn parse(text: &str) -> Result<Self, CivilError> {
        let part = |from| digits(text, from, 2).and_then(|number| u16::try_from(number).ok());
        let read = match (part(0), part(3)) {
            (Some(hour), Some(minute)) if text.len() == 5 && text.get(2..3) == Some(":") => {
                Self::new(hour, minute)
            }
            _ => None,
        };
        read.ok_or_else(|| CivilError::Time(text.chars().take(QUOTED_MAX).collect()))
    }

    /// Minutes after 00:00.
    pub fn minutes(self) -> u16 {
        self.0
    }

    /// Minutes on the wall from this time to the next that reads `later`; 0 if they are the same.
    pub fn minutes_until(self, later: Self) -> u16 {
        (later.0 + MINUTES_OF_DAY - self.0) % MINUTES_OF_DAY
    }
}

impl Weekdays {
    pub const EVERY_DAY: Self = Self(0b111_1111);
    pub const MONDAY_TO_FRIDAY: Self = Self(0b001_1111);

    /// The days that have a number here: 0 is Monday, 6 is Sunday. None if there are none, or one is
    /// above 6.
    pub fn new(days: impl IntoIterator<Item = u8>) -> Option<Self> {
        let mut bits = 0;
        for day in days {
            bits |= 1u8.checked_shl(u32::from(day)).filter(|_| day < 7)?;
        }
        (bits != 0).then_some(Self(bits))
    }

    /// Reads days by their codes: `MO,TU,FR`.
    ///
    /// # Errors
    /// A code is unknown, or there is none.
    pub fn parse(text: &str) -> Result<Self, CivilError> {
        let error = || CivilError::Weekdays(text.chars().take(QUOTED_MAX).collect());
        if text.len() > WEEKDAYS_BYTES_MAX {
            return Err(error());
        }
        let days: Option<Vec<u8>> = text.split(',').map(weekday_of).collect();
        days.and_then(Self::new).ok_or_else(error)
    }

    pub fn contains(self, weekday: u8) -> bool {
        weekday < 7 && self.0 >> weekday & 1 == 1
    }

    /// How many days, 1 to 7.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// A text that was refused is quoted only so far.
pub(crate) const QUOTED_MAX: usize = 64;
/// Seven days with commas, and as much again: a repeated code is tolerated.
const WEEKDAYS_BYTES_MAX: usize = 42;

/// The number of the day that has this code, 0 for Monday.
pub(crate) fn weekday_of(code: &str) -> Option<u8> {
    DAY_CODES.iter().position(|known| *known == code).and_then(|day| u8::try_from(day).ok())
}

/// The number that the `length` digits from byte `from` on make.
fn digits(text: &str, from: usize, length: usize) -> Option<i16> {
    let part = text.get(from..from + length)?;
    part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.to_jiff();
        write!(f, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl fmt::Display for Weekdays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = (0..7).filter(|day| self.contains(*day));
        let codes: Vec<&str> = days.map(|day| DAY_CODES[usize::from(day)]).collect();
        f.write_str(&codes.join(","))
    }
}

impl<'b, C> Decode<'b, C> for Date {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let date = Self(d.u32()?);
        let error =
            || decode::Error::message("a stored date is not within 1970-01-02 to 2199-12-31");
        date.is_within().then_some(date).ok_or_else(error)
    }
}

impl<'b, C> Decode<'b, C> for TimeOfDay {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let minutes = d.u16()?;
        let error = || decode::Error::message("a stored time of day is not below 24:00");
        (minutes < MINUTES_OF_DAY).then_some(Self(minutes)).ok_or_else(error)
    }
}

impl<'b, C> Decode<'b, C> for Weekdays {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bits = d.u8()?;
        let error =
            || decode::Error::message("stored days of the week are none, or more than seven");
        (1..=Self::EVERY_DAY.0).contains(&bits).then_some(Self(bits)).ok_or_else(error)
    }
}
