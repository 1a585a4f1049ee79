//! The operator's side of REST v1: one request, one JSON answer.

use std::{path::Path, sync::Arc, time::Duration};

use fieldmesh_actors::seams::Clock as _;
use fieldmesh_device::http::{Request, exchange};
use fieldmesh_domain::EntityId;
use fieldmesh_pki::{
    TrustStore, Usage,
    tls::{self, Credentials, PeerVerifier, client_config},
};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{CliError, Common, Output, configuration};
use crate::{
    deployment::pem_objects, files, issuer::registration_of, os::SystemClock,
    web::whatif::UNDER_WAY,
};

const NOT_FOUND: u16 = 404;
const TIMEOUT: Duration = Duration::from_secs(20);
const JSON: &str = "Content-Type: application/json\r\n";
/// How often and how soon a key is read again that does not fit its certificate: a second in all.
const READ_AGAIN_MAX: u32 = 50;
const READ_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A node as an operator reaches it.
#[derive(Clone)]
pub struct Api {
    pub(crate) server: String,
    pub(crate) devices: String,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    /// Who asks; none where its certificate is not in force.
    pub(crate) operator: Option<EntityId>,
}

impl Api {
    /// Finds node and credentials in the data directory.
    pub(crate) fn from_common(common: &Common) -> Result<Self, CliError> {
        let config = configuration(common, &[])?;
        Self::from_dir(&config.node.data_dir)
    }

    /// A node that renews its operator's certificate writes two files, one after the other: who reads between
    /// them reads again.
    #[expect(clippy::disallowed_methods, reason = "a command has nothing else to do meanwhile")]
    pub(crate) fn from_dir(dir: &Path) -> Result<Self, CliError> {
        let mut again = 0;
        loop {
            match Self::read(dir)? {
                Ok(api) => return Ok(api),
                Err(error) if again >= READ_AGAIN_MAX => {
                    let text = format!("the operator's key cannot be used: {error}");
                    return Err(CliError::usage(text));
                }
                Err(_) => std::thread::sleep(READ_AGAIN_AFTER),
            }
            again += 1;
        }
    }

    /// What is in the directory now; why its key cannot be used.
    fn read(dir: &Path) -> Result<Result<Self, String>, CliError> {
        let read = |name: &str| {
            let path = dir.join(name);
            files::read(&path).map_err(|error| {
                CliError::usage(format!(
                    "{}: {error}; is a node running with this --data-dir?",
                    path.display()
                ))
            })
        };
        let addresses: serde_json::Value = serde_json::from_slice(&read("addresses.json")?)
            .map_err(|error| CliError::usage(format!("addresses.json does not parse: {error}")))?;
        let address = |key: &str| {
            addresses[key]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| CliError::usage(format!("addresses.json names no {key} address")))
        };
        let root = pem_objects(&read("root.pem")?);
        let trust = TrustStore::new(root, Vec::new())
            .map_err(|error| CliError::usage(format!("root.pem: {error}")))?;
        let key = pem_objects(&read("operator.key")?)
            .pop()
            .ok_or_else(|| CliError::usage("operator.key holds no key"))?;
        let credentials =
            Credentials { chain: pem_objects(&read("operator.pem")?), pkcs8: Zeroizing::new(key) };
        let operator = holder(&trust, &credentials);
        let verifier = PeerVerifier {
            trust: tls::fixed(Arc::new(trust)),
            now: Arc::new(|| SystemClock.now_ms() / 1000),
            revoked: Arc::new(|_, _| false),
            client_may_be_unknown: false,
            lapsed: None,
        };
        let (server, devices) = (address("https")?, address("devices")?);
        let tls = client_config(Arc::new(verifier), Some(&credentials), b"http/1.1");
        let api = tls.map(|tls| Self { server, devices, tls: Arc::new(tls), operator });
        Ok(api.map_err(|error| error.to_string()))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.call("GET", path, &[]).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).map_err(CliError::failed)?;
        self.call("POST", path, &body).await
    }

    /// None where the node knows of no such thing: it runs an earlier release.
    pub(crate) async fn post_if_there<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Option<T>, CliError> {
        let body = serde_json::to_vec(body).map_err(CliError::failed)?;
        let (status, answer) = self.answer("POST", path, &body).await?;
        if status == NOT_FOUND { Ok(None) } else { parse("POST", path, status, &answer).map(Some) }
    }

    /// Under an idempotency key, where there is one: the node does once what is asked again.
    pub(crate) async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        key: Option<&str>,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let key = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
        let body = serde_json::to_vec(body).map_err(CliError::failed)?;
        let headers = format!("{JSON}{key}");
        let (status, answer) = self.answer_to("POST", path, &headers, &body).await?;
        parse("POST", path, status, &answer)
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).map_err(CliError::failed)?;
        self.call("PUT", path, &body).await
    }

    /// What came of it, or why it is refused where the problem has one of these titles.
    pub(crate) async fn put_unless<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        titles: &[&str],
    ) -> Result<Result<T, String>, CliError> {
        let body = serde_json::to_vec(body).map_err(CliError::failed)?;
        let (status, answer) = self.answer("PUT", path, &body).await?;
        let problem: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        if problem["title"].as_str().is_some_and(|title| titles.contains(&title)) {
            return Ok(Err(detail(&answer)));
        }
        parse("PUT", path, status, &answer).map(Ok)
    }

    /// What came of what was sent, or why it is refused for what it says itself; an error where the answer is about
    /// something else.
    pub(crate) async fn judged<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Result<T, String>, CliError> {
        const OF_WHAT_WAS_SENT: [u16; 4] = [400, 404, 409, 413];
        let body = serde_json::to_vec(body).map_err(CliError::failed)?;
        let (status, answer) = self.answer(method, path, &body).await?;
        if OF_WHAT_WAS_SENT.contains(&status) {
            return Ok(Err(detail(&answer)));
        }
        parse(method, path, status, &answer).map(Ok)
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.call("DELETE", path, &[]).await
    }

    /// The status of the answer alone, whatever it is.
    pub(crate) async fn post_status(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<u16, CliError> {
        let body = serde_json::to_vec(body).map_err(CliError::failed)?;
        self.answer("POST", path, &body).await.map(|(status, _)| status)
    }

    /// The same, of what is carried out once under its key.
    pub(crate) async fn post_status_once(
        &self,
        path: &str,
        body: &impl Serialize,
        key: &str,
    ) -> Result<u16, CliError> {
        let body = serde_json::to_vec(body).map_err(CliError::failed)?;
        let headers = format!("{JSON}Idempotency-Key: {key}\r\n");
        self.answer_to("POST", path, &headers, &body).await.map(|(status, _)| status)
    }

    /// Asks again as long as the node is under way and says how far.
    pub(super) async fn finish<T: DeserializeOwned>(
        &self,
        path: &str,
        output: &Output,
    ) -> Result<T, CliError> {
        loop {
            let (status, answer) = self.answer("GET", path, &[]).await?;
            let problem: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
            if problem["title"] != UNDER_WAY {
                return parse("GET", path, status, &answer);
            }
            output.say(problem["detail"].as_str().unwrap_or_default());
        }
    }

    /// None where there is no such thing.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, CliError> {
        self.find_as(path, "").await
    }

    /// The same, as these headers say that it is preferred.
    pub(crate) async fn find_as<T: DeserializeOwned>(
        &self,
        path: &str,
        headers: &str,
    ) -> Result<Option<T>, CliError> {
        let (status, answer) = self.answer_to("GET", path, headers, &[]).await?;
        if status == NOT_FOUND { Ok(None) } else { parse("GET", path, status, &answer).map(Some) }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<T, CliError> {
        let (status, answer) = self.answer(method, path, body).await?;
        parse(method, path, status, &answer)
    }

    async fn answer(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), CliError> {
        let headers = if body.is_empty() { "" } else { JSON };
        self.answer_to(method, path, headers, body).await
    }

    /// From this node, or one that it names.
    async fn answer_to(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), CliError> {
        let (mut status, mut answer) = self.exchange(method, path, headers, body).await?;
        for server in elsewhere(status, &answer) {
            let other = Self { server, ..self.clone() };
            // One that is away is no reason to give up: the next may answer.
            if let Ok(answered) = other.exchange(method, path, headers, body).await {
                (status, answer) = answered;
                break;
            }
        }
        Ok((status, answer))
    }

    /// The text of a page without meaning to this program.
    pub(crate) async fn text(&self, path: &str) -> Result<String, CliError> {
        let (_, answer) = self.exchange("GET", path, "", &[]).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// An answer that is not JSON.
    pub(crate) async fn bytes(&self, path: &str) -> Result<Vec<u8>, CliError> {
        let (status, answer) = self.exchange("GET", path, "", &[]).await?;
        if status == 200 { Ok(answer) } else { Err(refusal("GET", path, status, &answer)) }
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), CliError> {
        let request = Request { server: &self.server, method, path, headers, body };
        let unreachable = |why: String| {
            CliError::unreachable(format!("{} cannot be reached: {why}", self.server))
        };
        let answer = tokio::time::timeout(TIMEOUT, exchange(&request, &self.tls)).await;
        answer
            .map_err(|_| unreachable("no answer in time".into()))?
            .map_err(|error| unreachable(error.to_string()))
    }
}

/// Whose credentials they are.
fn holder(trust: &TrustStore, credentials: &Credentials) -> Option<EntityId> {
    let (leaf, rest) = credentials.chain.split_first()?;
    let rest: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();
    let now_s = SystemClock.now_ms() / 1000;
    let certificate = trust.verify(leaf, &rest, Usage::ClientAuth, now_s).ok()?;
    registration_of(&certificate.identity)
}

fn parse<T: DeserializeOwned>(
    method: &str,
    path: &str,
    status: u16,
    answer: &[u8],
) -> Result<T, CliError> {
    if !(200..300).contains(&status) {
        return Err(refusal(method, path, status, answer));
    }
    serde_json::from_slice(answer)
        .map_err(|error| CliError::failed(format!("{path}: the answer does not parse: {error}")))
}

fn refusal(method: &str, path: &str, status: u16, answer: &[u8]) -> CliError {
    CliError::refused(format!("{method} {path}: {status} {}", detail(answer)))
}

fn detail(answer: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    problem["detail"].as_str().unwrap_or("no detail").to_owned()
}

/// Nodes that can answer what one could not (RFC 9110 §15.5.20).
fn elsewhere(status: u16, answer: &[u8]) -> Vec<String> {
    const MISDIRECTED: u16 = 421;
    let problem: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let named = problem["elsewhere"].as_array().filter(|_| status == MISDIRECTED);
    let named = named.into_iter().flatten();
    named.filter_map(|server| server.as_str()).map(str::to_owned).collect()
}
