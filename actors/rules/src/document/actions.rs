//! Reads one action: a table with one field, its kind.
//!
//! **Invariants:** every number is in the range that `rule` states. **Not here:** what the keys'
//! expressions mean (`expression`).

use toml::{Spanned, de::DeValue};

use super::{fields::Fields, source::Source};
use crate::{
    finding::Findings,
    nearest::meant,
    rule::{
        Action, ActionKind, Inhibited, LEVEL_MAX, MINUTES_MAX, NAME_BYTES_MAX, PART_BYTES_MAX,
        PRIORITY_MAX, REASON_BYTES_MAX, is_name, is_part, is_reason,
    },
};

type Item<'a, 'd> = &'a Spanned<DeValue<'d>>;

/// None where there is a finding.
pub(super) fn read<'a, 'd>(
    document: &str,
    item: Item<'a, 'd>,
    rule: &Fields<'a, 'd>,
    findings: &mut Findings<'_>,
) -> Option<Action<Source>> {
    let table = rule.as_table(findings, item, "an action")?;
    let entries = rule.inner(table, item.span().start, "an action").entries();
    let [(key, value)] = entries.as_slice() else {
        let kinds = ActionKind::ALL.map(ActionKind::name).join(", ");
        let text = format!("an action has one field, not {}; write one of {kinds}", table.len());
        rule.error(findings, item.span().start, text);
        return None;
    };
    let name = key.get_ref().as_ref();
    let Some(kind) = ActionKind::ALL.into_iter().find(|kind| kind.name() == name) else {
        let known = ActionKind::ALL.map(ActionKind::name);
        let text = match meant(name, known) {
            none if none.is_empty() => format!("; write one of {}", known.join(", ")),
            meant => meant,
        };
        let text = format!("there is no action `{}`{text}", name.escape_debug());
        rule.error(findings, key.span().start, text);
        return None;
    };
    let reading = Reading { document, value, rule, kind };
    reading.action(findings)
}

struct Reading<'a, 'd, 'r> {
    document: &'r str,
    value: Item<'a, 'd>,
    rule: &'r Fields<'a, 'd>,
    kind: ActionKind,
}

impl<'a, 'd> Reading<'a, 'd, '_> {
    fn action(&self, findings: &mut Findings<'_>) -> Option<Action<Source>> {
        let (rule, value, kind) = (self.rule, self.value, self.kind.name());
        Some(match self.kind {
            ActionKind::SetPriority => {
                let priority = rule.as_number(findings, value, kind, 1, i64::from(PRIORITY_MAX))?;
                Action::SetPriority(u8::try_from(priority).ok()?)
            }
            ActionKind::RequireSkill => self.skill(findings)?,
            ActionKind::RequirePart => self.part(findings)?,
            ActionKind::GroupBy => Action::GroupBy { key: self.source(findings, value, kind)? },
            ActionKind::Deduplicate => self.deduplicate(findings)?,
            ActionKind::Hold => self.hold(findings)?,
            ActionKind::Inhibit => Action::Inhibit(self.inhibited(findings)?),
            ActionKind::Notify => Action::Notify { who: self.target(findings)? },
            ActionKind::Webhook => Action::Webhook { name: self.target(findings)? },
            ActionKind::Route => Action::Route { policy: self.target(findings)? },
        })
    }

    fn fields(&self, findings: &mut Findings<'_>, known: &[&str]) -> Option<Fields<'a, 'd>> {
        let table = self.rule.as_table(findings, self.value, self.kind.name())?;
        let fields = self.rule.inner(table, self.value.span().start, self.kind.name());
        fields.only(findings, known);
        Some(fields)
    }

    fn source(
        &self,
        findings: &mut Findings<'_>,
        value: Item<'a, 'd>,
        name: &str,
    ) -> Option<Source> {
        let (span, text) = self.rule.as_string(findings, value, name)?;
        Some(Source::new(self.document, span, text))
    }

    fn skill(&self, findings: &mut Findings<'_>) -> Option<Action<Source>> {
        let fields = self.fields(findings, &["category", "level"])?;
        let category = fields.number(findings, "category", 0, i64::from(u16::MAX));
        let level = fields.number(findings, "level", 1, i64::from(LEVEL_MAX));
        Some(Action::RequireSkill {
            category: u16::try_from(category?).ok()?,
            level: u8::try_from(level?).ok()?,
        })
    }

    fn part(&self, findings: &mut Findings<'_>) -> Option<Action<Source>> {
        let fields = self.fields(findings, &["part", "count"])?;
        let count = fields.number(findings, "count", 1, i64::from(u16::MAX));
        let (span, part) = fields.string(findings, "part")?;
        if !is_part(part) {
            let text = format!(
                "a part's number is 1 to {PART_BYTES_MAX} bytes without blanks around; change it"
            );
            fields.error(findings, span.start, text);
            return None;
        }
        Some(Action::RequirePart { part: part.to_owned(), count: u16::try_from(count?).ok()? })
    }

    fn minutes(
        &self,
        findings: &mut Findings<'_>,
        fields: &Fields<'_, '_>,
        name: &str,
    ) -> Option<u32> {
        let minutes = fields.number(findings, name, 1, i64::from(MINUTES_MAX))?;
        u32::try_from(minutes).ok()
    }

    fn deduplicate(&self, findings: &mut Findings<'_>) -> Option<Action<Source>> {
        let fields = self.fields(findings, &["key", "window_minutes"])?;
        let key = fields.string(findings, "key");
        let window_minutes = self.minutes(findings, &fields, "window_minutes");
        let (span, text) = key?;
        let key = Source::new(self.document, span, text);
        Some(Action::Deduplicate { key, window_minutes: window_minutes? })
    }

    fn hold(&self, findings: &mut Findings<'_>) -> Option<Action<Source>> {
        let fields = self.fields(findings, &["minutes", "reason"])?;
        let minutes = self.minutes(findings, &fields, "minutes");
        let (span, reason) = fields.string(findings, "reason")?;
        if !is_reason(reason) {
            let text = format!("a reason is one line of 1 to {REASON_BYTES_MAX} bytes; change it");
            fields.error(findings, span.start, text);
            return None;
        }
        Some(Action::Hold { minutes: minutes?, reason: reason.to_owned() })
    }

    fn inhibited(&self, findings: &mut Findings<'_>) -> Option<Inhibited<Source>> {
        if self.value.get_ref().as_str() == Some("children") {
            return Some(Inhibited::Children);
        }
        if self.value.get_ref().is_str() {
            let text = "`inhibit` is \"children\" or { key = … }; write one of them".to_owned();
            self.rule.error(findings, self.value.span().start, text);
            return None;
        }
        let fields = self.fields(findings, &["key"])?;
        let (span, text) = fields.string(findings, "key")?;
        Some(Inhibited::Key(Source::new(self.document, span, text)))
    }

    /// Who or what an action points to.
    fn target(&self, findings: &mut Findings<'_>) -> Option<String> {
        let (span, text) = self.rule.as_string(findings, self.value, self.kind.name())?;
        if is_name(text) {
            return Some(text.to_owned());
        }
        let text = format!(
            "`{}` is given a name of 1 to {NAME_BYTES_MAX} letters, digits, - _ . and @; write one",
            self.kind.name()
        );
        self.rule.error(findings, span.start, text);
        None
    }
}
