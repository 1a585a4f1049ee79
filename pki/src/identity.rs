//! Who a certificate is for: one SPIFFE URI.
//!
//! **Invariant:** what is written parses back to the same identity, and nothing else parses.
//! **Not here:** what a kind may do ([`crate::Profile`]), who is registered.

use core::{fmt, str::FromStr};

/// Bytes of the URI: SPIFFE-ID §2.3 allows 2048, ours are far below.
const URI_BYTES_MAX: usize = 256;

/// Why a text is not an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identity is spiffe://<cluster>/region/<region>/<kind>/<uuid>")]
pub struct IdentityError;

/// What the holder is, which decides the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Node,
    Customer,
    Technician,
    Operator,
    /// Signs the service's messages.
    Service,
    /// Brings devices in from where no node is.
    Gateway,
    /// Signs OCSP responses for its region's issuing CA.
    OcspSigner,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Node,
        Self::Customer,
        Self::Technician,
        Self::Operator,
        Self::Service,
        Self::Gateway,
        Self::OcspSigner,
    ];

    /// The name in URIs and DNS names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Customer => "customer",
            Self::Technician => "technician",
            Self::Operator => "operator",
            Self::Service => "service",
            Self::Gateway => "gateway",
            Self::OcspSigner => "ocsp",
        }
    }
}

/// A holder's identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// A DNS name in lower case, which ends all names of the cluster.
    pub cluster: String,
    /// One to four lower-case letters and digits.
    pub region: String,
    pub kind: Kind,
    /// A UUID.
    pub id: [u8; 16],
}

impl Identity {
    /// The name that stands beside the URI, because DNS names are what libraries constrain.
    pub fn dns_name(&self) -> String {
        format!("{}.{}.{}.{}", Uuid(&self.id), self.kind.name(), self.region, self.cluster)
    }
}

/// Whether a text can be a cluster's name in an identity.
pub(crate) fn is_cluster(text: &str) -> bool {
    let is_dns = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    !text.is_empty() && text.chars().all(is_dns)
}

/// Whether a text can be a region's name in an identity.
pub(crate) fn is_region(text: &str) -> bool {
    (1..=4).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// Hyphenated lower-case hexadecimal.
struct Uuid<'a>(&'a [u8; 16]);

impl fmt::Display for Uuid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    if text.len() != 36 || !text.is_ascii() {
        return None;
    }
    let mut id = [0; 16];
    let mut digits = text
        .bytes()
        .enumerate()
        .filter(|(at, _)| !matches!(at, 8 | 13 | 18 | 23))
        .map(|(_, byte)| byte);
    if [8, 13, 18, 23].iter().any(|at| text.as_bytes()[*at] != b'-') {
        return None;
    }
    for byte in &mut id {
        for _ in 0..2 {
            let digit = match digits.next()? {
                digit @ b'0'..=b'9' => digit - b'0',
                digit @ b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | digit;
        }
    }
    Some(id)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "spiffe://{}/region/{}/{}/{}",
            self.cluster,
            self.region,
            self.kind.name(),
            Uuid(&self.id)
        )
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if text.len() > URI_BYTES_MAX {
            return Err(IdentityError);
        }
        let rest = text.strip_prefix("spiffe://").ok_or(IdentityError)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let [cluster, "region", region, kind, id] = parts[..] else {
            return Err(IdentityError);
        };
        if !is_cluster(cluster) || !is_region(region) {
            return Err(IdentityError);
        }
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or(IdentityError)?;
        let id = parse_uuid(id).ok_or(IdentityError)?;
        Ok(Self { cluster: cluster.to_owned(), region: region.to_owned(), kind, id })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_uri_comes_back(id: [u8; 16], kind in 0..Kind::ALL.len()) {
            let identity = Identity { cluster: "a.b-c".into(), region: "eu1".into(), kind: Kind::ALL[kind], id };
            prop_assert_eq!(identity.to_string().parse(), Ok(identity));
        }

        #[test]
        fn no_text_panics(text in "(spiffe://)?.{0,60}") {
            let _ = text.parse::<Identity>();
        }
    }

    #[test]
    fn near_misses_are_refused() {
        let good = "spiffe://c/region/eu1/node/00000000-0000-0000-0000-000000000001";
        assert!(good.parse::<Identity>().is_ok());
        for bad in [
            good.replace("node", "root"),
            good.replace("eu1", "EU1"),
            good.replace("eu1", "europe"),
            format!("{good}/x"),
            format!("{good}?"),
            good.replace("-0000-0000-0000-", "0000-0000-0000---"),
            good.replace("000001", "00000A"),
            good.replace("://c", "://"),
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }
}
