//! The base64 bodies of EST (RFC 8951 §3): written unwrapped, read however they are wrapped.
//!
//! A PEM request is read too, because that is what `openssl req` prints and its users post.
//!
//! **Invariants:** the limit comes before work; what is decoded is the whole body; white space is
//! passed over (RFC 8951 §3.1 lets receivers tolerate CR, LF, space and tab), nothing else is.
//! **Not here:** what the bytes mean.

use base64::{DecodeError, Engine as _, engine::general_purpose::STANDARD};

/// Bytes of an encoded body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Characters of a line where a client needs lines (RFC 7468 §2).
const COLUMNS: usize = 64;
/// Characters of a foreign PEM label that an error repeats.
const LABEL_CHARS_MAX: usize = 40;
/// The labels of a request (RFC 7468 §7 and its note on older tools).
const LABELS: [&str; 2] = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];

/// Why a body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body has more than 64 KiB")]
    TooLarge,
    #[error("the body is empty")]
    Empty,
    #[error("the body is DER: encode it in base64")]
    Der,
    #[error("the body is not base64")]
    NotBase64,
    #[error("the body's base64 ends within a group, or is padded wrongly")]
    Padding,
    #[error("the body is PEM of {0:?}: a CERTIFICATE REQUEST is expected")]
    PemLabel(String),
    #[error("the body's PEM does not end with its label, or something follows it")]
    PemEnd,
}

/// One line.
pub fn encode(der: &[u8]) -> String {
    STANDARD.encode(der)
}

/// Lines of 64 characters, each with CR and LF, for clients that read no other.
pub fn encode_wrapped(der: &[u8]) -> String {
    let line = encode(der);
    let mut wrapped = String::with_capacity(line.len() + line.len() / COLUMNS * 2 + 2);
    for (at, character) in line.chars().enumerate() {
        if at > 0 && at % COLUMNS == 0 {
            wrapped.push_str("\r\n");
        }
        wrapped.push(character);
    }
    if !line.is_empty() {
        wrapped.push_str("\r\n");
    }
    wrapped
}

/// The bytes of a body.
///
/// # Errors
/// See [`BodyError`].
pub fn decode(body: &[u8]) -> Result<Vec<u8>, BodyError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(BodyError::TooLarge);
    }
    // A SEQUENCE of more than 127 bytes: no character of base64 has the second byte.
    if matches!(body, [0x30, 0x81..=0x84, ..]) {
        return Err(BodyError::Der);
    }
    let body = core::str::from_utf8(body).map_err(|_| BodyError::NotBase64)?;
    let body = body.trim_matches(is_space);
    let encoded = match body.strip_prefix("-----BEGIN ") {
        Some(pem) => pem_content(pem)?,
        None => body,
    };
    let characters: String = encoded.chars().filter(|character| !is_space(*character)).collect();
    if characters.is_empty() {
        return Err(BodyError::Empty);
    }
    STANDARD.decode(characters).map_err(|error| match error {
        DecodeError::InvalidByte(_, byte) if byte != b'=' => BodyError::NotBase64,
        _ => BodyError::Padding,
    })
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

/// What stands between the two lines of a PEM, given what follows `-----BEGIN `.
fn pem_content(pem: &str) -> Result<&str, BodyError> {
    let line = pem.split(['\r', '\n']).next().unwrap_or_default();
    let label = line.trim_end_matches(is_space).strip_suffix("-----").unwrap_or(line);
    if !LABELS.contains(&label) {
        let named = label.chars().filter(|c| c.is_ascii_graphic() || *c == ' ');
        return Err(BodyError::PemLabel(named.take(LABEL_CHARS_MAX).collect()));
    }
    let (content, end) = pem
        .get(line.len()..)
        .and_then(|rest| rest.split_once("-----END "))
        .ok_or(BodyError::PemEnd)?;
    if end.strip_prefix(label) == Some("-----") { Ok(content) } else { Err(BodyError::PemEnd) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 300 bytes, so that there are several lines.
    fn der() -> Vec<u8> {
        (0..=255).chain(0..44).collect()
    }

    fn pem(label: &str, end: &str) -> String {
        let lines = encode_wrapped(&der()).replace('\r', "");
        format!("-----BEGIN {label}-----\n{lines}-----END {end}-----\n")
    }

    #[test]
    fn each_form_that_clients_send_is_read() {
        let (line, wrapped) = (encode(&der()), encode_wrapped(&der()));
        assert!(!line.contains(['\r', '\n']));
        assert!(wrapped.ends_with("\r\n"));
        assert!(wrapped.lines().all(|line| line.len() <= 64));
        assert_eq!(wrapped.lines().next().map(str::len), Some(64));
        let request = pem(LABELS[0], LABELS[0]);
        for body in [
            line.clone(),
            format!("{line}\n"),
            format!("{line}\r\n"),
            wrapped.replace('\r', ""),
            wrapped.trim_end().to_owned(),
            wrapped,
            format!("\t{line} "),
            pem(LABELS[1], LABELS[1]),
            request.replace('\n', "\r\n"),
            request.trim_end().to_owned(),
            request,
        ] {
            assert_eq!(decode(body.as_bytes()), Ok(der()), "{body}");
        }
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let line = encode(&der()[..298]);
        assert!(line.ends_with("=="));
        let unpadded = line.trim_end_matches('=');
        let inserted = |text: &str| format!("{}{text}{}", &line[..8], &line[8..]);
        for (body, error) in [
            (String::new(), BodyError::Empty),
            ("\r\n".into(), BodyError::Empty),
            (unpadded.into(), BodyError::Padding),
            (format!("{unpadded}="), BodyError::Padding),
            (format!("{line}="), BodyError::Padding),
            (format!("{line}AAAA"), BodyError::Padding),
            // The bits after the last byte are not zero.
            (format!("{}B==", &unpadded[..unpadded.len() - 1]), BodyError::Padding),
            (inserted("\0"), BodyError::NotBase64),
            (inserted("-"), BodyError::NotBase64),
            (inserted("\u{b}"), BodyError::NotBase64),
            (inserted("\u{e9}"), BodyError::NotBase64),
            (pem("CERTIFICATE", "CERTIFICATE"), BodyError::PemLabel("CERTIFICATE".into())),
            (pem("X\u{1b}[31m", "X"), BodyError::PemLabel("X[31m".into())),
            (pem(LABELS[0], LABELS[1]), BodyError::PemEnd),
            (pem(LABELS[0], LABELS[0]).replace("-----END", "-----STOP"), BodyError::PemEnd),
            (pem(LABELS[0], LABELS[0]) + "more", BodyError::PemEnd),
            (pem(LABELS[0], LABELS[0]).repeat(2), BodyError::PemEnd),
            (pem(LABELS[0], LABELS[0]).replacen('\n', "\nA: b\n\n", 1), BodyError::NotBase64),
            ("A".repeat(BODY_BYTES_MAX + 1), BodyError::TooLarge),
        ] {
            assert_eq!(decode(body.as_bytes()), Err(error), "{body}");
        }
        assert_eq!(decode(&[0x30, 0x82, 1, 0, 0x30]), Err(BodyError::Der));
        assert_eq!(decode(&[0x41, 0xff]), Err(BodyError::NotBase64));
    }

    proptest! {
        #[test]
        fn bytes_come_back(der in proptest::collection::vec(any::<u8>(), 1..300)) {
            prop_assert_eq!(decode(encode(&der).as_bytes()), Ok(der.clone()));
            prop_assert_eq!(decode(encode_wrapped(&der).as_bytes()), Ok(der));
        }

        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&body);
        }

        #[test]
        fn no_pem_panics(text in "-----BEGIN (CERTIFICATE REQUEST)?[-\n A-Z=é]{0,80}") {
            let _ = decode(text.as_bytes());
        }
    }
}
