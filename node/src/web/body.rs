//! How long the body of a request may take.
//!
//! The head of a request has a deadline of the server's; a body would have none, and whoever sends a byte a minute
//! would hold a connection for as long as it likes. **Invariant:** a body that is late ends in an error and never in
//! less than was sent. **Not here:** how long a body may be (each route's own limit).

use std::{future::Future, io, pin::Pin, task::Poll, time::Duration};

use actix_web::{
    Error, HttpMessage,
    body::MessageBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{Method, header},
    middleware::Next,
    web::Bytes,
};
use futures_util::{Stream, stream};
use tokio::time::sleep;

/// For any body, and beside that a second for each of so many bytes: as slow as a device at the edge of a mobile
/// network.
const AT_LEAST: Duration = Duration::from_secs(10);
const BYTES_PER_S: u64 = 8 << 10;
/// A body may be announced as long as it likes.
const AT_MOST: Duration = Duration::from_secs(120);

/// Ends a request whose body does not come in time.
pub(super) async fn in_time(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    // What a live stream's reader says goes on for as long as it reads.
    if request.method() != Method::GET {
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let bytes = announced.and_then(|bytes| bytes.to_str().ok()?.parse().ok());
        let payload = within(request.take_payload(), allowed(bytes));
        request.set_payload(Payload::Stream { payload: Box::pin(payload) });
    }
    next.call(request).await
}

fn allowed(bytes: Option<u64>) -> Duration {
    let whole = Duration::from_secs(bytes.unwrap_or(u64::MAX) / BYTES_PER_S);
    AT_LEAST.saturating_add(whole).min(AT_MOST)
}

fn within<S>(mut payload: S, allowed: Duration) -> impl Stream<Item = Result<Bytes, PayloadError>>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let mut late = Box::pin(sleep(allowed));
    stream::poll_fn(move |cx| {
        if late.as_mut().poll(cx).is_ready() {
            let late = io::Error::new(io::ErrorKind::TimedOut, "the body did not come in time");
            return Poll::Ready(Some(Err(PayloadError::Io(late))));
        }
        Pin::new(&mut payload).poll_next(cx)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use futures_util::StreamExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_passed_on_and_then_there_is_an_error() {
        let first: Vec<Result<Bytes, PayloadError>> = vec![Ok(Bytes::from_static(b"half"))];
        let mut payload = within(stream::iter(first).chain(stream::pending()), AT_LEAST);
        assert_eq!(payload.next().await.unwrap().unwrap(), "half");
        let began = tokio::time::Instant::now();
        assert!(payload.next().await.unwrap().is_err());
        assert_eq!(began.elapsed().as_secs(), AT_LEAST.as_secs());
        let whole: Vec<Result<Bytes, PayloadError>> = vec![Ok(Bytes::from_static(b"whole"))];
        let mut payload = within(stream::iter(whole), AT_LEAST);
        assert_eq!(payload.next().await.unwrap().unwrap(), "whole");
        assert!(payload.next().await.is_none());
    }

    #[test]
    fn a_long_body_has_longer_and_none_has_for_ever() {
        assert_eq!(allowed(Some(0)), AT_LEAST);
        assert_eq!(allowed(Some(5 * BYTES_PER_S)), AT_LEAST + Duration::from_secs(5));
        assert_eq!([allowed(None), allowed(Some(u64::MAX))], [AT_MOST; 2]);
    }
}
