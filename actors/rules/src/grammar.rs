//! Whether words in this order are an expression.
//!
//! This only refuses: what it lets through is parsed by `cel`, whose reading is the only one. It is
//! there so that the place of a mistake is exact, and so that ANTLR never recovers from one.
//!
//! **Invariants:** recursion only where a bracket opens, of which `scan` let at most
//! `NESTING_MAX` through. **Not here:** what the words mean (`check`).

use crate::scan::{Fault, Token, Word};

/// Choices `a ? b : c` after each other: the parser recurses with each.
pub const CHOICES_MAX: usize = 16;

/// The whole of the words is one expression; `end` is where the text ends.
pub(crate) fn recognise(tokens: &[Token<'_>], end: usize) -> Result<(), Fault> {
    let mut reader = Reader { tokens, next: 0, end, choices: 0 };
    reader.expression()?;
    match reader.peek() {
        None => Ok(()),
        Some(token) => {
            let remedy = match token.text {
                ")" | "]" => "leave it out, or open it before",
                _ => "join the parts with && or ||",
            };
            Fault::new(
                token.offset,
                format!("`{}` after the end of the expression; {remedy}", token.text),
            )
        }
    }
}

struct Reader<'a, 't> {
    tokens: &'a [Token<'t>],
    next: usize,
    end: usize,
    choices: usize,
}

impl<'t> Reader<'_, 't> {
    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.next).copied()
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.word == Word::Sign && token.text == sign);
        self.next += usize::from(found);
        found
    }

    fn take_one_of(&mut self, signs: &[&str]) -> bool {
        signs.iter().any(|sign| self.take(sign))
    }

    fn expected<T>(&self, what: &str) -> Result<T, Fault> {
        match self.peek() {
            Some(token) => {
                Fault::new(token.offset, format!("`{}` where {what} should be", token.text))
            }
            None => Fault::new(self.end, format!("the expression ends where {what} should be")),
        }
    }

    fn expression(&mut self) -> Result<(), Fault> {
        loop {
            self.alternatives()?;
            let at = self.peek().map_or(self.end, |token| token.offset);
            if !self.take("?") {
                return Ok(());
            }
            self.choices += 1;
            if self.choices > CHOICES_MAX {
                return Fault::new(
                    at,
                    format!("more than {CHOICES_MAX} choices `? :`; make several rules of it"),
                );
            }
            self.alternatives()?;
            if !self.take(":") {
                return self.expected("the `:` of a choice");
            }
        }
    }

    /// Operands with operators between them. Which binds closer does not matter here.
    fn alternatives(&mut self) -> Result<(), Fault> {
        const BETWEEN: &[&str] =
            &["||", "&&", "==", "!=", "<=", ">=", "<", ">", "in", "+", "-", "*", "/", "%"];
        loop {
            self.operand()?;
            if !self.take_one_of(BETWEEN) {
                return Ok(());
            }
        }
    }

    fn operand(&mut self) -> Result<(), Fault> {
        if self.take_one_of(&["!", "-"])
            && let Some(again) = self.peek().filter(|token| matches!(token.text, "!" | "-"))
        {
            return Fault::new(
                again.offset,
                "two signs after each other; leave both out, or use brackets",
            );
        }
        self.primary()?;
        loop {
            if self.take(".") {
                if !self.peek().is_some_and(|token| token.word == Word::Name) {
                    return self.expected("a name after the dot");
                }
                self.next += 1;
                if self.take("(") {
                    self.list(")")?;
                }
            } else if self.take("[") {
                self.expression()?;
                if !self.take("]") {
                    return self.expected("`]`");
                }
            } else {
                return Ok(());
            }
        }
    }

    fn primary(&mut self) -> Result<(), Fault> {
        if self.take("(") {
            self.expression()?;
            return if self.take(")") { Ok(()) } else { self.expected("`)`") };
        }
        if self.take("[") {
            return self.list("]");
        }
        match self.peek().map(|token| token.word) {
            Some(Word::Literal) => {
                self.next += 1;
                Ok(())
            }
            Some(Word::Name) => {
                self.next += 1;
                if self.take("(") { self.list(")") } else { Ok(()) }
            }
            Some(Word::Sign) | None => self.expected("a value"),
        }
    }

    /// What follows an opening bracket, to the closing one.
    fn list(&mut self, close: &str) -> Result<(), Fault> {
        if self.take(close) {
            return Ok(());
        }
        loop {
            self.expression()?;
            if self.take(close) {
                return Ok(());
            }
            if !self.take(",") {
                return self.expected(&format!("`,` or `{close}`"));
            }
        }
    }
}
