//! Reads the fields of a table, with a finding for each that is missing, unknown or of another type.
//!
//! **Invariants:** what is returned was in the document and in its range; each finding is at the
//! value, or at the table where there is none. **Not here:** which fields there are.

use core::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{finding::Findings, nearest::meant};

/// A table of the document.
#[derive(Clone, Copy)]
pub struct Fields<'a, 'd> {
    table: &'a DeTable<'d>,
    /// Where it is.
    at: usize,
    /// As messages call it.
    what: &'a str,
    within: Option<&'a str>,
}

impl<'a, 'd> Fields<'a, 'd> {
    pub fn new(table: &'a DeTable<'d>, at: usize, what: &'a str) -> Self {
        Self { table, at, what, within: None }
    }

    /// The same table as part of a rule or a test.
    pub fn within<'b>(&self, within: Option<&'b str>) -> Fields<'b, 'd>
    where
        'a: 'b,
    {
        Fields { table: self.table, at: self.at, what: self.what, within }
    }

    /// Another table, in the same rule or test.
    pub fn inner(&self, table: &'a DeTable<'d>, at: usize, what: &'a str) -> Self {
        Self { table, at, what, within: self.within }
    }

    pub fn error(&self, findings: &mut Findings<'_>, at: usize, text: String) {
        findings.error(at, self.within, text);
    }

    pub fn warn(&self, findings: &mut Findings<'_>, at: usize, text: String) {
        findings.warn(at, self.within, text);
    }

    pub fn place(&self) -> usize {
        self.at
    }

    /// The fields in the order of the document.
    pub fn entries(
        &self,
    ) -> Vec<(&'a Spanned<std::borrow::Cow<'d, str>>, &'a Spanned<DeValue<'d>>)> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    /// Refuses every field that is not known.
    pub fn only(&self, findings: &mut Findings<'_>, known: &[&str]) {
        for (key, _) in self.entries() {
            let name = key.get_ref();
            if !known.contains(&name.as_ref()) {
                let meant = match meant(name, known.iter().copied()) {
                    none if none.is_empty() => format!("; it has {}", known.join(", ")),
                    meant => meant,
                };
                let name = name.escape_debug();
                let text = format!("{} has no field `{name}`{meant}", self.what);
                self.error(findings, key.span().start, text);
            }
        }
    }

    /// The field, if it is there.
    pub fn value(&self, name: &str) -> Option<&'a Spanned<DeValue<'d>>> {
        self.table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    /// The field, with a finding if it is not there.
    fn needed(&self, findings: &mut Findings<'_>, name: &str) -> Option<&'a Spanned<DeValue<'d>>> {
        let value = self.value(name);
        if value.is_none() {
            self.error(findings, self.at, format!("{} lacks `{name}`; add it", self.what));
        }
        value
    }

    fn other_type<T>(
        &self,
        findings: &mut Findings<'_>,
        value: &Spanned<DeValue<'_>>,
        name: &str,
        expected: &str,
    ) -> Option<T> {
        let found = value.get_ref().type_str();
        let text = format!("`{name}` is {expected}, not of the type {found}; write {expected}");
        self.error(findings, value.span().start, text);
        None
    }

    pub fn string(
        &self,
        findings: &mut Findings<'_>,
        name: &str,
    ) -> Option<(Range<usize>, &'a str)> {
        let value = self.needed(findings, name)?;
        self.as_string(findings, value, name)
    }

    pub fn as_string(
        &self,
        findings: &mut Findings<'_>,
        value: &'a Spanned<DeValue<'d>>,
        name: &str,
    ) -> Option<(Range<usize>, &'a str)> {
        match value.get_ref().as_str() {
            Some(text) => Some((value.span(), text)),
            None => self.other_type(findings, value, name, "a text"),
        }
    }

    pub fn number(
        &self,
        findings: &mut Findings<'_>,
        name: &str,
        min: i64,
        max: i64,
    ) -> Option<i64> {
        let value = self.needed(findings, name)?;
        self.as_number(findings, value, name, min, max)
    }

    pub fn as_number(
        &self,
        findings: &mut Findings<'_>,
        value: &Spanned<DeValue<'_>>,
        name: &str,
        min: i64,
        max: i64,
    ) -> Option<i64> {
        let Some(number) = value.get_ref().as_integer() else {
            return self.other_type(findings, value, name, "a whole number");
        };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            _ => {
                let text =
                    format!("`{name}` is {}, not {min} to {max}; change it", number.as_str());
                self.error(findings, value.span().start, text);
                None
            }
        }
    }

    /// None where the field is missing, which is no mistake.
    pub fn flag(&self, findings: &mut Findings<'_>, name: &str) -> Option<bool> {
        let value = self.value(name)?;
        match value.get_ref().as_bool() {
            Some(flag) => Some(flag),
            None => self.other_type(findings, value, name, "true or false"),
        }
    }

    pub fn as_table(
        &self,
        findings: &mut Findings<'_>,
        value: &'a Spanned<DeValue<'d>>,
        name: &str,
    ) -> Option<&'a DeTable<'d>> {
        match value.get_ref().as_table() {
            Some(table) => Some(table),
            None => self.other_type(findings, value, name, "a table `{ … }`"),
        }
    }

    pub fn list(
        &self,
        findings: &mut Findings<'_>,
        name: &str,
        max: usize,
    ) -> Option<Vec<&'a Spanned<DeValue<'d>>>> {
        let value = self.needed(findings, name)?;
        self.as_list(findings, value, name, max)
    }

    pub fn as_list(
        &self,
        findings: &mut Findings<'_>,
        value: &'a Spanned<DeValue<'d>>,
        name: &str,
        max: usize,
    ) -> Option<Vec<&'a Spanned<DeValue<'d>>>> {
        let Some(list) = value.get_ref().as_array() else {
            return self.other_type(findings, value, name, "a list `[ … ]`");
        };
        if list.len() > max {
            let text = format!("`{name}` has {} elements, more than {max}; split it", list.len());
            self.error(findings, value.span().start, text);
            return None;
        }
        Some(list.iter().collect())
    }

    /// The tables `[[name]]`; none where there are none, which is no mistake.
    pub fn tables(&self, findings: &mut Findings<'_>, name: &'a str, max: usize) -> Vec<Self> {
        let Some(value) = self.value(name) else {
            return Vec::new();
        };
        let list = self.as_list(findings, value, name, max).unwrap_or_default();
        let table = |item: &'a Spanned<DeValue<'d>>| {
            let table = self.as_table(findings, item, name)?;
            // An array of tables has the place of its first header; its fields say where it is.
            let first = table.iter().map(|(key, _)| key.span().start).min();
            Some(self.inner(table, first.unwrap_or(item.span().start), name))
        };
        list.into_iter().filter_map(table).collect()
    }
}
