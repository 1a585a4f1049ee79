//! `/v1/watch`: live changes over WebSocket, one actix actor per subscriber.
//!
//! A subscriber gets each committed list row, and with `?steps=true` each step of the claim. One
//! that reads too slowly is told how much it missed; it never slows the node.
#![allow(unused_qualifications, reason = "the path macro repeats the query's type")]

use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, StreamHandler};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use fieldmesh_domain::IndexRow;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa::{IntoParams, ToSchema};

use super::{Shared, operator::Operator};
use crate::{steps::Step, web::rest::RowView};

const PING_EVERY: Duration = Duration::from_secs(10);
/// Three missed pings end a subscription.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What is watched besides rows.
#[derive(Debug, Deserialize, IntoParams)]
pub struct WatchQuery {
    /// Each step of the claim too.
    #[serde(default)]
    steps: bool,
}

/// What a subscriber is sent, one JSON object per message.
#[derive(Serialize, ToSchema)]
#[schema(as = WatchMessage)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    Row(RowView),
    Step(Step),
    /// So many messages were lost because the subscriber was slow: list again.
    Missed {
        count: u64,
    },
}

/// Live changes over WebSocket (RFC 6455): each message is one JSON object.
#[utoipa::path(
    get, path = "/v1/watch", params(WatchQuery),
    responses(
        (status = 101, description = "Switched to WebSocket: what is sent from then on.", body = Message),
        (status = 400, description = "It is no WebSocket handshake.")
    )
)]
pub async fn watch(
    _operator: Operator,
    query: web::Query<WatchQuery>,
    request: HttpRequest,
    body: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, actix_web::Error> {
    let rows = shared.node.steps.watch_rows();
    let steps = query.steps.then(|| shared.node.steps.watch());
    std::future::ready(ws::start(
        Subscriber { rows: Some(rows), steps, heard: now() },
        &request,
        body,
    ))
    .await
}

#[expect(clippy::disallowed_methods, reason = "actix's worker runs on real time only")]
fn now() -> Instant {
    Instant::now()
}

/// One subscriber.
struct Subscriber {
    rows: Option<Receiver<IndexRow>>,
    steps: Option<Receiver<Step>>,
    heard: Instant,
}

impl Actor for Subscriber {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if let Some(rows) = self.rows.take() {
            context.add_stream(messages(rows, |row| RowView::of(&row).map(Message::Row)));
        }
        if let Some(steps) = self.steps.take() {
            context.add_stream(messages(steps, |step| Some(Message::Step(step))));
        }
        context.run_interval(PING_EVERY, |subscriber, context| {
            if now().duration_since(subscriber.heard) > SILENCE_MAX {
                context.stop();
            }
            context.ping(b"");
        });
    }
}

fn messages<T: Clone + Send + 'static>(
    from: Receiver<T>,
    wrap: impl Fn(T) -> Option<Message> + 'static,
) -> impl futures_util::Stream<Item = Message> {
    futures_util::stream::unfold((from, wrap), |(mut from, wrap)| async move {
        let message = loop {
            match from.recv().await {
                Ok(item) => match wrap(item) {
                    Some(message) => break message,
                    None => continue,
                },
                Err(RecvError::Lagged(count)) => break Message::Missed { count },
                Err(RecvError::Closed) => return None,
            }
        };
        Some((message, (from, wrap)))
    })
}

impl StreamHandler<Message> for Subscriber {
    fn handle(&mut self, message: Message, context: &mut Self::Context) {
        match serde_json::to_string(&message) {
            Ok(text) => context.text(text),
            Err(error) => tracing::error!(%error, "a live message does not encode"),
        }
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Subscriber {
    fn handle(
        &mut self,
        message: Result<ws::Message, ws::ProtocolError>,
        context: &mut Self::Context,
    ) {
        self.heard = now();
        match message {
            Ok(ws::Message::Ping(bytes)) => context.pong(&bytes),
            Ok(ws::Message::Close(_)) | Err(_) => context.stop(),
            // Subscribers have nothing to say.
            Ok(
                ws::Message::Text(_)
                | ws::Message::Binary(_)
                | ws::Message::Continuation(_)
                | ws::Message::Pong(_)
                | ws::Message::Nop,
            ) => {}
        }
    }
}
