//! Why a webhook gave no answer, in the words of Go's HTTP client and client-go.

use std::fmt;

use http::{HeaderMap, StatusCode, header};
use knarr_meta::{field, object::str_at};
use serde_json::Value;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration names no server that could be asked.
    #[error("could not get REST client: {0}")]
    Config(String),
    /// `url` with the deadline that it is told.
    #[error("failed to call webhook: {method} {url:?}: {why}")]
    Unreachable {
        method: &'static str,
        url: String,
        why: String,
    },
    /// What the server said is no answer.
    #[error("failed to call webhook: {0}")]
    Answer(String),
}

impl Error {
    /// Why, without what was tried: for who says that in words of its own.
    pub fn reason(&self) -> String {
        match self {
            Error::Config(why) | Error::Answer(why) => why.clone(),
            Error::Unreachable { method, url, why } => format!("{method} {url:?}: {why}"),
        }
    }

    pub(crate) fn config(why: impl fmt::Display) -> Error {
        Error::Config(why.to_string())
    }
}

/// Most of an error's body that is told.
const TOLD_BYTES: usize = 2 << 10;

/// What client-go makes of an answer that is not 2xx. Its body is told where it is text, and where it is a Status.
pub fn of_status(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    if let Some(message) = failure(body) {
        return Error::Answer(message);
    }
    let told = match is_text(headers) {
        true => String::from_utf8_lossy(&body[..body.len().min(TOLD_BYTES)]),
        false => "unknown".into(),
    };
    let told = told.trim();
    Error::Answer(match code.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        406 if matches!(told, "" | "unknown") => {
            "the server was unable to respond with a content type that the client supports".to_owned()
        }
        403 | 406 | 415 => told.to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request".to_owned()
        }
        500.. => {
            let told = field::quote(told);
            format!("an error on the server ({told}) has prevented the request from succeeding")
        }
        code => format!(
            "the server responded with the status code {code} but did not return more information"
        ),
    })
}

/// The message of a body that is a Status.
fn failure(body: &[u8]) -> Option<String> {
    let tree: Value = serde_json::from_slice(body).ok()?;
    let text = |field: &str| str_at(&tree, &[field]);
    let is_failure = (text("kind"), text("status")) == ("Status", "Failure")
        && matches!(text("apiVersion"), "" | "v1");
    is_failure.then(|| text("message").to_owned())
}

fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    kind.as_bytes().to_ascii_lowercase().starts_with(b"text/")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn bodies_are_told_where_they_are_text() {
        let told = |code: u16, kind: &'static str, body: &str| {
            let mut headers = HeaderMap::new();
            if !kind.is_empty() {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            let code = StatusCode::from_u16(code).expect("a code");
            of_status(code, &headers, body.as_bytes()).reason()
        };
        let server = |told: &str| {
            format!("an error on the server ({told:?}) has prevented the request from succeeding")
        };
        let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"so"}"#;
        for (code, kind, body, wanted) in [
            (500, "application/json", "boom", server("unknown")),
            (500, "text/plain; charset=utf-8", " boom\n", server("boom")),
            (502, "", "boom", server("boom")),
            (500, "application/json", status, "so".to_owned()),
            (403, "text/plain", "not you", "not you".to_owned()),
            (403, "application/json", "{}", "unknown".to_owned()),
            (409, "", "", "the server reported a conflict".to_owned()),
        ] {
            assert_eq!(told(code, kind, body), wanted, "{code} {kind} {body}");
        }
    }
}
