//! Why a webhook gave no answer, in the words of Go's HTTP client and client-go.

use std::fmt;

use http::StatusCode;

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

/// What client-go makes of an answer that is not 2xx.
pub fn of_status(code: StatusCode, body: &[u8]) -> Error {
    let told = String::from_utf8_lossy(&body[..body.len().min(TOLD_BYTES)]);
    let why = match code.as_u16() {
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        403 => "the server does not allow access to the requested resource",
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        406 => "the server was unable to respond with a content type that the client supports",
        415 => "the server was unable to process the content type of the request",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        500.. => {
            let told = told.trim();
            return Error::Answer(format!(
                "an error on the server ({told:?}) has prevented the request from succeeding"
            ));
        }
        code => {
            return Error::Answer(format!(
                "the server responded with the status code {code} but did not return more information"
            ));
        }
    };
    Error::Answer(why.to_owned())
}
