//! Attachments of a ticket, sealed before they leave and opened after they came, over HTTPS.
//!
//! A file goes in sealed pieces under the first free number of its ticket; the key goes with a message, as an
//! [`Enclosure`]. The same file of the same sender is the same upload: one that was interrupted goes on.
//!
//! **Invariants:** nothing leaves that is not sealed; nothing is given out that is not what the message said.
//! **Not here:** the message itself (`client`), sealing (`fieldmesh_pki::object`).

use std::{io, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use fieldmesh_domain::{
    EntityId, Rejection,
    attachment::{ATTACHMENTS_MAX, PIECES_MAX},
    message::Enclosure,
};
use fieldmesh_pki::object::{ObjectError, ObjectKey, upload_of};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::http::{Request, Session};

/// A commit takes milliseconds, an election seconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// Before what there was no time for is asked again, and no more.
const PAUSES: [Option<Duration>; 5] = [
    Some(Duration::from_millis(200)),
    Some(Duration::from_secs(1)),
    Some(Duration::from_secs(3)),
    Some(Duration::from_secs(9)),
    None,
];
/// Nodes that are asked one after the other where one names others.
const NODES_MAX: usize = 4;

/// Why something is not attached or fetched.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("the service cannot be reached: {0}")]
    Network(#[from] io::Error),
    #[error("the service has no time for it now: {0}")]
    Later(String),
    #[error("the service refuses: {0}")]
    Refused(String),
    #[error("the ticket has {ATTACHMENTS_MAX} attachments, and no more")]
    Full,
    #[error("the attachment is not complete: whoever sends it has not finished")]
    Incomplete,
    #[error(transparent)]
    Invalid(#[from] Rejection),
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// A node's HTTPS address, and how to prove oneself there.
pub struct Place<'a> {
    /// `host:port`.
    pub server: &'a str,
    pub tls: &'a Arc<rustls::ClientConfig>,
}

/// A file to attach.
pub struct File<'a> {
    pub name: &'a str,
    pub bytes: &'a [u8],
    /// The sender's own: which upload it is follows from it.
    pub secret: &'a [u8; 32],
}

/// A connection to a node that knows the ticket.
struct Line {
    server: String,
    session: Session,
}

impl Line {
    /// Connects to the place, or to one that it names.
    async fn open(place: &Place<'_>, ticket: EntityId) -> Result<Self, AttachError> {
        let path = format!("/v1/tickets/{ticket}/attachments/0");
        let mut servers = vec![place.server.to_owned()];
        let mut last = None;
        let mut at = 0;
        while let Some(server) = servers.get(at).cloned().filter(|_| at < NODES_MAX) {
            at += 1;
            let opened = async {
                let session = timeout(ANSWERED_WITHIN, Session::connect(&server, place.tls));
                let session = session.await.map_err(|_| io::ErrorKind::TimedOut)??;
                let mut line = Self { server: server.clone(), session };
                let (status, answer) = line.call("GET", &path, &[]).await?;
                Ok::<_, io::Error>((line, status, answer))
            };
            match opened.await {
                Ok((_, 421, answer)) => {
                    let problem: Value = serde_json::from_slice(&answer).unwrap_or_default();
                    let named = problem["elsewhere"].as_array().into_iter().flatten();
                    servers.extend(named.filter_map(Value::as_str).map(str::to_owned));
                    last = Some(refusal(421, &answer));
                }
                Ok((line, 200 | 404, _)) => return Ok(line),
                Ok((_, status, answer)) => return Err(refusal(status, &answer)),
                Err(error) => last = Some(error.into()),
            }
        }
        Err(last.unwrap_or_else(|| AttachError::Refused("no node has the ticket".into())))
    }

    async fn call(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let headers =
            if body.is_empty() { "" } else { "Content-Type: application/octet-stream\r\n" };
        let request = Request { server: &self.server, method, path, headers, body };
        for pause in PAUSES {
            let answered = timeout(ANSWERED_WITHIN, self.session.exchange(&request)).await;
            let (status, answer) = answered.map_err(|_| io::ErrorKind::TimedOut)??;
            // An election, or too many pieces at once.
            match pause {
                Some(pause) if matches!(status, 429 | 503) => sleep(pause).await,
                _ => return Ok((status, answer)),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn refusal(status: u16, answer: &[u8]) -> AttachError {
    let problem: Value = serde_json::from_slice(answer).unwrap_or_default();
    let text = format!("{status} {}", problem["detail"].as_str().unwrap_or("no detail"));
    match status {
        429 | 500.. => AttachError::Later(text),
        _ => AttachError::Refused(text),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Brings a file to a ticket; what goes with a message about it.
///
/// # Errors
/// A file that is too large or without a proper name, and as network and service say; then the same file can be
/// brought again, and goes on.
pub async fn upload(
    place: &Place<'_>,
    ticket: EntityId,
    file: &File<'_>,
) -> Result<Enclosure, AttachError> {
    let File { name, bytes, secret } = file;
    let digest = sha256(bytes);
    let (upload, key) = upload_of(secret, ticket.to_bytes(), &digest);
    let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut enclosure =
        Enclosure { number: 0, name: (*name).to_owned(), bytes: size, digest, key: *key };
    enclosure.check()?;
    let pieces = ObjectKey::new(&key, ticket.to_bytes())?.seal(bytes)?;
    let upload: String = upload.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut line = Line::open(place, ticket).await?;
    let mut next = 0;
    while let Some(piece) = pieces.get(next) {
        let (number, of) = (enclosure.number, pieces.len());
        if number >= ATTACHMENTS_MAX {
            return Err(AttachError::Full);
        }
        let path = format!(
            "/v1/tickets/{ticket}/attachments/{number}/pieces/{next}?upload={upload}&of={of}"
        );
        let (status, answer) = line.call("PUT", &path, piece).await?;
        let said: Value = serde_json::from_slice(&answer).unwrap_or_default();
        match status {
            // Whatever is said, it goes on.
            200 => {
                let count = said["count"].as_u64().and_then(|count| usize::try_from(count).ok());
                next = count.unwrap_or(0).max(next + 1);
            }
            // Somebody else's, or one that was not finished: the next number may be free.
            409 if said["title"] == "taken" && next == 0 => {
                enclosure.number = number.saturating_add(1);
            }
            status => return Err(refusal(status, &answer)),
        }
    }
    Ok(enclosure)
}

/// Fetches what messages said is there, and opens it as the first of them that is right about it says.
///
/// # Errors
/// As network and service say; an object that is not what the message said.
pub async fn fetch<'e>(
    place: &Place<'_>,
    ticket: EntityId,
    enclosures: &'e [Enclosure],
) -> Result<(&'e Enclosure, Zeroizing<Vec<u8>>), AttachError> {
    let number = enclosures.first().ok_or(AttachError::Incomplete)?.number;
    let mut line = Line::open(place, ticket).await?;
    let path = format!("/v1/tickets/{ticket}/attachments/{number}");
    let (status, answer) = line.call("GET", &path, &[]).await?;
    if status != 200 {
        return Err(refusal(status, &answer));
    }
    let found: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let counted = |key: &str| found[key].as_u64().filter(|of| *of <= u64::from(PIECES_MAX));
    let of = counted("of").filter(|of| *of > 0 && counted("count") == Some(*of));
    let mut pieces = Vec::new();
    for index in 0..of.ok_or(AttachError::Incomplete)? {
        let (status, piece) = line.call("GET", &format!("{path}/pieces/{index}"), &[]).await?;
        if status != 200 {
            return Err(refusal(status, &piece));
        }
        pieces.push(piece);
    }
    let mut refused = AttachError::Incomplete;
    for enclosure in enclosures.iter().filter(|enclosure| enclosure.number == number) {
        let key = ObjectKey::new(&enclosure.key, ticket.to_bytes())?;
        match key.open(pieces.clone(), &enclosure.digest) {
            Ok(opened) => return Ok((enclosure, opened)),
            Err(error) => refused = error.into(),
        }
    }
    Err(refused)
}
