//! The address of a target, taken apart once.
//!
//! **Invariants:** what is taken apart can be put into a request as it is: it holds neither blanks nor line
//! ends; it names no user. **Not here:** where its name leads (`client`).

/// `https://HOST[:PORT][/PATH]`, or the same with `http` for what is inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub is_tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    /// Host and port as the URL has them.
    pub authority: String,
    /// With the query; begins with a slash.
    pub path: String,
}

/// Bytes of a URL.
const URL_BYTES_MAX: usize = 2048;

impl Endpoint {
    /// # Errors
    /// What is wrong with it, as the end of a sentence about the URL.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        if url.len() > URL_BYTES_MAX {
            return Err("has more than 2048 bytes");
        }
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("has characters that must be written as %XX");
        }
        let (is_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("does not begin with https://"),
        };
        if rest.contains('#') {
            return Err("has a fragment (#…), which no server is told");
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("names a user, which would be a secret in clear");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or("has an address without its `]`")?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err("names no host");
        }
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port != 0),
            None if port.is_empty() => Some(if is_tls { 443 } else { 80 }),
            None => None,
        };
        let port = port.ok_or("has no port of 1 to 65535 behind the `:`")?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        let (host, authority) = (host.to_owned(), authority.to_owned());
        Ok(Self { is_tls, host, port, authority, path: format!("{slash}{path}") })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::Endpoint;

    #[test]
    fn urls_are_taken_apart_or_refused() {
        let whole = Endpoint::parse("https://a.example:8443/x/y?z=1").unwrap();
        assert_eq!((whole.host.as_str(), whole.port, whole.is_tls), ("a.example", 8443, true));
        assert_eq!((whole.authority.as_str(), whole.path.as_str()), ("a.example:8443", "/x/y?z=1"));
        let short = Endpoint::parse("http://[::1]?q").unwrap();
        assert_eq!((short.host.as_str(), short.port, short.path.as_str()), ("::1", 80, "/?q"));
        for bad in [
            "",
            "ftp://a",
            "https://",
            "https:///x",
            "https://a b/",
            "https://a/\r\nX: y",
            "https://u:p@a/",
            "https://a:0/",
            "https://a:99999/",
            "https://a/#x",
            "https://[::1/",
            "https://é/",
            "https://[::1]x/",
            "//a",
            "HTTPS://a",
            "https://a%00/",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad:?}");
        }
    }
}
