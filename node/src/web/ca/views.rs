//! What the authority's desk reads and shows, as JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_domain::{
    EntityId, IndexRow,
    registration::{Decision, Issued, Registration},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{issuer, web::est::hex};

/// Who gets a token: an identity that is named, or a new one of a profile.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// A customer, technician or registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(default)]
    pub label: String,
    /// The certificate needs no approval later; not for operators.
    #[serde(default)]
    pub pre_approved: bool,
    /// Seconds; a day unless given, a week at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_s: Option<u64>,
}

/// A one-time token: user and secret of HTTP Basic at enrollment. Shown once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MintedToken {
    pub user: String,
    pub secret: String,
    /// Unix milliseconds.
    pub expires_ms: u64,
    pub profile: String,
    /// An operator must approve the request before there is a certificate.
    pub needs_approval: bool,
}

/// An identity to register.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRegistration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(default)]
    pub label: String,
}

/// A decision with its reason.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decide {
    #[serde(default)]
    pub why: String,
    /// SHA-256 of the key that the request is for, in hexadecimal: another one that waits meanwhile is
    /// then not decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_sha256: Option<String>,
}

/// A revocation; reasons are named as in RFC 5280.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Also one that no registration knows.
    #[serde(default)]
    pub unregistered: bool,
}

/// Which identities.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct RegistrationQuery {
    /// Behind this identifier.
    pub(super) after: Option<String>,
    pub(super) limit: Option<usize>,
    /// Only in this state.
    state: Option<String>,
    /// Only with this profile.
    profile: Option<String>,
}

impl RegistrationQuery {
    pub(super) fn fits(&self, row: &IndexRow) -> bool {
        let IndexRow::Registration { state, profile, .. } = row else { return false };
        let label = fieldmesh_pki::profile(issuer::kind(*profile)).label;
        self.state.as_deref().is_none_or(|wanted| wanted == state.name())
            && self.profile.as_deref().is_none_or(|wanted| wanted == label)
    }
}

/// Identities; `next` is the `after` of the following page.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Registrations {
    pub rows: Vec<RegistrationView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An identity with where it stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RegistrationView {
    pub id: String,
    /// The customer or technician whose device it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    pub profile: String,
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Of the certificate in force, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after_s: Option<u64>,
    /// Of the last request that had to be approved, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_ms: Option<u64>,
    /// SHA-256 of the key that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Vec<IssuedView>>,
}

/// A certificate of an identity.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IssuedView {
    pub serial: String,
    pub not_before_s: u64,
    pub not_after_s: u64,
    pub sha256: String,
    /// Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
    /// DER in base64.
    pub certificate: String,
}

impl From<&Issued> for IssuedView {
    fn from(issued: &Issued) -> Self {
        Self {
            serial: hex(&issued.serial),
            not_before_s: issued.not_before,
            not_after_s: issued.not_after,
            sha256: hex(&issued.fingerprint),
            revoked_ms: issued.revoked.map(|revocation| revocation.at.0),
            certificate: STANDARD.encode(&issued.certificate),
        }
    }
}

impl RegistrationView {
    /// None for a row of another kind.
    pub(super) fn of_row(row: &IndexRow) -> Option<Self> {
        let IndexRow::Registration { id, state, profile, device, not_after, asked_at } = row else {
            return None;
        };
        Some(Self {
            id: id.to_string(),
            device: device.map(|device| device.to_string()),
            profile: fieldmesh_pki::profile(issuer::kind(*profile)).label.to_owned(),
            state: state.name().to_owned(),
            label: None,
            not_after_s: *not_after,
            asked_ms: asked_at.map(|at| at.0),
            key_sha256: None,
            decision: None,
            certificates: None,
        })
    }

    /// None for one that is not registered.
    pub(super) fn of(id: EntityId, registration: &Registration) -> Option<Self> {
        let profile = registration.profile?;
        let request = registration.request.as_ref();
        let decision = request.map(|request| match &request.decision {
            Decision::Pending => "pending".to_owned(),
            Decision::Approved(by) => format!("approved by {by}"),
            Decision::Denied { by, why } => format!("denied by {by}: {why}"),
        });
        Some(Self {
            id: id.to_string(),
            device: registration.device.map(|device| device.to_string()),
            profile: fieldmesh_pki::profile(issuer::kind(profile)).label.to_owned(),
            state: registration.standing().name().to_owned(),
            label: Some(registration.label.clone()),
            not_after_s: registration.newest().map(|issued| issued.not_after),
            asked_ms: request.map(|request| request.asked_at.0),
            key_sha256: request.map(|request| hex(&request.public_key_hash)),
            decision,
            certificates: Some(registration.issued.iter().map(IssuedView::from).collect()),
        })
    }
}

/// A certificate by its serial number.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CertificateView {
    pub serial: String,
    pub registration: String,
    pub not_after_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
    /// Absent once it has expired and was forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<IssuedView>,
}

impl CertificateView {
    pub(super) fn of(row: &IndexRow, issued: Option<&Issued>) -> Option<Self> {
        let IndexRow::Certificate { serial, registration, not_after, revoked, .. } = row else {
            return None;
        };
        Some(Self {
            serial: hex(serial),
            registration: registration.to_string(),
            not_after_s: *not_after,
            revoked_ms: revoked.map(|revocation| revocation.at.0),
            issued: issued.map(IssuedView::from),
        })
    }
}
