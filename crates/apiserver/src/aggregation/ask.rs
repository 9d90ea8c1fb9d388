//! Questions to other servers that this one asks of its own accord.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use knarr_webhook::Backend;
use tokio::time::timeout;

use super::identity;

/// An answer gets this long.
pub const TIMEOUT: Duration = Duration::from_secs(5);

pub const PLAIN: &str = "application/json";

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub path: &'a str,
    pub accept: &'static str,
    /// Of the answer that is known; empty where there is none.
    pub etag: &'a str,
    /// Of the answer.
    pub max_bytes: usize,
}

/// An answer whose body is there.
pub struct Reply {
    pub code: StatusCode,
    headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// Empty where there is none, or none that is text.
    pub fn header(&self, name: header::HeaderName) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// Asks a server, as the aggregator, within [`TIMEOUT`].
pub async fn ask(backend: &Backend, question: Question<'_>) -> Result<Reply, String> {
    let Question {
        path,
        accept,
        etag,
        max_bytes,
    } = question;
    let failed = |why: &dyn std::fmt::Display| format!("Get \"{}{path}\": {why}", backend.origin());
    let mut request = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *request.uri_mut() = path.parse().map_err(|error| failed(&error))?;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    if let Ok(etag) = HeaderValue::from_str(etag)
        && !etag.is_empty()
    {
        headers.insert(header::IF_NONE_MATCH, etag);
    }
    identity::tell(headers, &identity::aggregator()).map_err(|status| status.message)?;
    let asked = async {
        let response = backend.send(request, TIMEOUT).await;
        let (head, body) = response.map_err(|error| failed(&error))?.into_parts();
        let body = Limited::new(body, max_bytes).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => failed(&format!("the answer is longer than {max_bytes} bytes")),
            false => failed(&error),
        })?;
        Ok(Reply {
            code: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    };
    timeout(TIMEOUT, asked)
        .await
        .unwrap_or_else(|_| Err(failed(&"context deadline exceeded")))
}
