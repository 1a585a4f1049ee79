//! The facts by name: what rules may read, what a value of it can be, and what it means.
//!
//! One table drives the check of a rule, its cost, the reading of tests and the documentation, so
//! that none of them can say something else than the others.
//!
//! **Invariants:** a name is written once; every fact is in [`FACTS`]. **Not here:** the values
//! (`facts`), the check of an expression (`check`).

use crate::facts::Facts;

/// Bytes of a ticket's text: as many as a request may have.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Bytes of an identifier, a zone or a region: the longest IANA zone has 32.
pub const LABEL_BYTES_MAX: usize = 64;
/// No count or time of a fact is beyond this, in the year 142,000: sums and products of a few fit.
pub const FACT_MAX: i64 = 1 << 52;

/// What the values of a fact can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// A whole number, both ends included.
    Int {
        min: i64,
        max: i64,
    },
    Text {
        bytes_max: usize,
    },
}

/// How a fact is read from all, and written into them.
pub(crate) enum Access {
    Int(fn(&Facts) -> i64, fn(&mut Facts) -> &mut i64),
    Text(fn(&Facts) -> &str, fn(&mut Facts) -> &mut String),
}

/// One fact.
pub struct Fact {
    /// As a rule writes it.
    pub name: &'static str,
    pub values: Values,
    /// One line for the reader of the documentation.
    pub about: &'static str,
    pub(crate) access: Access,
}

macro_rules! int {
    ($head:ident $(. $tail:ident)*, $min:expr, $max:expr, $about:literal) => {
        Fact {
            name: concat!(stringify!($head) $(, ".", stringify!($tail))*),
            values: Values::Int { min: $min, max: $max },
            about: $about,
            access: Access::Int(
                |facts| facts.$head$(.$tail)*,
                |facts| &mut facts.$head$(.$tail)*,
            ),
        }
    };
}

macro_rules! text {
    ($head:ident $(. $tail:ident)*, $max:expr, $about:literal) => {
        Fact {
            name: concat!(stringify!($head) $(, ".", stringify!($tail))*),
            values: Values::Text { bytes_max: $max },
            about: $about,
            access: Access::Text(
                |facts| &facts.$head$(.$tail)*,
                |facts| &mut facts.$head$(.$tail)*,
            ),
        }
    };
}

const LAT: i64 = 90_000_000;
const LON: i64 = 180_000_000;

/// Every fact, in the order of the documentation.
pub const FACTS: &[Fact] = &[
    int!(ticket.category, 0, 65_535, "the kind of work that is asked for"),
    int!(ticket.subcategory, 0, 65_535, "the kind within the category"),
    int!(ticket.impact, 1, 3, "how much is affected; 1 is most"),
    int!(ticket.urgency, 1, 3, "how soon it hurts; 1 is soonest"),
    text!(ticket.text, TEXT_BYTES_MAX, "what the customer wrote"),
    int!(ticket.priority, 1, 5, "what the built-in rule gives: what holds if no rule sets another"),
    int!(ticket.opened_at, 0, FACT_MAX, "when the request was received, Unix milliseconds"),
    int!(ticket.lat_e6, -LAT, LAT, "where the request says it is, millionths of a degree"),
    int!(ticket.lon_e6, -LON, LON, "where the request says it is, millionths of a degree"),
    text!(customer.id, LABEL_BYTES_MAX, "the customer's identifier"),
    int!(customer.tier, 0, 255, "the customer's class; 1 is best"),
    int!(customer.open_tickets, 0, FACT_MAX, "the customer's open tickets, without this one"),
    int!(site.lat_e6, -LAT, LAT, "where the site is, millionths of a degree"),
    int!(site.lon_e6, -LON, LON, "where the site is, millionths of a degree"),
    text!(site.zone, LABEL_BYTES_MAX, "the site's IANA time zone"),
    text!(site.region, LABEL_BYTES_MAX, "the region that the site lies in"),
    int!(history.customer.count_10m, 0, FACT_MAX, "the customer's tickets of the last 10 minutes"),
    int!(history.customer.count_1h, 0, FACT_MAX, "the customer's tickets of the last hour"),
    int!(history.customer.count_24h, 0, FACT_MAX, "the customer's tickets of the last 24 hours"),
    int!(history.customer.count_7d, 0, FACT_MAX, "the customer's tickets of the last 7 days"),
    int!(history.category.count_10m, 0, FACT_MAX, "the category's tickets of the last 10 minutes"),
    int!(history.category.count_1h, 0, FACT_MAX, "the category's tickets of the last hour"),
    int!(history.category.count_24h, 0, FACT_MAX, "the category's tickets of the last 24 hours"),
    int!(history.category.count_7d, 0, FACT_MAX, "the category's tickets of the last 7 days"),
    int!(history.site.count_10m, 0, FACT_MAX, "the site's tickets of the last 10 minutes"),
    int!(history.site.count_1h, 0, FACT_MAX, "the site's tickets of the last hour"),
    int!(history.site.count_24h, 0, FACT_MAX, "the site's tickets of the last 24 hours"),
    int!(history.site.count_7d, 0, FACT_MAX, "the site's tickets of the last 7 days"),
    int!(now.unix_ms, 0, FACT_MAX, "when it is decided, Unix milliseconds"),
    int!(now.year, 1970, 9999, "the year at the site"),
    int!(now.month, 1, 12, "the month at the site"),
    int!(now.day, 1, 31, "the day of the month at the site"),
    int!(now.weekday, 1, 7, "the day of the week at the site; 1 is Monday"),
    int!(now.hour, 0, 23, "the hour at the site"),
    int!(now.minute, 0, 59, "the minute at the site"),
    text!(region, LABEL_BYTES_MAX, "the region that decides"),
];

/// Functions that rules may call, with what they do.
pub const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("contains", "TEXT.contains(TEXT)", "whether the first has the second in it"),
    ("startsWith", "TEXT.startsWith(TEXT)", "whether the first begins with the second"),
    ("endsWith", "TEXT.endsWith(TEXT)", "whether the first ends with the second"),
    ("lowerAscii", "TEXT.lowerAscii()", "the text with A to Z made small"),
    ("upperAscii", "TEXT.upperAscii()", "the text with a to z made large"),
    ("size", "size(TEXT), size(LIST)", "characters of a text, elements of a list"),
    ("string", "string(NUMBER)", "the number in digits"),
    ("exists", "LIST.exists(x, CONDITION)", "whether it holds for one element or more"),
    ("exists_one", "LIST.exists_one(x, CONDITION)", "whether it holds for exactly one element"),
    ("all", "LIST.all(x, CONDITION)", "whether it holds for every element"),
];

/// The position in [`FACTS`] of the fact with this name.
pub(crate) fn position(name: &str) -> Option<usize> {
    FACTS.iter().position(|fact| fact.name == name)
}

/// Whether facts have names that begin with this and a dot.
pub(crate) fn is_group(name: &str) -> bool {
    FACTS.iter().any(|fact| fact.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The facts and functions as a table in Markdown.
pub fn documentation() -> String {
    let mut text = "| fact | values | what it is |\n|---|---|---|\n".to_owned();
    for fact in FACTS {
        let values = match fact.values {
            Values::Int { min, max: FACT_MAX } => format!("whole number from {min}"),
            Values::Int { min, max } => format!("{min} to {max}"),
            Values::Text { bytes_max } => format!("text of up to {bytes_max} bytes"),
        };
        text.push_str(&format!("| `{}` | {values} | {} |\n", fact.name, fact.about));
    }
    text.push_str("\n| function | what it gives |\n|---|---|\n");
    for (_, form, about) in FUNCTIONS {
        text.push_str(&format!("| `{form}` | {about} |\n"));
    }
    text
}
