//! The authority's desk for operators: identities registered, tokens minted, requests decided,
//! certificates shown and revoked.
//!
//! Every change is a command of the registration, which enters the ledger with it. **Not here:** who
//! may be given what (`domain::registration`), devices' own requests (`est`).
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

pub mod authorities;
pub mod ledger;
mod views;

use actix_web::{HttpResponse, http::StatusCode, web};
use fieldmesh_domain::{
    Command, EntityId, EntityKind, IndexRow,
    authority::Deed,
    customer,
    effect::RowKey,
    message::Location,
    placement::{self, Ca, Phase, Role},
    registration::{self, Approval, Registration, Revocation, Standing, Token},
    time::Millis,
};
use fieldmesh_pki::{Profile, Reason};
use minicbor::bytes::ByteArray;

pub use self::authorities::{AuthoritiesView, IssuingRequest, NewAuthority, TakeStep};
pub use self::ledger::{Covered, LedgerPage, RecordedView};
pub use self::views::{
    CertificateView, Decide, IssuedView, MintedToken, NewRegistration, NewToken, RegistrationQuery,
    RegistrationView, Registrations, Revoke,
};
use super::{
    Shared, est,
    operator::Operator,
    problem::Problem,
    rest::{Created, fresh, latest, rows},
};
use crate::{courier::wire::Wanted, issuer, journal::ShardJournal};

/// A one-time token is good for this long unless asked otherwise, and at most (research: an hour
/// for a person at a desk, a week for a box in the post).
const TOKEN_LIFE_S: u64 = 24 * 3600;
const TOKEN_LIFE_S_MAX: u64 = 7 * 24 * 3600;
/// Rows of a page unless asked otherwise, and at most.
const PAGE_ROWS: usize = 100;
const PAGE_ROWS_MAX: usize = 1000;

pub fn routes(scope: &mut web::ServiceConfig) {
    scope
        .route("/ca/tokens", web::post().to(mint_token))
        .route("/ca/registrations", web::post().to(register))
        .route("/ca/registrations", web::get().to(list))
        .route("/ca/registrations/{id}", web::get().to(show))
        .route("/ca/registrations/{id}/approve", web::post().to(approve))
        .route("/ca/registrations/{id}/deny", web::post().to(deny))
        .route("/ca/registrations/{id}/revoke", web::post().to(revoke))
        .route("/ca/registrations/{id}/ban", web::post().to(ban))
        .route("/ca/registrations/{id}/readmit", web::post().to(readmit))
        .route("/ca/certificates/{serial}", web::get().to(certificate))
        .route("/ca/certificates/{serial}/revoke", web::post().to(revoke_certificate))
        .configure(authorities::routes)
        .route("/ca/ledger", web::get().to(ledger::read))
        .route("/ca/ledger/heads", web::post().to(ledger::sign));
}

fn journal(shared: &Shared) -> Result<ShardJournal, Problem> {
    shared.node.authority().ok_or_else(|| Problem::busy("the authority is not here"))
}

/// The registration that an identifier names: its own, or its customer's or technician's.
fn registration_id(text: &str) -> Result<EntityId, Problem> {
    est::registration_id(text).ok_or_else(|| {
        Problem::invalid("this is not the identifier of a customer, technician or registration")
    })
}

async fn ask(shared: &Shared, id: EntityId, command: registration::Command) -> Result<(), Problem> {
    shared.node.ask(id, Command::Registration(command)).await?;
    Ok(())
}

fn profile_of(label: &str) -> Result<&'static Profile, Problem> {
    let known =
        Profile::by_label(label).filter(|profile| issuer::registered(profile.kind).is_some());
    known.ok_or_else(|| {
        Problem::invalid(format_args!(
            "{label:?} is not a profile: customer-device, technician-device, operator, node or gateway"
        ))
    })
}

/// Registers an identity for a profile; for a device, its owner too, where it is new.
async fn registered(
    shared: &Shared,
    id: Option<&str>,
    profile: Option<&str>,
    label: &str,
    by: &str,
) -> Result<(EntityId, &'static Profile), Problem> {
    let wanted = profile.map(profile_of).transpose()?;
    let named = id.map(|text| Ok::<_, Problem>((text, registration_id(text)?))).transpose()?;
    let (device, id, kind) = match named {
        Some((text, id)) => {
            let device: Option<EntityId> = text.parse().ok().filter(|named| *named != id);
            let kind = match device.map(EntityId::kind) {
                Some(EntityKind::Customer) => fieldmesh_pki::Kind::Customer,
                Some(_) => fieldmesh_pki::Kind::Technician,
                None => return existing(shared, id, wanted),
            };
            (device, id, kind)
        }
        None => fresh_identity(shared, wanted, label).await?,
    };
    if let Some(wanted) = wanted.filter(|wanted| wanted.kind != kind) {
        let text = format_args!("the identifier is not a {}'s", wanted.label);
        return Err(Problem::invalid(text));
    }
    if let Some(device) = device {
        is_there(shared, device).await?;
    }
    let profile = fieldmesh_pki::profile(kind);
    let registered = issuer::registered(kind).ok_or_else(|| Problem::missing("such profile"))?;
    let (label, by) = (label.to_owned(), by.to_owned());
    let command = registration::Command::Register { profile: registered, device, label, by };
    ask(shared, id, command).await?;
    Ok((id, profile))
}

/// A registration by its own identifier must exist: what would it be for otherwise?
fn existing(
    shared: &Shared,
    id: EntityId,
    wanted: Option<&'static Profile>,
) -> Result<(EntityId, &'static Profile), Problem> {
    let registration = state(shared, id)?;
    let kind = registration.profile.map(issuer::kind);
    let kind = kind.ok_or_else(|| Problem::missing("such registration"))?;
    if wanted.is_some_and(|wanted| wanted.kind != kind) {
        return Err(Problem::invalid("the identity is registered for another profile"));
    }
    Ok((id, fieldmesh_pki::profile(kind)))
}

/// A new identity; the owner of a customer's device is registered with it. A technician is not: it
/// would have no skills.
async fn fresh_identity(
    shared: &Shared,
    wanted: Option<&'static Profile>,
    label: &str,
) -> Result<(Option<EntityId>, EntityId, fieldmesh_pki::Kind), Problem> {
    use fieldmesh_pki::Kind;
    let wanted = wanted.ok_or_else(|| Problem::invalid("give an id, a profile, or both"))?;
    match wanted.kind {
        Kind::Customer => {
            let device = fresh(shared, EntityKind::Customer)?;
            let name = if label.is_empty() { device.to_string() } else { label.to_owned() };
            let (location, tier) = (Location::default(), 2);
            let command = customer::Command::Register { name, location, tier, zone: None };
            shared.node.ask(device, Command::Customer(command)).await?;
            Ok((Some(device), EntityId::registration_of(device), wanted.kind))
        }
        Kind::Technician => Err(Problem::invalid(
            "a technician's device needs the technician's id: import the technician first",
        )),
        kind => Ok((None, fresh(shared, EntityKind::Registration)?, kind)),
    }
}

async fn is_there(shared: &Shared, device: EntityId) -> Result<(), Problem> {
    let missing = || Problem::missing("such customer or technician");
    let shard = shared.node.known.group_of(device).ok_or_else(missing)?;
    let kind = device.kind() as u8;
    let found = rows(shared, Wanted { shard, kind, from: Some(device), limit: 1 }).await?;
    let is_it = found.first().is_some_and(|row| row.id() == device);
    if is_it { Ok(()) } else { Err(missing()) }
}

fn state(shared: &Shared, id: EntityId) -> Result<Registration, Problem> {
    Ok(journal(shared)?.state::<Registration>(id)?)
}

/// Registers an identity without a token.
#[utoipa::path(post, path = "/v1/ca/registrations", request_body = NewRegistration, responses((status = 201, body = Created)))]
pub async fn register(
    operator: Operator,
    body: web::Json<NewRegistration>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let NewRegistration { id, profile, label } = body.into_inner();
    let (id, _) =
        registered(&shared, id.as_deref(), profile.as_deref(), &label, &operator.name).await?;
    Ok(HttpResponse::Created().json(Created { id: user(&shared, id)? }))
}

/// What the holder is called as the user of a token.
fn user(shared: &Shared, id: EntityId) -> Result<String, Problem> {
    Ok(state(shared, id)?.device.unwrap_or(id).to_string())
}

/// Mints a one-time token; registers the identity where it is new.
#[utoipa::path(post, path = "/v1/ca/tokens", request_body = NewToken, responses((status = 201, body = MintedToken)))]
pub async fn mint_token(
    operator: Operator,
    body: web::Json<NewToken>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let NewToken { id, profile, label, pre_approved, valid_s } = body.into_inner();
    let life_s = valid_s.unwrap_or(TOKEN_LIFE_S);
    if !(1..=TOKEN_LIFE_S_MAX).contains(&life_s) {
        return Err(Problem::invalid("a token is valid for one second to seven days"));
    }
    let (id, profile) =
        registered(&shared, id.as_deref(), profile.as_deref(), &label, &operator.name).await?;
    let approval = approval(&shared, &operator, profile, pre_approved)?;
    let mut random = [0; 32];
    shared.node.entropy.fill(&mut random);
    let user = user(&shared, id)?;
    let token = fieldmesh_pki::mint(&user, random, shared.issuer.root_pin());
    let expires_ms = shared.node.clock.now_ms() + life_s * 1000;
    let invited = Token {
        hash: fieldmesh_pki::token_hash(&token.secret),
        expires: Millis(expires_ms),
        by: operator.name,
        approval,
    };
    ask(&shared, id, registration::Command::Invite(invited)).await?;
    let minted = MintedToken {
        user: token.user,
        secret: token.secret.to_string(),
        expires_ms,
        profile: profile.label.to_owned(),
        needs_approval: approval != Approval::None,
    };
    Ok(HttpResponse::Created().json(minted))
}

/// Who must agree to a certificate for a token.
fn approval(
    shared: &Shared,
    operator: &Operator,
    profile: &Profile,
    pre_approved: bool,
) -> Result<Approval, Problem> {
    use fieldmesh_pki::Approval as Rule;
    Ok(match profile.needs_approval {
        // Where there is no other operator, there is no second person to ask.
        Rule::TwoPersons if has_other(shared, operator.id)? => Approval::SecondPerson,
        Rule::FirstEnrollment | Rule::EachEnrollment if !pre_approved => Approval::One,
        _ => Approval::None,
    })
}

/// Whether another operator has a certificate in force.
fn has_other(shared: &Shared, own: EntityId) -> Result<bool, Problem> {
    let now_s = shared.node.clock.now_ms() / 1000;
    let is_operator = |row: &IndexRow| {
        matches!(row, IndexRow::Registration { id, state: Standing::Active, profile, not_after, .. }
            if *profile == registration::Profile::Operator
                && *id != own
                && not_after.is_some_and(|not_after| not_after > now_s))
    };
    Ok(!scan(shared, None, 1, is_operator)?.is_empty())
}

/// Registration rows that fit, behind an identifier.
fn scan(
    shared: &Shared,
    mut after: Option<EntityId>,
    limit: usize,
    fits: impl Fn(&IndexRow) -> bool,
) -> Result<Vec<IndexRow>, Problem> {
    let journal = journal(shared)?;
    let mut found = Vec::new();
    loop {
        let page = journal.index(EntityKind::Registration, after, PAGE_ROWS_MAX)?;
        let (last, is_last) = (page.last().map(IndexRow::id), page.len() < PAGE_ROWS_MAX);
        found.extend(page.into_iter().filter(&fits).take(limit - found.len()));
        if is_last || found.len() == limit {
            return Ok(found);
        }
        after = last;
    }
}

/// Lists identities with where they stand.
#[utoipa::path(get, path = "/v1/ca/registrations", params(RegistrationQuery), responses((status = 200, body = Registrations)))]
pub async fn list(
    _operator: Operator,
    query: web::Query<RegistrationQuery>,
    shared: web::Data<Shared>,
) -> Result<web::Json<Registrations>, Problem> {
    let after = query.after.as_deref().map(registration_id).transpose()?;
    let limit = query.limit.unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS_MAX);
    latest(&shared, shared.node.known.own().authority(), "or this one again").await?;
    let rows = scan(&shared, after, limit, |row| query.fits(row))?;
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.id().to_string());
    let rows = rows.iter().filter_map(RegistrationView::of_row).collect();
    Ok(web::Json(Registrations { rows, next }))
}

/// Shows an identity with its certificates.
#[utoipa::path(get, path = "/v1/ca/registrations/{id}", responses((status = 200, body = RegistrationView)))]
pub async fn show(
    _operator: Operator,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<web::Json<RegistrationView>, Problem> {
    latest(&shared, shared.node.known.own().authority(), "or this one again").await?;
    view(&shared, &id)
}

fn view(shared: &Shared, id: &str) -> Result<web::Json<RegistrationView>, Problem> {
    let id = registration_id(id)?;
    let registration = state(shared, id)?;
    RegistrationView::of(id, &registration)
        .map(web::Json)
        .ok_or_else(|| Problem::missing("such registration"))
}

/// The hash that an operator named.
fn key(text: Option<&str>) -> Result<Option<ByteArray<32>>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let bad = || Problem::invalid("key_sha256 is 64 hexadecimal digits");
    if text.len() != 64 || !text.is_ascii() {
        return Err(bad());
    }
    let mut hash = [0; 32];
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad())?;
    }
    Ok(Some(hash.into()))
}

/// Approves the request that waits.
#[utoipa::path(post, path = "/v1/ca/registrations/{id}/approve", responses((status = 200, body = RegistrationView)))]
pub async fn approve(
    operator: Operator,
    id: web::Path<String>,
    body: Option<web::Json<Decide>>,
    shared: web::Data<Shared>,
) -> Result<web::Json<RegistrationView>, Problem> {
    let key = key(body.and_then(|body| body.into_inner().key_sha256).as_deref())?;
    let command = registration::Command::Approve { by: operator.name, key };
    ask(&shared, registration_id(&id)?, command).await?;
    view(&shared, &id)
}

/// Denies the request that waits; its holder is told why.
#[utoipa::path(post, path = "/v1/ca/registrations/{id}/deny", request_body = Decide, responses((status = 200, body = RegistrationView)))]
pub async fn deny(
    operator: Operator,
    id: web::Path<String>,
    body: web::Json<Decide>,
    shared: web::Data<Shared>,
) -> Result<web::Json<RegistrationView>, Problem> {
    let Decide { why, key_sha256 } = body.into_inner();
    let key = key(key_sha256.as_deref())?;
    let command = registration::Command::Deny { by: operator.name, why, key };
    ask(&shared, registration_id(&id)?, command).await?;
    view(&shared, &id)
}

/// Waits until what is revoked is believed by nobody.
async fn applied(shared: &Shared, id: &str) -> Result<(), Problem> {
    for issued in state(shared, registration_id(id)?)?.issued {
        if issued.revoked.is_some() {
            shared.node.trust.until_revoked(&issued.issuer, &issued.serial).await;
        }
    }
    Ok(())
}

fn reason(text: Option<&str>) -> Result<Reason, Problem> {
    text.map_or(Ok(Reason::Unspecified), str::parse).map_err(Problem::invalid)
}

/// Revokes all certificates of an identity, which may enroll again with a new token.
#[utoipa::path(post, path = "/v1/ca/registrations/{id}/revoke", request_body = Revoke, responses((status = 200, body = RegistrationView)))]
pub async fn revoke(
    operator: Operator,
    id: web::Path<String>,
    body: web::Json<Revoke>,
    shared: web::Data<Shared>,
) -> Result<web::Json<RegistrationView>, Problem> {
    let reason = reason(body.reason.as_deref())?.number();
    let command = registration::Command::Revoke { serial: None, reason, by: operator.name };
    ask(&shared, registration_id(&id)?, command).await?;
    applied(&shared, &id).await?;
    view(&shared, &id)
}

/// Bans an identity: its certificates are revoked, and it gets no other until it is re-admitted.
#[utoipa::path(post, path = "/v1/ca/registrations/{id}/ban", request_body = Decide, responses((status = 200, body = RegistrationView)))]
pub async fn ban(
    operator: Operator,
    id: web::Path<String>,
    body: web::Json<Decide>,
    shared: web::Data<Shared>,
) -> Result<web::Json<RegistrationView>, Problem> {
    let command = registration::Command::Ban { why: body.into_inner().why, by: operator.name };
    ask(&shared, registration_id(&id)?, command).await?;
    applied(&shared, &id).await?;
    view(&shared, &id)
}

/// Lets a banned identity have tokens again.
#[utoipa::path(post, path = "/v1/ca/registrations/{id}/readmit", responses((status = 200, body = RegistrationView)))]
pub async fn readmit(
    operator: Operator,
    id: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<web::Json<RegistrationView>, Problem> {
    let command = registration::Command::Readmit { by: operator.name };
    ask(&shared, registration_id(&id)?, command).await?;
    view(&shared, &id)
}

fn serial(text: &str) -> Result<[u8; 16], Problem> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let number = u128::from_str_radix(&digits, 16);
    number
        .map(u128::to_be_bytes)
        .map_err(|_| Problem::invalid("a serial number is up to 32 hexadecimal digits"))
}

fn certificate_row(shared: &Shared, serial: &[u8; 16]) -> Result<Option<IndexRow>, Problem> {
    let before = RowKey::certificate(serial, &[0; 32]);
    let rows = journal(shared)?.rows(RowKey::CERTIFICATE, Some(&before), 1)?;
    let is_it = |row: &IndexRow| matches!(row, IndexRow::Certificate { serial: found, .. } if found == serial);
    Ok(rows.into_iter().find(is_it))
}

/// Shows a certificate by its serial number.
#[utoipa::path(get, path = "/v1/ca/certificates/{serial}", responses((status = 200, body = CertificateView)))]
pub async fn certificate(
    _operator: Operator,
    text: web::Path<String>,
    shared: web::Data<Shared>,
) -> Result<web::Json<CertificateView>, Problem> {
    let found = || {
        let serial = serial(&text)?;
        let row = certificate_row(&shared, &serial)?;
        let row = row.ok_or_else(|| Problem::missing("such certificate"))?;
        let registration = state(&shared, row.id())?;
        let issued = registration.by_serial(&serial);
        let view = CertificateView::of(&row, issued);
        view.map(web::Json).ok_or_else(|| Problem::missing("such certificate"))
    };
    std::future::ready(found()).await
}

/// Which of the issuing CAs that are believed signed it is not known: it is revoked as any one's.
async fn revoke_unregistered(
    shared: &Shared,
    serial: [u8; 16],
    reason: u8,
    by: &str,
) -> Result<(), Problem> {
    let known = shared.node.trust.authorities();
    let issues = |ca: &&Ca| ca.role == Role::Issuing && ca.phase != Phase::Removed;
    for Ca { name: issuer, not_after, .. } in known.iter().filter(issues) {
        let at = Millis(shared.node.clock.now_ms());
        let command = placement::Command::Revoke {
            issuer: *issuer,
            serial,
            // It may say of itself what it wants: no longer than its issuer's end.
            not_after: *not_after,
            revocation: Revocation { at, reason, banned: false },
        };
        shared.node.ask(EntityId::placement(), Command::Placement(command)).await?;
        let deed = Deed::Revoked { issuer: *issuer, serial, reason };
        shared.node.note(by.to_owned(), deed).await?;
    }
    Ok(())
}

/// Revokes one certificate. One that no registration knows, as a node makes them for itself, is
/// revoked by the issuer and serial number alone.
#[utoipa::path(post, path = "/v1/ca/certificates/{serial}/revoke", request_body = Revoke, responses((status = 200)))]
pub async fn revoke_certificate(
    operator: Operator,
    text: web::Path<String>,
    body: web::Json<Revoke>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let serial = serial(&text)?;
    let reason = reason(body.reason.as_deref())?.number();
    let mut is_told = true;
    match certificate_row(&shared, &serial)? {
        Some(row) => {
            let (of, by) = (Some(serial), operator.name);
            let command = registration::Command::Revoke { serial: of, reason, by };
            ask(&shared, row.id(), command).await?;
            if let IndexRow::Certificate { issuer, not_after, revoked: Some(revocation), .. } = row
            {
                // The cluster was told then, and may have forgotten it since, with a region that was lost. Where nobody leads
                // its record, as in a region that is cut off, the certificate is revoked here all the same.
                let again = placement::Command::Revoke { issuer, serial, not_after, revocation };
                let told = shared.node.ask(EntityId::placement(), Command::Placement(again)).await;
                is_told = told.is_ok();
            }
            applied(&shared, &row.id().to_string()).await?;
        }
        None if !body.unregistered => {
            let text =
                "certificate in the register; with \"unregistered\" it is revoked all the same";
            return Err(Problem::missing(text));
        }
        None => {
            revoke_unregistered(&shared, serial, reason, &operator.name).await?;
        }
    }
    Ok(HttpResponse::build(StatusCode::OK)
        .json(serde_json::json!({ "revoked": est::hex(&serial), "told": is_told })))
}
