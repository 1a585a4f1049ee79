//! Where the passphrase, or a token's PIN, comes from: a file, a descriptor, systemd, or a prompt.
//!
//! **Invariant:** it is never an argument and never in the environment, where others can read it.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use zeroize::Zeroizing;

use super::CliError;
use crate::files;

/// Bytes of a passphrase at least: what `dev` makes has 43.
const PASSPHRASE_BYTES_MIN: usize = 12;
/// Bytes of a PIN at least, as tokens have it.
const PIN_BYTES_MIN: usize = 4;
/// The credential's name for systemd's `LoadCredential=` (systemd.exec(5)).
const CREDENTIAL: &str = "fieldmesh.passphrase";

#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// File with the passphrase, or with the PIN of the token. Without it: the systemd credential
    /// fieldmesh.passphrase if there is one, otherwise a line of standard input.
    #[arg(long)]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The same from an open file descriptor.
    #[arg(long, conflicts_with = "passphrase_file")]
    pub(crate) passphrase_fd: Option<u32>,
    /// Set by systemd.
    #[arg(long, env = "CREDENTIALS_DIRECTORY", hide = true)]
    credentials_directory: Option<PathBuf>,
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let read = files::read(path).map(Zeroizing::new);
    read.map_err(|error| CliError::usage(format!("{}: {error}", path.display())))
}

fn prompted(what: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut line = Zeroizing::new(String::new());
    if std::io::stdin().is_terminal() {
        // A prompt that cannot be shown is no reason not to read.
        drop(std::io::stderr().write_all(format!("{what}: ").as_bytes()));
    }
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| CliError::usage(format!("no {what}: {error}")))?;
    Ok(Zeroizing::new(line.as_bytes().to_vec()))
}

impl Unlock {
    fn credential(&self) -> Option<PathBuf> {
        let path = self.credentials_directory.as_ref()?.join(CREDENTIAL);
        path.exists().then_some(path)
    }

    /// The passphrase, or the PIN.
    ///
    /// # Errors
    /// Where there is none, or one that is too short to be it.
    pub(crate) fn secret(&self, is_pin: bool) -> Result<Zeroizing<Vec<u8>>, CliError> {
        let (what, least) =
            if is_pin { ("PIN", PIN_BYTES_MIN) } else { ("passphrase", PASSPHRASE_BYTES_MIN) };
        let mut text = match (&self.passphrase_file, self.passphrase_fd, self.credential()) {
            (Some(path), _, _) => read(path)?,
            (None, Some(fd), _) => read(Path::new(&format!("/dev/fd/{fd}")))?,
            (None, None, Some(path)) => read(&path)?,
            (None, None, None) => prompted(what)?,
        };
        while text.last().is_some_and(u8::is_ascii_whitespace) {
            text.pop();
        }
        if text.len() < least {
            return Err(CliError::usage(format!("the {what} has fewer than {least} characters")));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit that hands it over under another name starts no node: nobody is there to be asked.
    #[test]
    fn the_shipped_unit_hands_over_the_credential_that_is_looked_for() {
        let unit = include_str!("../../../scripts/fieldmesh.service");
        for line in [
            format!("\nLoadCredentialEncrypted={CREDENTIAL}:/etc/fieldmesh/passphrase\n"),
            format!(" systemd-creds encrypt --name={CREDENTIAL} - /etc/fieldmesh/passphrase\n"),
        ] {
            assert!(unit.contains(&line), "the unit has no line {line:?}");
        }
    }
}
