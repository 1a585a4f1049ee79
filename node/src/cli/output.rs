//! What a command prints, and how it ends.
#![expect(clippy::print_stderr, reason = "this file is the command's voice")]

use std::{
    error::Error,
    fmt::Display,
    io::Write as _,
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

/// Why a command failed, with its exit code.
#[derive(Debug)]
pub struct CliError {
    code: u8,
    text: String,
}

impl CliError {
    pub fn failed(text: impl Display) -> Self {
        Self { code: 1, text: text.to_string() }
    }

    pub fn usage(text: impl Display) -> Self {
        Self { code: 2, text: text.to_string() }
    }

    pub fn refused(text: impl Display) -> Self {
        Self { code: 3, text: text.to_string() }
    }

    /// Whether somebody who was asked said no.
    pub(crate) fn is_refusal(&self) -> bool {
        self.code == 3
    }

    /// A run that did not pass, by the number of its ending.
    pub(crate) fn ended(code: u8, text: impl Display) -> Self {
        Self { code, text: text.to_string() }
    }

    /// The same, said of a part.
    pub(crate) fn within(self, place: impl Display) -> Self {
        Self { text: format!("{place}: {}", self.text), ..self }
    }

    pub fn unreachable(text: impl Display) -> Self {
        Self { code: 69, text: text.to_string() }
    }

    /// What the program ends with.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

/// Whoever reads may stop reading, as `head` does: what is not wanted is not said.
fn print(line: std::fmt::Arguments<'_>) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Text for people, or one JSON object for programs.
pub(super) struct Output {
    json: bool,
    result: Mutex<Option<Value>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, result: Mutex::new(None) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A line for people.
    pub(crate) fn say(&self, line: impl Display) {
        if !self.json {
            print(format_args!("{line}"));
        }
    }

    /// A JSON line now: for commands that go on.
    pub(crate) fn tell(&self, value: &Value) {
        if self.json {
            print(format_args!("{value}"));
        }
    }

    /// The object that the command ends with.
    pub(crate) fn result(&self, value: Value) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// The figures that the command ends with: a line each for people.
    pub(crate) fn figures(&self, figures: Value) {
        let lines = figures.as_object().into_iter().flatten();
        let width = lines.clone().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in lines {
            self.say(format_args!("{name:<width$} {value}"));
        }
        self.result(figures);
    }

    pub(crate) fn finish(&self, result: Result<(), CliError>) -> ExitCode {
        let value = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        match result {
            Ok(()) => {
                if let Some(value) = value {
                    self.tell(&value);
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("fieldmesh: {error}");
                let mut object = value.unwrap_or_else(|| serde_json::json!({}));
                object["error"] = Value::String(error.text.clone());
                self.tell(&object);
                ExitCode::from(error.code)
            }
        }
    }
}
