//! What each kind of certificate says and how long it lives.

use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};

use crate::Kind;

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;
/// Every certificate is valid from a little before it is made: devices' clocks lag.
pub(crate) const BACKDATE_S: u64 = 600;

/// The content of a certificate, except for the name.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    pub lifetime_s: u64,
    /// nonRepudiation beside digitalSignature: the holder signs messages with it.
    pub signs_messages: bool,
    pub client_auth: bool,
    pub server_auth: bool,
}

impl Profile {
    pub(crate) fn key_usages(&self) -> Vec<KeyUsagePurpose> {
        let mut usages = vec![KeyUsagePurpose::DigitalSignature];
        if self.signs_messages {
            usages.push(KeyUsagePurpose::ContentCommitment);
        }
        usages
    }

    pub(crate) fn extended_key_usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        let client = self.client_auth.then_some(ExtendedKeyUsagePurpose::ClientAuth);
        let server = self.server_auth.then_some(ExtendedKeyUsagePurpose::ServerAuth);
        server.into_iter().chain(client).collect()
    }
}

/// The profile of a kind.
pub fn profile(kind: Kind) -> Profile {
    let device = Profile {
        lifetime_s: 90 * DAY_S,
        signs_messages: true,
        client_auth: true,
        server_auth: false,
    };
    match kind {
        Kind::Node => Profile {
            lifetime_s: 7 * DAY_S,
            signs_messages: false,
            client_auth: true,
            server_auth: true,
        },
        Kind::Customer => device,
        Kind::Technician => Profile { lifetime_s: 30 * DAY_S, ..device },
        Kind::Operator => Profile {
            lifetime_s: 12 * HOUR_S,
            signs_messages: false,
            client_auth: true,
            server_auth: false,
        },
        Kind::Service => Profile {
            lifetime_s: 7 * DAY_S,
            signs_messages: true,
            client_auth: false,
            server_auth: false,
        },
    }
}
