//! `ticket watch`: follows `/v1/watch` over WebSocket.

use std::sync::Arc;

use futures_util::StreamExt;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{client_async, tungstenite::Message};

use super::{CliError, Output, api::Api};

pub(crate) async fn run(
    api: &Api,
    steps: bool,
    limit: Option<u64>,
    output: &Output,
) -> Result<(), CliError> {
    let unreachable = |error: &dyn std::fmt::Display| {
        CliError::unreachable(format!("{} cannot be watched: {error}", api.server))
    };
    let stream = TcpStream::connect(&api.server).await.map_err(|error| unreachable(&error))?;
    let name = ServerName::try_from("localhost").map_err(|error| unreachable(&error))?;
    let stream = TlsConnector::from(Arc::clone(&api.tls))
        .connect(name, stream)
        .await
        .map_err(|error| unreachable(&error))?;
    let url = format!("wss://{}/v1/watch?steps={steps}", api.server);
    let (mut socket, _) = client_async(url, stream).await.map_err(|error| unreachable(&error))?;
    let mut count = 0;
    while limit.is_none_or(|limit| count < limit) {
        let message = match socket.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(_))) | None => break,
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(unreachable(&error)),
        };
        count += 1;
        let value: Value = serde_json::from_str(&message).map_err(|error| unreachable(&error))?;
        show(&value, output);
    }
    output.result(json!({ "messages": count }));
    Ok(())
}

fn show(value: &Value, output: &Output) {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    match value["type"].as_str() {
        Some("row") => output.say(format_args!(
            "{:<30} {:<16} {}",
            text("id"),
            text("state"),
            text("technician")
        )),
        Some("step") => output.say(format_args!(
            "{:<30} {:<16} {} us",
            text("entity"),
            text("act"),
            value["took_us"]
        )),
        _ => output.say(value),
    }
    output.tell(value);
}
