//! Where a token's key is, written as a `pkcs11:` URI (RFC 7512).
//!
//! `pkcs11:token=…;serial=…;object=…;id=%01?module-path=/…`: `serial` and `id` only where the labels
//! are not unique. **Invariants:** an address holds no PIN; reading what [`TokenAddress`] prints
//! gives the same address.

use core::{fmt, str::FromStr};

/// The longest address that is read, in bytes.
const URI_BYTES_MAX: usize = 2048;

/// Why a text is not a token's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("a token's address begins with `pkcs11:`")]
    Scheme,
    #[error("a token's address has up to {URI_BYTES_MAX} bytes")]
    TooLong,
    #[error("an attribute of the address has no `=`")]
    NoValue,
    #[error("take {0} out of the address: the PIN comes by another way")]
    Pin(&'static str),
    #[error(
        "the attribute {0:?} is not understood: use token, serial, object and id, and module-path after `?`"
    )]
    Unknown(String),
    #[error("the address has no {0}")]
    Missing(&'static str),
    #[error("the address has {0} twice")]
    Twice(&'static str),
    #[error(
        "the value of {0} is empty or malformed: write control characters not at all, others that are not plain as `%` and two hexadecimal digits"
    )]
    Value(&'static str),
    #[error("module-path is not absolute: the loader would search for it")]
    Relative,
}

/// A key in a token, and the module by which the token is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenAddress {
    /// The absolute path of the PKCS#11 library.
    pub module: String,
    pub token_label: String,
    /// For tokens that share a label.
    pub serial: Option<String>,
    /// CKA_LABEL.
    pub key_label: String,
    /// CKA_ID, for keys that share a label.
    pub id: Option<Vec<u8>>,
}

/// The bytes that a value stands for (RFC 3986 §2.1).
fn decode(value: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first == b'%' {
            let ([high, low], behind) = rest.split_first_chunk()?;
            bytes.push(digit(*high)? << 4 | digit(*low)?);
            rest = behind;
        } else {
            bytes.push(first.is_ascii_graphic().then_some(*first)?);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

fn encode(f: &mut fmt::Formatter<'_>, bytes: &[u8], plain: fn(u8) -> bool) -> fmt::Result {
    bytes.iter().try_for_each(|byte| match plain(*byte) {
        true => write!(f, "{}", char::from(*byte)),
        false => write!(f, "%{byte:02X}"),
    })
}

/// RFC 3986 §2.3.
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn set(field: &mut Option<Vec<u8>>, name: &'static str, value: &str) -> Result<(), AddressError> {
    let bytes = decode(value).ok_or(AddressError::Value(name))?;
    match field.replace(bytes) {
        Some(_) => Err(AddressError::Twice(name)),
        None => Ok(()),
    }
}

fn text(field: Option<Vec<u8>>, name: &'static str) -> Result<Option<String>, AddressError> {
    let text = field.map(String::from_utf8).transpose().map_err(|_| AddressError::Value(name))?;
    match text.as_deref().is_some_and(|text| text.contains(char::is_control)) {
        true => Err(AddressError::Value(name)),
        false => Ok(text),
    }
}

fn attributes(
    part: &str,
    separator: char,
) -> impl Iterator<Item = Result<(&str, &str), AddressError>> {
    let written = part.split(separator).filter(|attribute| !attribute.is_empty());
    written.map(|attribute| attribute.split_once('=').ok_or(AddressError::NoValue))
}

impl FromStr for TokenAddress {
    type Err = AddressError;

    fn from_str(uri: &str) -> Result<Self, AddressError> {
        if uri.len() > URI_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let rest = uri.strip_prefix("pkcs11:").ok_or(AddressError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut token, mut serial, mut object, mut id, mut module) =
            (None, None, None, None, None);
        for attribute in attributes(path, ';') {
            match attribute? {
                ("token", value) => set(&mut token, "token", value)?,
                ("serial", value) => set(&mut serial, "serial", value)?,
                ("object", value) => set(&mut object, "object", value)?,
                ("id", value) => set(&mut id, "id", value)?,
                (name, _) => return Err(refused(name)),
            }
        }
        for attribute in attributes(query, '&') {
            match attribute? {
                ("module-path", value) => set(&mut module, "module-path", value)?,
                (name, _) => return Err(refused(name)),
            }
        }
        let needed = |field, name| text(field, name)?.ok_or(AddressError::Missing(name));
        let address = Self {
            module: needed(module, "module-path")?,
            token_label: needed(token, "token")?,
            serial: text(serial, "serial")?,
            key_label: needed(object, "object")?,
            id,
        };
        if !address.module.starts_with('/') {
            return Err(AddressError::Relative);
        }
        Ok(address)
    }
}

fn refused(name: &str) -> AddressError {
    match name {
        "pin-value" => AddressError::Pin("pin-value"),
        "pin-source" => AddressError::Pin("pin-source"),
        name => AddressError::Unknown(name.to_owned()),
    }
}

impl fmt::Display for TokenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:token=")?;
        encode(f, self.token_label.as_bytes(), unreserved)?;
        if let Some(serial) = &self.serial {
            f.write_str(";serial=")?;
            encode(f, serial.as_bytes(), unreserved)?;
        }
        f.write_str(";object=")?;
        encode(f, self.key_label.as_bytes(), unreserved)?;
        if let Some(id) = &self.id {
            f.write_str(";id=")?;
            encode(f, id, |_| false)?;
        }
        f.write_str("?module-path=")?;
        encode(f, self.module.as_bytes(), |byte| unreserved(byte) || byte == b'/')
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    const URI: &str = "pkcs11:token=CA%20eu1;object=issuing-1;id=%01%fF?module-path=/usr/lib/softhsm/libsofthsm2.so";

    #[test]
    fn an_address_is_read_and_printed() {
        let address: TokenAddress = URI.parse().unwrap();
        let expected = TokenAddress {
            module: "/usr/lib/softhsm/libsofthsm2.so".into(),
            token_label: "CA eu1".into(),
            serial: None,
            key_label: "issuing-1".into(),
            id: Some(vec![1, 0xff]),
        };
        assert_eq!(address, expected);
        assert_eq!(address.to_string(), URI.replace("fF", "FF"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let with = |from: &str, to: &str| URI.replace(from, to).parse::<TokenAddress>();
        assert_eq!(with("pkcs11:", "pkcs12:"), Err(AddressError::Scheme));
        assert_eq!(with("eu1", &"x".repeat(2048)), Err(AddressError::TooLong));
        assert_eq!(with("id=", "model="), Err(AddressError::Unknown("model".into())));
        assert_eq!(with("id=", "module-path="), Err(AddressError::Unknown("module-path".into())));
        assert_eq!(
            with("module-path", "module-name"),
            Err(AddressError::Unknown("module-name".into()))
        );
        assert_eq!(with("id=%01", "token=%41"), Err(AddressError::Twice("token")));
        assert_eq!(with("token=", "serial="), Err(AddressError::Missing("token")));
        assert_eq!(with("object=issuing-1;", ""), Err(AddressError::Missing("object")));
        assert_eq!(with("?", ";"), Err(AddressError::Unknown("module-path".into())));
        assert_eq!(
            URI.split('?').next().unwrap().parse::<TokenAddress>(),
            Err(AddressError::Missing("module-path"))
        );
        assert_eq!(with("=/usr", "=usr"), Err(AddressError::Relative));
        assert_eq!(with("object=", "object"), Err(AddressError::NoValue));
        for value in ["", "%", "%2", "%2g", "%+1", "a b", "ä", "%C3", "%00", "a%0A"] {
            let refused = with("issuing-1", value);
            assert_eq!(refused, Err(AddressError::Value("object")), "{value:?}");
        }
    }

    #[test]
    fn a_pin_is_refused_and_not_repeated() {
        for name in ["pin-value", "pin-source"] {
            for uri in [format!("{URI}&{name}=73914"), URI.replace("id=", &format!("{name}=73914"))]
            {
                let refused = uri.parse::<TokenAddress>().unwrap_err();
                assert_eq!(refused, AddressError::Pin(name));
                assert!(!format!("{refused} {refused:?}").contains("73914"));
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(
            module in "/[^\\p{Cc}]{0,20}",
            token_label in "[^\\p{Cc}]{1,20}",
            serial in proptest::option::of("[^\\p{Cc}]{1,16}"),
            key_label in "[^\\p{Cc}]{1,20}",
            id in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..20)),
        ) {
            let address = TokenAddress { module, token_label, serial, key_label, id };
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}
