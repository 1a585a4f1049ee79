//! Recurrence rules: read, written, and the dates that they make.
//!
//! Dates are counted in cycles of seven intervals of days, or of weeks: each cycle has the same number
//! of instances, so that years before the range asked for are passed over by a multiplication.
//!
//! **Invariants:** dates come in order, the first is the start; at most [`DATES_STEPS_MAX`] days are
//! looked at. **Not here:** instants, and instances that are added or left out (`recurrence`).

use super::{Bound, Frequency, Moment, Rule, import::Refusal, value::quoted};
use crate::civil::{DAY_CODES, Date, Weekdays, weekday_of};

/// Days looked at for one event: the longest range, event and cycle together have 8,000, and of a
/// long cycle most are passed over.
const DATES_STEPS_MAX: usize = 10_000;
/// The largest INTERVAL: of more than that nobody speaks.
const INTERVAL_MAX: u16 = 1_000;
/// The largest COUNT: daily for more than 200 years.
const COUNT_MAX: u32 = 84_000;

/// Reads a RECUR value. `until` reads its UNTIL.
pub(super) fn rule(
    text: &str,
    until: impl Fn(&str) -> Result<Moment, Refusal>,
) -> Result<Rule, Refusal> {
    let refuse = |part: &str| Refusal::RulePart(quoted(part));
    let (mut frequency, mut interval, mut days, mut bound, mut week_start) =
        (None, None, None, None, None);
    for part in text.split(';') {
        let (name, value) = part.split_once('=').ok_or_else(|| refuse(part))?;
        let number = || value.parse::<u32>().ok().filter(|_| !value.starts_with('+'));
        let is_new = match name {
            "FREQ" => {
                let known = match value {
                    "DAILY" => Frequency::Daily,
                    "WEEKLY" => Frequency::Weekly,
                    _ => return Err(refuse(part)),
                };
                frequency.replace(known).is_none()
            }
            "INTERVAL" => {
                let number = number().and_then(|number| u16::try_from(number).ok());
                let number = number.filter(|number| (1..=INTERVAL_MAX).contains(number));
                interval.replace(number.ok_or_else(|| refuse(part))?).is_none()
            }
            "BYDAY" => days.replace(Weekdays::parse(value).map_err(|_| refuse(part))?).is_none(),
            "COUNT" => {
                let number = number().filter(|number| (1..=COUNT_MAX).contains(number));
                bound.replace(Bound::Count(number.ok_or_else(|| refuse(part))?)).is_none()
            }
            "UNTIL" => bound.replace(Bound::Until(until(value)?)).is_none(),
            "WKST" => week_start.replace(weekday_of(value).ok_or_else(|| refuse(part))?).is_none(),
            _ => return Err(refuse(part)),
        };
        if !is_new {
            return Err(refuse(part));
        }
    }
    Ok(Rule {
        frequency: frequency.ok_or_else(|| refuse(text))?,
        interval: interval.unwrap_or(1),
        days,
        bound: bound.unwrap_or(Bound::Never),
        week_start: week_start.unwrap_or_default(),
    })
}

/// The rule as a RECUR value. `until` writes its UNTIL.
pub(super) fn written(rule: &Rule, until: impl Fn(&Moment) -> String) -> String {
    let mut text = String::from(match rule.frequency {
        Frequency::Daily => "FREQ=DAILY",
        Frequency::Weekly => "FREQ=WEEKLY",
    });
    if rule.interval != 1 {
        text.push_str(&format!(";INTERVAL={}", rule.interval));
    }
    match &rule.bound {
        Bound::Never => {}
        Bound::Count(count) => text.push_str(&format!(";COUNT={count}")),
        Bound::Until(moment) => text.push_str(&format!(";UNTIL={}", until(moment))),
    }
    if let Some(days) = rule.days {
        text.push_str(&format!(";BYDAY={days}"));
    }
    if rule.week_start != 0 {
        let code = DAY_CODES.get(usize::from(rule.week_start)).unwrap_or(&DAY_CODES[0]);
        text.push_str(&format!(";WKST={code}"));
    }
    text
}

impl Rule {
    /// Whether an instance is on `date`, for a rule that started on `start`, bounds aside.
    pub(super) fn has(&self, start: Date, date: Date) -> bool {
        if date < start {
            return false;
        }
        let interval = u32::from(self.interval.max(1));
        match self.frequency {
            Frequency::Daily => {
                (date.days() - start.days()).is_multiple_of(interval)
                    && self.days.is_none_or(|days| days.contains(date.weekday()))
            }
            Frequency::Weekly => {
                let weeks = (self.week(date) - self.week(start)) / 7;
                let own = || date.weekday() == start.weekday();
                let is_day = self.days.map_or_else(own, |days| days.contains(date.weekday()));
                weeks.is_multiple_of(interval) && is_day
            }
        }
    }

    /// The first day of the week of `date`, as a number that grows by 7 from week to week.
    fn week(&self, date: Date) -> u32 {
        let into = (date.weekday() + 7 - self.week_start % 7) % 7;
        // Seven more, so that the week of the first date is not below 0.
        date.days() + 7 - u32::from(into)
    }

    /// The dates of instances from `from` to `until`, both inclusive, without heed to UNTIL.
    pub(super) fn dates(&self, start: Date, from: Date, until: Date) -> Vec<Date> {
        let cycle = 7 * u32::from(self.interval.max(1));
        let in_cycle = |first: u32| {
            let days = first..first.saturating_add(cycle);
            days.map(Date::from_days).filter(|date| self.has(start, *date)).count()
        };
        let skipped = from.days().saturating_sub(start.days()) / cycle;
        let first = start.days() + skipped * cycle;
        let mut left = match self.bound {
            // Any `cycle` days in succession from the start on have the same number of instances.
            Bound::Count(count) if skipped > 0 => {
                let each = u32::try_from(in_cycle(start.days())).unwrap_or(u32::MAX);
                count.saturating_sub(each.saturating_mul(skipped))
            }
            Bound::Count(count) => count,
            Bound::Never | Bound::Until(_) => u32::MAX,
        };
        let mut dates = Vec::new();
        let mut day = first;
        for _ in 0..DATES_STEPS_MAX {
            if left == 0 || until.days() < day {
                break;
            }
            let date = Date::from_days(day);
            if self.has(start, date) {
                left -= 1;
                dates.extend((from <= date).then_some(date));
            }
            day = self.following(start, date);
        }
        dates
    }

    /// The next day after `date` that is in a day or week of the rule. `date` is in one itself.
    fn following(&self, start: Date, date: Date) -> u32 {
        let interval = u32::from(self.interval.max(1));
        match self.frequency {
            Frequency::Daily => date.days() + interval,
            Frequency::Weekly => {
                let next = date.plus(1);
                let weeks = (self.week(next) - self.week(start)) / 7;
                match weeks % interval {
                    0 => next.days(),
                    // Back to the first day of that week, then over those that are left out.
                    past => self.week(next) - 7 + 7 * (interval - past),
                }
            }
        }
    }
}
