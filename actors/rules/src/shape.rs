//! What values an expression can have, as far as its text tells.
//!
//! Numbers as a range, conditions by the answers they may give, texts by their length. So a
//! comparison that no fact can satisfy is seen when the rule is saved, and so is a text that grows
//! without bound.
//!
//! **Invariants:** a shape holds every value the expression can have where it does not fail.
//! **Not here:** which shapes fit which operator (`check`).

/// Every value that an expression can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The expression is wrong; nothing more is said of what contains it.
    Unknown,
    Int {
        low: i64,
        high: i64,
    },
    Bool {
        may_hold: bool,
        may_fail: bool,
    },
    Text {
        bytes_max: usize,
        /// If it is always the same.
        known: Option<String>,
    },
    List {
        len: usize,
        element: Box<Self>,
    },
}

impl Shape {
    pub(crate) const ANY_INT: Self = Self::Int { low: i64::MIN, high: i64::MAX };
    pub(crate) const ANY_BOOL: Self = Self::Bool { may_hold: true, may_fail: true };

    pub(crate) fn always(answer: bool) -> Self {
        Self::Bool { may_hold: answer, may_fail: !answer }
    }

    /// As the messages call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "an error",
            Self::Int { .. } => "a whole number",
            Self::Bool { .. } => "a condition",
            Self::Text { .. } => "a text",
            Self::List { .. } => "a list",
        }
    }

    pub(crate) fn same_kind(&self, other: &Self) -> bool {
        core::mem::discriminant(self) == core::mem::discriminant(other)
    }

    /// Every value of both.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int { low, high }, Self::Int { low: l, high: h }) => {
                Self::Int { low: low.min(l), high: high.max(h) }
            }
            (
                Self::Bool { may_hold, may_fail },
                Self::Bool { may_hold: holds, may_fail: fails },
            ) => Self::Bool { may_hold: may_hold || holds, may_fail: may_fail || fails },
            (Self::Text { bytes_max, known }, Self::Text { bytes_max: bytes, known: other }) => {
                let known = known.filter(|known| Some(known) == other.as_ref());
                Self::Text { bytes_max: bytes_max.max(bytes), known }
            }
            _ => Self::Unknown,
        }
    }
}

/// What a comparison asks of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// The answers that comparing two values of the same kind may give.
pub(crate) fn compare(how: Compare, one: &Shape, other: &Shape) -> Shape {
    match (one, other) {
        (Shape::Int { low, high }, Shape::Int { low: l, high: h }) => {
            let (may_hold, may_fail) = match how {
                Compare::Less => (low < h, high >= l),
                Compare::LessOrEqual => (low <= h, high > l),
                Compare::Greater => (high > l, low <= h),
                Compare::GreaterOrEqual => (high >= l, low < h),
                Compare::Equal => (low <= h && l <= high, !(low == high && l == h && low == l)),
                Compare::NotEqual => (!(low == high && l == h && low == l), low <= h && l <= high),
            };
            Shape::Bool { may_hold, may_fail }
        }
        (Shape::Text { known: Some(a), .. }, Shape::Text { known: Some(b), .. }) => {
            Shape::always(match how {
                Compare::Less => a < b,
                Compare::LessOrEqual => a <= b,
                Compare::Greater => a > b,
                Compare::GreaterOrEqual => a >= b,
                Compare::Equal => a == b,
                Compare::NotEqual => a != b,
            })
        }
        (Shape::Text { known: Some(a), .. }, Shape::Text { bytes_max, .. })
        | (Shape::Text { bytes_max, .. }, Shape::Text { known: Some(a), .. })
            if a.len() > *bytes_max =>
        {
            match how {
                Compare::Equal => Shape::always(false),
                Compare::NotEqual => Shape::always(true),
                Compare::Less
                | Compare::LessOrEqual
                | Compare::Greater
                | Compare::GreaterOrEqual => Shape::ANY_BOOL,
            }
        }
        (Shape::Bool { may_hold: a, may_fail: b }, Shape::Bool { may_hold: c, may_fail: d }) => {
            let equal = (*a && *c) || (*b && *d);
            let differ = (*a && *d) || (*b && *c);
            match how {
                Compare::Equal => Shape::Bool { may_hold: equal, may_fail: differ },
                _ => Shape::Bool { may_hold: differ, may_fail: equal },
            }
        }
        _ => Shape::ANY_BOOL,
    }
}

/// The range of `one how other`; none where no pair of values has a result.
pub(crate) fn arithmetic(how: char, one: (i64, i64), other: (i64, i64)) -> Option<Shape> {
    let wide = |(low, high): (i64, i64)| (i128::from(low), i128::from(high));
    let ((a, b), (c, d)) = (wide(one), wide(other));
    let corners = match how {
        '+' => [a + c, a + c, b + d, b + d],
        '-' => [a - d, a - d, b - c, b - c],
        '*' => [a * c, a * d, b * c, b * d],
        '/' if (c, d) == (0, 0) => return None,
        '/' => {
            // The result is largest where the divisor is nearest to nothing.
            let most = a.abs().max(b.abs());
            if c == d { [a / c, b / c, a / c, b / c] } else { [-most, most, -most, most] }
        }
        _ if (c, d) == (0, 0) => return None,
        _ => {
            let most = c.abs().max(d.abs()) - 1;
            let most = most.min(a.abs().max(b.abs()));
            [if a < 0 { -most } else { 0 }, if b > 0 { most } else { 0 }, 0, 0]
        }
    };
    let low = corners.into_iter().min()?.max(i128::from(i64::MIN));
    let high = corners.into_iter().max()?.min(i128::from(i64::MAX));
    // Beyond 64 bits there is only an overflow.
    let (low, high) = (i64::try_from(low).ok()?, i64::try_from(high).ok()?);
    (low <= high).then_some(Shape::Int { low, high })
}
