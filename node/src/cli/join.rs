//! `join`: this machine becomes a node of a cluster that is there already.
//!
//! First a certificate by a one-time token, then the region's keys by that certificate. **Invariants:** each
//! step that was done is not done again, so the command may be repeated until it succeeds; what an earlier attempt got
//! gives way where it is of no use: for another registration, expired, or not believed any more; what the cluster would
//! refuse is said before the token is spent. **Not here:** what the directory holds (`deployment::join`), who may join
//! (`web::cluster`).

use std::{path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use fieldmesh_device::{
    enroll::{EnrollError, enroll},
    http::{Request, exchange},
};
use fieldmesh_domain::{EntityId, EntityKind};
use fieldmesh_pki::{
    KeyMaterial, TrustStore, Usage,
    tls::{self, Credentials, PeerVerifier, PinnedRoot, client_config},
    token_pin,
};
use minicbor::bytes::ByteVec;
use serde_json::json;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{CliError, Common, Output, configuration, found::found, output::chain, unlock::Unlock};
use crate::{
    config::Config,
    deployment::{Admission, Deployment, HandOver},
    files,
    os::{SystemClock, SystemEntropy},
    server::advertised,
    web::cluster::NewMember,
};
use fieldmesh_actors::seams::Clock as _;

/// The answer to a node that would not be taken (RFC 9110 §15.5.21).
const UNFIT: u16 = 422;
/// The answer to a node whose certificate is not taken (RFC 9110 §15.5.4).
const DISBELIEVED: u16 = 403;
/// Nothing is written for it.
const CHECKED_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    unlock: Unlock,
    /// HTTPS address of any node of this machine's region, as HOST:PORT; for a new region, of any node.
    #[arg(long)]
    server: String,
    /// The user of a token of profile "node": `fieldmesh ca token --profile node`.
    #[arg(long, requires = "token_file", required_unless_present = "issuing")]
    user: Option<String>,
    /// File with the token's secret.
    #[arg(long, requires = "user")]
    token_file: Option<PathBuf>,
    /// For the first node of a new region, made by `fieldmesh init --roots`: the certificate of its
    /// issuing CA, which operators of the cluster introduced.
    #[arg(long, conflicts_with = "user")]
    issuing: Option<PathBuf>,
}

pub(super) fn usage(error: &dyn std::error::Error) -> CliError {
    CliError::usage(chain(error))
}

pub(crate) async fn join(args: &JoinArgs, output: &Output) -> Result<(), CliError> {
    let config = configuration(&args.common, &[])?;
    // What the cluster would refuse is said before a token is spent.
    let member = member(&config)?;
    if let Some(issuing) = &args.issuing {
        return found(config, &args.unlock, issuing, &args.server, &member, output).await;
    }
    let passphrase = args.unlock.secret(false)?;
    let kept = Admission::kept(&config, &passphrase).map_err(|error| usage(&error))?;
    let joining =
        Joining { args, config: &config, passphrase: &passphrase, member: &member, output };
    let (admission, given) = match kept {
        Some(kept) if kept.has_come() => joining.again(kept).await?,
        kept => joining.by_token(kept).await?,
    };
    let (clock, entropy) = (SystemClock, SystemEntropy::default());
    Deployment::join(&config, &passphrase, &admission, &given, &clock, &entropy)
        .map_err(|error| usage(&error))?;
    let dir = config.node.data_dir.display();
    output.say(format_args!("{dir} is node {}: start it with `fieldmesh node`", member.number));
    output.result(json!({
        "data_dir": dir.to_string(),
        "number": member.number,
        "registration": admission.registration.to_string(),
    }));
    Ok(())
}

/// A machine that becomes a node.
struct Joining<'a> {
    args: &'a JoinArgs,
    config: &'a Config,
    passphrase: &'a [u8],
    member: &'a NewMember,
    output: &'a Output,
}

impl Joining<'_> {
    /// By the certificate of an earlier attempt, or another one where that is of no use any more.
    async fn again(&self, kept: Admission) -> Result<(Admission, HandOver), CliError> {
        let why = if let Some(why) = outdated(&kept, self.args.user.as_deref()) {
            why
        } else {
            self.output.say("going on with the certificate of an earlier attempt");
            match self.handed_over(&kept).await {
                Err(NotGiven::Disbelieved(error)) => error.to_string(),
                given => return Ok((kept, given?)),
            }
        };
        self.output.say(format_args!("{why}: asking for another certificate by the token"));
        // For another key: this one may be known to somebody else.
        let Self { args, config, passphrase, member, .. } = *self;
        let admission = match admitted(args, config, passphrase, member, None).await {
            Ok(admission) => admission,
            Err(error) => {
                // The clock there, or here, may be wrong, and the token was spent on the certificate that is there.
                if error.is_refusal() {
                    let kept = kept.keep(config, passphrase, &SystemEntropy::default());
                    kept.map_err(|error| usage(&error))?;
                }
                return Err(error.within(why));
            }
        };
        let given = self.handed_over(&admission).await?;
        Ok((admission, given))
    }

    /// By a certificate that the token is good for.
    async fn by_token(
        &self,
        asked_for: Option<Admission>,
    ) -> Result<(Admission, HandOver), CliError> {
        let Self { args, config, passphrase, member, .. } = *self;
        let admission = admitted(args, config, passphrase, member, asked_for).await?;
        let given = self.handed_over(&admission).await?;
        Ok((admission, given))
    }

    async fn handed_over(&self, admission: &Admission) -> Result<HandOver, NotGiven> {
        self.output.say(format_args!("certificate for {}", admission.registration));
        handed_over(&self.args.server, admission, self.member).await
    }
}

/// Why the certificate of an earlier attempt is of no use.
fn outdated(kept: &Admission, user: Option<&str>) -> Option<String> {
    let id = kept.registration;
    if user.and_then(|user| user.parse::<EntityId>().ok()) != Some(id) {
        return Some(format!("the certificate of an earlier attempt is for {id}"));
    }
    let expired = kept.has_expired(SystemClock.now_ms() / 1000);
    expired.then(|| format!("the certificate of an earlier attempt, for {id}, has expired"))
}

/// Why a node of the cluster gives nothing.
pub(super) enum NotGiven {
    /// The certificate was revoked, has expired by the cluster's clock, or is not on record.
    Disbelieved(CliError),
    Other(CliError),
}

impl From<CliError> for NotGiven {
    fn from(error: CliError) -> Self {
        Self::Other(error)
    }
}

impl From<NotGiven> for CliError {
    fn from(why: NotGiven) -> Self {
        let (NotGiven::Disbelieved(error) | NotGiven::Other(error)) = why;
        error
    }
}

/// What this node is to be, by its configuration.
pub(super) fn member(config: &Config) -> Result<NewMember, CliError> {
    let listen = &config.listen;
    if listen.mesh.port() == 0 && config.advertise.mesh.is_empty() {
        return Err(CliError::usage(
            "listen.mesh has port 0: a node of a cluster needs a port that stays",
        ));
    }
    let [mesh, devices, https] = advertised(config, [listen.mesh, listen.devices, listen.https]);
    Ok(NewMember {
        number: config.node.number,
        cluster: config.cluster.name.clone(),
        region: config.cluster.region.clone(),
        shards: config.node.shards,
        mesh,
        devices,
        https,
    })
}

async fn admitted(
    args: &JoinArgs,
    config: &Config,
    passphrase: &[u8],
    member: &NewMember,
    kept: Option<Admission>,
) -> Result<Admission, CliError> {
    let (Some(user), Some(path)) = (&args.user, &args.token_file) else {
        return Err(CliError::usage("name the token: --user and --token-file"));
    };
    let secret = files::read(path).map(Zeroizing::new);
    let secret = secret.map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
    let secret = Zeroizing::new(String::from_utf8_lossy(&secret).trim().to_owned());
    would_be_taken(&args.server, user, &secret, member).await?;
    let key = key_for(user, config, passphrase, kept)?;
    let clock: fieldmesh_device::Clock = Arc::new(|| SystemClock.now_ms());
    let enrolled = enroll(&args.server, user, &secret, &key, &clock).await;
    let enrolled = enrolled.map_err(|error| match error {
        EnrollError::Reach { .. } | EnrollError::Timeout { .. } => {
            CliError::unreachable(chain(&error))
        }
        error => CliError::refused(chain(&error)),
    })?;
    let roots = [vec![enrolled.root.clone()], enrolled.other_roots.clone()].concat();
    let registration = registration(&roots, &enrolled.chain)?;
    let bytes = |ders: Vec<Vec<u8>>| ders.into_iter().map(ByteVec::from).collect();
    let admission = Admission {
        key: key.pkcs8().to_vec(),
        chain: bytes(enrolled.chain),
        roots: bytes(roots),
        registration,
    };
    let kept = admission.keep(config, passphrase, &SystemEntropy::default());
    kept.map_err(|error| usage(&error))?;
    Ok(admission)
}

/// Asks by the token whether the cluster would take this node. Only a plain no ends it here: all else, and that the
/// server is of a release that does not know the question, is told by enrolling.
async fn would_be_taken(
    server: &str,
    user: &str,
    secret: &str,
    member: &NewMember,
) -> Result<(), CliError> {
    let Some(pin) = token_pin(secret) else { return Ok(()) };
    let verifier = PinnedRoot::new(pin, Arc::new(|| SystemClock.now_ms() / 1000));
    let tls = client_config(Arc::new(verifier), None, b"http/1.1");
    let tls = Arc::new(tls.map_err(CliError::failed)?);
    let basic = Zeroizing::new(STANDARD.encode(format!("{user}:{secret}")));
    let headers = format!("Authorization: Basic {}\r\nContent-Type: application/json\r\n", *basic);
    let headers = Zeroizing::new(headers);
    let body = serde_json::to_vec(member).map_err(CliError::failed)?;
    let path = "/v1/cluster/members/check";
    let request = Request { server, method: "POST", path, headers: &headers, body: &body };
    match timeout(CHECKED_WITHIN, exchange(&request, &tls)).await {
        Ok(Ok((UNFIT, answer))) => {
            let why = String::from_utf8_lossy(&answer);
            Err(CliError::refused(format!("the cluster would refuse: {}", why.trim())))
        }
        _ => Ok(()),
    }
}

/// The key that the token is for, which an earlier attempt may have asked with; it is kept before anybody is asked.
fn key_for(
    user: &str,
    config: &Config,
    passphrase: &[u8],
    kept: Option<Admission>,
) -> Result<KeyMaterial, CliError> {
    let registration: EntityId = user.parse().map_err(|_| {
        CliError::usage(format!("--user {user:?} is no registration: take it from the token"))
    })?;
    if let Some(kept) = kept.filter(|kept| kept.registration == registration) {
        return KeyMaterial::from_pkcs8(&kept.key).map_err(CliError::failed);
    }
    let key = KeyMaterial::generate().map_err(CliError::failed)?;
    let asked_for = Admission::asked_for(registration, &key);
    let kept = asked_for.keep(config, passphrase, &SystemEntropy::default());
    kept.map_err(|error| usage(&error))?;
    Ok(key)
}

/// Whose the certificate is, as its identity says.
fn registration(roots: &[Vec<u8>], chain: &[Vec<u8>]) -> Result<EntityId, CliError> {
    let failed = || CliError::refused("the certificate that came names no node");
    let trust = TrustStore::new(roots.to_vec(), chain.get(1..).unwrap_or_default().to_vec());
    let trust = trust.map_err(|error| usage(&error))?;
    let leaf = chain.first().ok_or_else(failed)?;
    let peer = trust.verify(leaf, &[], Usage::ClientAuth, SystemClock.now_ms() / 1000);
    let peer = peer.map_err(|error| usage(&error))?;
    if peer.identity.kind != fieldmesh_pki::Kind::Node {
        return Err(CliError::usage(
            "the token is not for a node: mint one with `fieldmesh ca token --profile node`",
        ));
    }
    let id = EntityId::from_bytes(peer.identity.id).ok();
    id.filter(|id| id.kind() == EntityKind::Registration).ok_or_else(failed)
}

/// Becomes a member, and gets what a node of the region needs.
async fn handed_over(
    server: &str,
    admission: &Admission,
    member: &NewMember,
) -> Result<HandOver, NotGiven> {
    let ders = |all: &[ByteVec]| all.iter().map(|der| der.to_vec()).collect::<Vec<_>>();
    let credentials =
        Credentials { chain: ders(&admission.chain), pkcs8: Zeroizing::new(admission.key.clone()) };
    let (roots, path) = (ders(&admission.roots), "/v1/cluster/members");
    let answer = posted(server, path, roots, &credentials, member).await?;
    HandOver::decode(&answer).map_err(|error| NotGiven::Other(undecodable(error)))
}

pub(super) fn undecodable(error: minicbor::decode::Error) -> CliError {
    CliError::failed(format!("the answer does not decode: {error}"))
}

/// What a node of the cluster answers to one that shows its certificate and says what it is to be.
pub(super) async fn posted(
    server: &str,
    path: &str,
    roots: Vec<Vec<u8>>,
    credentials: &Credentials,
    member: &NewMember,
) -> Result<Zeroizing<Vec<u8>>, NotGiven> {
    let trust = TrustStore::new(roots, Vec::new());
    let verifier = PeerVerifier {
        trust: tls::fixed(Arc::new(trust.map_err(|error| usage(&error))?)),
        now: Arc::new(|| SystemClock.now_ms() / 1000),
        revoked: Arc::new(|_, _| false),
        client_may_be_unknown: false,
        lapsed: None,
    };
    let tls = client_config(Arc::new(verifier), Some(credentials), b"http/1.1");
    let tls = Arc::new(tls.map_err(CliError::failed)?);
    let body = serde_json::to_vec(member).map_err(CliError::failed)?;
    let headers = "Content-Type: application/json\r\n";
    let request = Request { server, method: "POST", path, headers, body: &body };
    let (status, answer) = exchange(&request, &tls)
        .await
        .map_err(|error| CliError::unreachable(format!("{server} cannot be reached: {error}")))?;
    let answer = Zeroizing::new(answer);
    if status != 200 {
        let problem: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no detail").to_owned();
        let error = CliError::refused(format!("the cluster refused with {status}: {detail}"));
        return Err(match status {
            DISBELIEVED => NotGiven::Disbelieved(error),
            _ => NotGiven::Other(error),
        });
    }
    Ok(answer)
}
