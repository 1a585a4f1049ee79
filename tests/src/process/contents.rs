//! What is below a directory: to compare before and after, to copy, to search.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// Files with their content, by path relative to the directory.
pub type Contents = BTreeMap<PathBuf, Vec<u8>>;

/// Every file below `dir`. A running server may remove one meanwhile: that is left out.
pub fn contents(dir: &Path) -> Contents {
    let mut found = Contents::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = if_there(std::fs::read_dir(&folder)) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(bytes) = if_there(std::fs::read(&path)) {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

fn if_there<T>(read: io::Result<T>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Writes files below `dir`, which must not hold others.
pub fn place(files: &Contents, dir: &Path) {
    for (path, bytes) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// RocksDB's own diary and lock say nothing of the data.
fn is_diary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == "LOCK" || name == "LOG" || name.starts_with("LOG.old")
}

/// The files of `before` that are not as they were.
pub fn overwritten(before: &Contents, after: &Contents) -> Vec<String> {
    let files =
        before.iter().filter(|(path, bytes)| !is_diary(path) && after.get(*path) != Some(bytes));
    files.map(|(path, _)| path.display().to_string()).collect()
}

/// RFC 4648 §4 without padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().chain(&[0, 0]).take(3).fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        for digit in 0..=group.len() {
            text.push(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize] as char);
        }
    }
    text
}

/// A word in every form that could give it away.
pub struct Secret(Vec<(String, Vec<u8>)>);

impl Secret {
    pub fn new(word: &str) -> Self {
        let bytes = word.as_bytes();
        let lower: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![
            ("plain".to_owned(), bytes.to_vec()),
            ("UTF-16".to_owned(), word.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            ("hexadecimal".to_owned(), lower.clone().into_bytes()),
            ("hexadecimal".to_owned(), lower.to_uppercase().into_bytes()),
        ];
        for shift in 0..3 {
            // A group of base64 mixes neighbours in: only what is wholly of the word is searched.
            let padded = [&vec![0; shift][..], bytes].concat();
            let text = base64(&padded);
            let inner = &text[if shift == 0 { 0 } else { 4 }..padded.len() / 3 * 4];
            forms.push(("base64".to_owned(), inner.as_bytes().to_vec()));
            let url = inner.replace('+', "-").replace('/', "_");
            forms.push(("base64".to_owned(), url.into_bytes()));
        }
        Self(forms)
    }

    /// The form in which the word is in `bytes`.
    pub fn form_in(&self, bytes: &[u8]) -> Option<&str> {
        let found = |form: &[u8]| bytes.windows(form.len()).any(|window| window == form);
        self.0.iter().find(|(_, form)| found(form)).map(|(name, _)| name.as_str())
    }

    /// The files that hold the word, with its form.
    pub fn files_in(&self, files: &Contents) -> Vec<String> {
        let found = files.iter().filter_map(|(path, bytes)| {
            Some(format!("{} ({})", path.display(), self.form_in(bytes)?))
        });
        found.collect()
    }
}

#[test]
fn base64_is_that_of_the_standard() {
    for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
}

#[test]
fn a_secret_is_found_in_every_form() {
    let word = "a word that nobody else uses 7b1e";
    let secret = Secret::new(word);
    for before in ["", "x", "xy", "xyz"] {
        let line = format!("{before}{word} and more");
        let hex: String = line.bytes().map(|byte| format!("{byte:02x}")).collect();
        let wide: Vec<u8> = line.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(secret.form_in(line.as_bytes()), Some("plain"));
        assert_eq!(secret.form_in(&wide), Some("UTF-16"));
        assert_eq!(secret.form_in(hex.as_bytes()), Some("hexadecimal"));
        assert_eq!(secret.form_in(hex.to_uppercase().as_bytes()), Some("hexadecimal"));
        assert_eq!(secret.form_in(base64(line.as_bytes()).as_bytes()), Some("base64"));
    }
    assert_eq!(secret.form_in(b"a word that nobody else uses 7b1"), None);
}
