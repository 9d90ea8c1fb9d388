//! `/knarr/logs`: the logs that the node retains, of pods that are gone too. Another component has them, and answers here.

use std::fmt;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Body, text};
use crate::context::Shared;

/// Who has the node's logs.
pub trait NodeLogs: fmt::Debug + Send + Sync {
    /// Answers a query, in pieces, until the token is cancelled or the receiver is dropped.
    ///
    /// # Errors
    /// A status, and why, for whoever asks.
    fn answer(
        &self,
        query: &str,
        token: CancellationToken,
    ) -> Result<mpsc::Receiver<Bytes>, (StatusCode, String)>;

    /// Figures in Prometheus' text format, for `/metrics`.
    fn metrics(&self) -> String;
}

/// Lines of JSON.
pub(super) fn serve(ctx: &Shared, query: &str, token: CancellationToken) -> Response<Body> {
    let Some(logs) = &ctx.config.node_logs else {
        let message = "no logs are retained on this node: start it with --log-retention-size and --log-retention-age above 0\n";
        return text(StatusCode::NOT_FOUND, message);
    };
    let mut pieces = match logs.answer(query, token) {
        Ok(pieces) => pieces,
        Err((status, message)) => return text(status, message + "\n"),
    };
    let pieces = futures::stream::poll_fn(move |task| pieces.poll_recv(task));
    let frames = pieces.map(|piece| Ok(Frame::data(piece)));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
