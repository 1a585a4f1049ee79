//! The targets as operators write them down: TOML, read with a finding for each mistake.
//!
//! ```toml
//! [[webhook]]
//! name = "crm"
//! url = "https://crm.example.com/fieldmesh"
//! events = ["ticket.opened", "ticket.closed"]   # or "ticket.*", or "*"
//!
//! [[person]]                  # is told by name: by rules and policies
//! name = "duty-lead"
//! url = "https://pager.example.com/in/4711"
//! ```
//!
//! **Invariants:** each finding has its line and column; the document holds no secret. **Not here:** writing
//! it (`documents`), secrets (`signing`), delivery (`worker`).

use std::{collections::BTreeMap, sync::Arc};

use fieldmesh_domain::notifier::{NAME_BYTES_MAX, Recipient, Subscription, TARGETS_MAX, What};
use fieldmesh_rules::{FINDINGS_MAX, Finding, Place, Severity};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::endpoint::Endpoint;

/// Fields of a target.
const FIELDS: [&str; 7] =
    ["name", "url", "events", "secret", "keep_previous", "allow_private", "ca"];
/// Certificates of one target's authority: a chain and its successor.
const CAS_MAX: usize = 8;

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub endpoint: Endpoint,
    /// The URL as it is written.
    pub url: String,
    /// The [`What::bit`]s.
    pub kinds: u64,
    /// Another number is another secret.
    pub secret: u32,
    /// Messages are signed with the secret before it, too.
    pub keep_previous: bool,
    /// It may be on a private address, and without TLS.
    pub allow_private: bool,
    /// Whom to believe instead of the machine's list; DER.
    pub cas: Arc<[Vec<u8>]>,
}

/// All targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets(pub BTreeMap<Recipient, Target>);

impl Targets {
    /// # Errors
    /// What is wrong with the text, at least one finding.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        let mut reader = Reader { text, found: Vec::new() };
        let targets = reader.document();
        if reader.found.is_empty() { Ok(targets) } else { Err(reader.found) }
    }

    /// A target by its name, which no other has.
    pub fn named(&self, name: &str) -> Option<(&Recipient, &Target)> {
        self.0.iter().find(|(to, _)| to.name() == name)
    }

    /// What somebody subscribed to.
    pub fn kinds(&self) -> u64 {
        self.0.values().fold(0, |kinds, target| kinds | target.kinds)
    }

    pub fn subscriptions(&self) -> Vec<Subscription> {
        let subscription = |(to, target): (&Recipient, &Target)| Subscription {
            to: to.clone(),
            kinds: target.kinds,
        };
        self.0.iter().map(subscription).collect()
    }
}

/// Reads one document.
struct Reader<'d> {
    text: &'d str,
    found: Vec<Finding>,
}

type Value<'a, 'd> = &'a Spanned<DeValue<'d>>;

impl<'d> Reader<'d> {
    /// `at` is a byte of the document.
    fn error(&mut self, at: usize, within: Option<&str>, text: String) {
        if self.found.len() < FINDINGS_MAX {
            let (place, within) = (place(self.text, at), within.map(str::to_owned));
            self.found.push(Finding { place, severity: Severity::Error, within, text });
        }
    }

    fn document(&mut self) -> Targets {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            self.error(at, None, format!("this is not TOML: {}; correct it", error.message()));
        }
        let mut targets = Targets::default();
        if !errors.is_empty() {
            return targets;
        }
        let mut read: Vec<(usize, Recipient, Target)> = Vec::new();
        for (key, value) in table.get_ref().iter() {
            let at = key.span().start;
            let name: fn(String) -> Recipient = match key.get_ref().as_ref() {
                "webhook" => Recipient::Webhook,
                "person" => Recipient::Person,
                other => {
                    let other = other.escape_debug();
                    let text =
                        format!("`{other}` is neither [[webhook]] nor [[person]]; rename it");
                    self.error(at, None, text);
                    continue;
                }
            };
            let Some(tables) = value.get_ref().as_array() else {
                self.error(at, None, format!("write `[[{}]]` for each one", key.get_ref()));
                continue;
            };
            for item in tables.iter() {
                read.extend(self.target(item, name));
            }
        }
        if read.len() > TARGETS_MAX {
            let text =
                format!("{} targets are more than {TARGETS_MAX}; leave some out", read.len());
            self.error(0, None, text);
        }
        // A table of TOML is read by the names of its keys: of two, the later one is named.
        read.sort_by_key(|(at, ..)| *at);
        for (at, to, target) in read {
            if targets.named(to.name()).is_some() {
                let text = format!("`{}` is there already; name it otherwise", to.name());
                self.error(at, Some(to.name()), text);
            }
            targets.0.insert(to, target);
        }
        targets
    }

    fn target(
        &mut self,
        item: Value<'_, 'd>,
        named: fn(String) -> Recipient,
    ) -> Option<(usize, Recipient, Target)> {
        let Some(table) = item.get_ref().as_table() else {
            self.error(item.span().start, None, "write a table `[[…]]` for each one".into());
            return None;
        };
        let first = table.iter().map(|(key, _)| key.span().start).min();
        let at = first.unwrap_or(item.span().start);
        let field = |name: &str| table.iter().find(|(key, _)| key.get_ref() == name);
        let name = self.name(at, field("name").map(|(_, value)| value));
        let within = name.as_ref().map(|(_, name)| format!("target `{name}`"));
        let within = within.as_deref();
        for (key, _) in table.iter().filter(|(key, _)| !FIELDS.contains(&key.get_ref().as_ref())) {
            let (name, known) = (key.get_ref().escape_debug(), FIELDS.join(", "));
            let text = format!("a target has no field `{name}`; it has {known}");
            self.error(key.span().start, within, text);
        }
        let value = |name: &str| field(name).map(|(_, value)| value);
        let allow_private = self.flag(value("allow_private"), "allow_private", within);
        let url = self.url(at, value("url"), within, allow_private);
        let kinds = value("events").map_or(0, |value| self.kinds(value, within));
        let secret = value("secret").map_or(1, |value| self.generation(value, within));
        let keep_previous = self.flag(value("keep_previous"), "keep_previous", within);
        if let (Some(value), true, 0..=1) = (value("keep_previous"), keep_previous, secret) {
            let text = "the first secret has none before it; leave `keep_previous` out";
            self.error(value.span().start, within, text.into());
        }
        let cas = value("ca").map_or_else(Vec::new, |value| self.cas(value, within)).into();
        let ((at, name), (endpoint, url)) = (name?, url?);
        let target = Target { endpoint, url, kinds, secret, keep_previous, allow_private, cas };
        Some((at, named(name), target))
    }

    fn name(&mut self, at: usize, value: Option<Value<'_, 'd>>) -> Option<(usize, String)> {
        let Some(value) = value else {
            self.error(at, None, "a target lacks `name`; add it".into());
            return None;
        };
        let at = value.span().start;
        let name = self.string(value, "name", None)?;
        let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_letter) {
            let text = format!(
                "the name `{}` is not of 1 to {NAME_BYTES_MAX} letters, digits, - _ . and @; write \
                 another",
                name.escape_debug()
            );
            self.error(at, None, text);
            return None;
        }
        Some((at, name.to_owned()))
    }

    fn string<'a>(
        &mut self,
        value: Value<'a, 'd>,
        name: &str,
        within: Option<&str>,
    ) -> Option<&'a str> {
        let found = value.get_ref().as_str();
        if found.is_none() {
            self.other(value, name, "a text", within);
        }
        found
    }

    fn other(&mut self, value: Value<'_, 'd>, name: &str, wanted: &str, within: Option<&str>) {
        let found = value.get_ref().type_str();
        let text = format!("`{name}` is {wanted}, not of the type {found}; write {wanted}");
        self.error(value.span().start, within, text);
    }

    fn flag(&mut self, value: Option<Value<'_, 'd>>, name: &str, within: Option<&str>) -> bool {
        let Some(value) = value else { return false };
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.other(value, name, "true or false", within);
        }
        found.unwrap_or(false)
    }

    fn url(
        &mut self,
        at: usize,
        value: Option<Value<'_, 'd>>,
        within: Option<&str>,
        allow_private: bool,
    ) -> Option<(Endpoint, String)> {
        let Some(value) = value else {
            self.error(at, within, "a target lacks `url`; add it".into());
            return None;
        };
        let at = value.span().start;
        let url = self.string(value, "url", within)?;
        match Endpoint::parse(url) {
            Ok(endpoint) if !endpoint.is_tls && !allow_private => {
                let text = "http:// is for targets inside; write https://, or allow_private = true";
                self.error(at, within, text.into());
                None
            }
            Ok(endpoint) => Some((endpoint, url.to_owned())),
            Err(why) => {
                self.error(at, within, format!("the URL {why}; correct it"));
                None
            }
        }
    }

    fn kinds(&mut self, value: Value<'_, 'd>, within: Option<&str>) -> u64 {
        let Some(list) = value.get_ref().as_array() else {
            self.other(value, "events", "a list `[ … ]`", within);
            return 0;
        };
        let mut kinds = 0;
        for item in list.iter() {
            let Some(name) = self.string(item, "events", within) else { continue };
            match named(name) {
                0 => {
                    let known: Vec<&str> = What::ALL.map(What::name).to_vec();
                    let text = format!(
                        "there is no event `{}`; there are {}, and `ticket.*` and `*` for all",
                        name.escape_debug(),
                        known.join(", ")
                    );
                    self.error(item.span().start, within, text);
                }
                found => kinds |= found,
            }
        }
        kinds
    }

    fn generation(&mut self, value: Value<'_, 'd>, within: Option<&str>) -> u32 {
        let number = value.get_ref().as_integer();
        let number = number.map(|number| u32::from_str_radix(number.as_str(), number.radix()));
        match number {
            Some(Ok(number)) if number > 0 => return number,
            Some(_) => {
                let text = "`secret` counts the target's secrets, from 1; raise it for another one";
                self.error(value.span().start, within, text.into());
            }
            None => self.other(value, "secret", "a whole number", within),
        }
        1
    }

    fn cas(&mut self, value: Value<'_, 'd>, within: Option<&str>) -> Vec<Vec<u8>> {
        let Some(text) = self.string(value, "ca", within) else { return Vec::new() };
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let cas: Vec<Vec<u8>> =
            read.unwrap_or_default().into_iter().map(|ca| ca.to_vec()).collect();
        let mut roots = rustls::RootCertStore::empty();
        let (added, refused) =
            roots.add_parsable_certificates(cas.iter().cloned().map(CertificateDer::from));
        if added == 0 || refused > 0 || cas.len() > CAS_MAX {
            let text = format!("`ca` is 1 to {CAS_MAX} certificates as PEM; paste them whole");
            self.error(value.span().start, within, text);
        }
        cas
    }
}

/// The kinds that a name stands for: itself, or all that begin like it.
fn named(name: &str) -> u64 {
    let fits = |what: &What| match name.strip_suffix('*') {
        Some(begin) if begin.is_empty() || begin.ends_with('.') => {
            what.name().starts_with(begin) && *what != What::Test
        }
        _ => what.name() == name,
    };
    What::ALL.into_iter().filter(fits).fold(0, |kinds, what| kinds | what.bit())
}

/// The place of a byte in a text.
fn place(text: &str, offset: usize) -> Place {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Place {
        line: number(before.matches('\n').count() + 1),
        column: number(before[start..].chars().count() + 1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<String> {
        Targets::parse(text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn targets_are_read_as_they_are_written() {
        let text = "[[webhook]]\nname = \"crm\"\nurl = \"https://a.example/x\"\n\
                    events = [\"ticket.opened\", \"rule.*\"]\nsecret = 3\nkeep_previous = true\n\
                    [[person]]\nname = \"lead\"\nurl = \"http://10.0.0.1/\"\nallow_private = true\n";
        let targets = Targets::parse(text).unwrap();
        let crm = &targets.0[&Recipient::Webhook("crm".into())];
        let rules = What::RuleFailed.bit() | What::RuleMatched.bit();
        assert_eq!(crm.kinds, What::Opened.bit() | rules);
        assert_eq!((crm.secret, crm.keep_previous, crm.allow_private), (3, true, false));
        let lead = &targets.0[&Recipient::Person("lead".into())];
        assert_eq!((lead.kinds, lead.secret, lead.allow_private), (0, 1, true));
        assert_eq!(targets.kinds(), crm.kinds);
        assert_eq!(named("*") & What::Test.bit(), 0);
        assert_eq!(named("*").count_ones() as usize, What::ALL.len() - 1);
        assert_eq!(Targets::parse("").unwrap(), Targets::default());
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        let hook = "[[webhook]]\nname = \"a\"\nurl = \"https://a.example/\"\n";
        for (text, place, word) in [
            ("[[webhook]]\nname = \"a\"\n".to_owned(), "2:1", "lacks `url`"),
            ("[[webhook]]\nurl = \"https://a/\"\n".to_owned(), "2:1", "lacks `name`"),
            ("[[webhok]]\n".to_owned(), "1:3", "neither [[webhook]]"),
            ("[webhook]\nname = \"a\"\n".to_owned(), "1:2", "write `[[webhook]]`"),
            ("name = [".to_owned(), "1:", "not TOML"),
            (format!("{hook}evnts = []\n"), "4:1", "no field `evnts`"),
            (format!("{hook}events = [\"ticket.opend\"]\n"), "4:11", "no event `ticket.opend`"),
            (format!("{hook}events = [\"ticket.op*\"]\n"), "4:11", "no event"),
            (format!("{hook}events = \"*\"\n"), "4:10", "a list"),
            (format!("{hook}secret = 0\n"), "4:10", "from 1"),
            (format!("{hook}secret = \"whsec_x\"\n"), "4:10", "a whole number"),
            (format!("{hook}keep_previous = true\n"), "4:17", "none before it"),
            (format!("{hook}allow_private = 1\n"), "4:17", "true or false"),
            (format!("{hook}ca = \"x\"\n"), "4:6", "PEM"),
            (format!("{hook}{hook}"), "5:8", "there already"),
            (format!("{hook}{}", hook.replace("webhook", "person")), "5:8", "there already"),
            (hook.replace("https", "http"), "3:7", "write https://"),
            (hook.replace("https://a", "https://u:p@a"), "3:7", "names a user"),
            (hook.replace("\"a\"", "\"a b\""), "2:8", "letters, digits"),
        ] {
            let found = found(&text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with(place) && found[0].contains(word), "{text}: {found:?}");
        }
        let many: String =
            (0..=TARGETS_MAX).map(|n| hook.replace("\"a\"", &format!("\"n{n}\""))).collect();
        assert!(found(&many)[0].contains("65 targets"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[\\[(webhook|person)\\]\\]\n|[a-z]{1,9} = |[\"\\[\\]{}é\n=#]|true|7){0,40}") {
            let _ = Targets::parse(&text);
        }
    }
}
