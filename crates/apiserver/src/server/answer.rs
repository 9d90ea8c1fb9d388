//! What answers have whoever gives them.

use http::{HeaderValue, Response, header};
use http_body::Body as _;

use crate::body::Body;

/// The answer to a HEAD: what a GET would be answered, but for the body, whose frames would be a breach of HTTP/2.
pub fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(size) = body.size_hint().exact()
        && !parts.headers.contains_key(header::CONTENT_LENGTH)
    {
        parts.headers.insert(header::CONTENT_LENGTH, size.into());
    }
    Response::from_parts(parts, Body::empty())
}

/// A UUID that only has to be unique, not secret.
pub fn new_audit_id() -> HeaderValue {
    let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
    let mut buffer = [0u8; uuid::fmt::Hyphenated::LENGTH];
    let text = id.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
