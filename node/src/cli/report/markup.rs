//! Writes elements and text that are well-formed as HTML and as XML alike, whatever the text is.
//!
//! **Invariants:** every element that is opened is closed, by construction; text and attributes are escaped;
//! characters that XML does not have become U+FFFD; names of elements and attributes are the program's own. A
//! style is raw text in HTML and is not in XML, so it may have none of `<`, `&` and `>`. **Not here:** what a
//! page says (`page`).

use std::fmt::{Display, Write as _};

/// Elements that have no end in HTML.
const VOID: [&str; 3] = ["meta", "br", "hr"];

/// A document as it is written.
#[derive(Debug, Default)]
pub(crate) struct Markup(String);

/// Names with values.
pub(crate) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

impl Markup {
    /// An element with what `inside` writes in it.
    pub(crate) fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.0.push('<');
        self.0.push_str(name);
        for (attribute, value) in attributes {
            self.0.push(' ');
            self.0.push_str(attribute);
            self.0.push_str("=\"");
            self.escaped(value);
            self.0.push('"');
        }
        if VOID.contains(&name) {
            self.0.push_str("/>");
            return;
        }
        self.0.push('>');
        inside(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element without attributes that has text alone.
    pub(crate) fn say(&mut self, name: &'static str, text: &dyn Display) {
        self.element(name, &[], |markup| markup.escaped(text));
    }

    /// An element that has text alone.
    pub(crate) fn say_with(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        text: &dyn Display,
    ) {
        self.element(name, attributes, |markup| markup.escaped(text));
    }

    pub(crate) fn line(&mut self) {
        self.0.push('\n');
    }

    /// Text, escaped.
    pub(crate) fn escaped(&mut self, text: &dyn Display) {
        let is_written = write!(Escaping(&mut self.0), "{text}");
        debug_assert!(is_written.is_ok(), "a string takes everything");
    }

    pub(crate) fn finish(self) -> String {
        format!("<!DOCTYPE html>\n{}", self.0)
    }
}

struct Escaping<'a>(&'a mut String);

impl std::fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\t' | '\n' => self.0.push(character),
                // C0 and C1 controls and non-characters: XML has none, or HTML reads them as something else.
                '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                    self.0.push('\u{fffd}');
                }
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Markup;

    #[test]
    fn text_never_becomes_markup() {
        let mut markup = Markup::default();
        markup.element("p", &[("title", &"a\"b'")], |markup| {
            markup.escaped(&"<script>&\u{0}\u{85}\n");
            markup.element("br", &[], |_| {});
            markup.say("b", &"]]>");
        });
        let expected = "<!DOCTYPE html>\n<p title=\"a&quot;b&#39;\">&lt;script&gt;&amp;\u{fffd}\u{fffd}\n<br/>\
                        <b>]]&gt;</b></p>";
        assert_eq!(markup.finish(), expected);
    }
}
