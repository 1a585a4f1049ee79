//! The operator's side of REST v1: one request, one JSON answer.

use std::{path::Path, sync::Arc, time::Duration};

use fieldmesh_actors::seams::Clock as _;
use fieldmesh_device::http::{Request, exchange};
use fieldmesh_pki::{
    TrustStore,
    tls::{self, Credentials, PeerVerifier, client_config},
};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{CliError, Common, configuration};
use crate::{deployment::pem_objects, files, os::SystemClock};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A node as an operator reaches it.
#[derive(Clone)]
pub struct Api {
    pub(crate) server: String,
    pub(crate) devices: String,
    pub(crate) tls: Arc<rustls::ClientConfig>,
}

impl Api {
    /// Finds node and credentials in the data directory.
    pub(crate) fn from_common(common: &Common) -> Result<Self, CliError> {
        let config = configuration(common, &[])?;
        Self::from_dir(&config.node.data_dir)
    }

    pub(crate) fn from_dir(dir: &Path) -> Result<Self, CliError> {
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
        let verifier = PeerVerifier {
            trust: tls::fixed(Arc::new(trust)),
            now: Arc::new(|| SystemClock.now_ms() / 1000),
            revoked: Arc::new(|_, _| false),
            client_may_be_unknown: false,
            lapsed: None,
        };
        let tls = client_config(Arc::new(verifier), Some(&credentials), b"http/1.1").map_err(
            |error| CliError::usage(format!("the operator's key cannot be used: {error}")),
        )?;
        Ok(Self { server: address("https")?, devices: address("devices")?, tls: Arc::new(tls) })
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

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).map_err(CliError::failed)?;
        self.call("PUT", path, &body).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<T, CliError> {
        let headers = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let (mut status, mut answer) = self.exchange(method, path, headers, body).await?;
        for server in elsewhere(status, &answer) {
            let other = Self { server, ..self.clone() };
            // One that is away is no reason to give up: the next may answer.
            if let Ok(answered) = other.exchange(method, path, headers, body).await {
                (status, answer) = answered;
                break;
            }
        }
        if !(200..300).contains(&status) {
            return Err(refusal(method, path, status, &answer));
        }
        serde_json::from_slice(&answer).map_err(|error| {
            CliError::failed(format!("{path}: the answer does not parse: {error}"))
        })
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

fn refusal(method: &str, path: &str, status: u16, answer: &[u8]) -> CliError {
    let problem: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("no detail");
    CliError::refused(format!("{method} {path}: {status} {detail}"))
}

/// Nodes that can answer what one could not (RFC 9110 §15.5.20).
fn elsewhere(status: u16, answer: &[u8]) -> Vec<String> {
    const MISDIRECTED: u16 = 421;
    let problem: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let named = problem["elsewhere"].as_array().filter(|_| status == MISDIRECTED);
    let named = named.into_iter().flatten();
    named.filter_map(|server| server.as_str()).map(str::to_owned).collect()
}
