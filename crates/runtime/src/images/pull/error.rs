//! Why an image cannot be pulled, worded as containerd does: the text becomes the message of `ErrImagePull`.
//!
//! Much of it is the registry's. It is cut, and what is not printed is left out, in one place: where it is shown.

use std::error::Error;
use std::fmt;

use knarr_shim::chain;
use reqwest::StatusCode;
use serde::Deserialize;

use crate::images::StoreError;

/// Longest message, bytes.
const MAX_MESSAGE_BYTES: usize = 1024;
/// Errors of one answer that are told.
const MAX_ERRORS: usize = 3;

#[derive(Debug)]
pub struct PullError {
    pub reference: String,
    pub failure: PullFailure,
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reference, failure } = self;
        let text = format!("failed to pull and unpack image {reference:?}: {failure}");
        f.write_str(&plain(&text))
    }
}

impl Error for PullError {}

#[derive(Debug, thiserror::Error)]
pub enum PullFailure {
    #[error("failed to resolve reference {0:?}: {0}: not found")]
    NotFound(String),
    #[error(
        "failed to resolve reference {reference:?}: pull access denied, repository does not exist or may require authorization: {text}"
    )]
    Denied { reference: String, text: String },
    #[error("no match for platform linux/{0} in manifest: not found")]
    Platform(&'static str),
    #[error("{what}: no progress for too long: {text}")]
    Timeout { what: String, text: String },
    #[error("{what}: {text}")]
    Registry { what: String, text: String },
    #[error("unsupported image: {0}")]
    Unsupported(String),
    #[error("image manifest: {0}")]
    Manifest(serde_json::Error),
    #[error("image configuration: {0}")]
    Config(serde_json::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot set up the registry client: {0}")]
    Client(String),
    #[error("{0} images are being pulled")]
    TooMany(usize),
    #[error("{0} images of this registry are being pulled")]
    TooManyOfRegistry(usize),
    #[error("the pull was ended: {0}")]
    Ended(String),
}

/// Why one request had no use.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("unexpected status from GET request to {url}: {status}{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Status {
        url: String,
        status: StatusCode,
        /// By the registry, in the specification's form.
        said: Option<String>,
    },
    #[error("{0}")]
    Late(String),
    #[error("{0}")]
    Other(String),
    #[error("write to the disk: {0}")]
    Disk(std::io::Error),
}

impl RequestError {
    pub fn of(error: reqwest::Error) -> Self {
        // The URL may have secrets in its query.
        let error = error.without_url();
        let text = chain(&error);
        if error.is_timeout() {
            Self::Late(text)
        } else {
            Self::Other(text)
        }
    }

    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Status {
                status: StatusCode::NOT_FOUND,
                ..
            }
        )
    }

    /// `what` says which request.
    pub fn failure(self, reference: &str, what: &str) -> PullFailure {
        let (text, what) = (self.to_string(), what.to_owned());
        match self {
            Self::Status {
                status: StatusCode::NOT_FOUND,
                ..
            } => PullFailure::NotFound(reference.to_owned()),
            Self::Status {
                status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN,
                ..
            } => PullFailure::Denied {
                reference: reference.to_owned(),
                text,
            },
            Self::Late(_) => PullFailure::Timeout { what, text },
            _ => PullFailure::Registry { what, text },
        }
    }
}

#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What the body of a registry's refusal says. Anything but the specification's form is not repeated: it may be of a
/// server that this machine can ask and the registry's owner cannot.
pub fn said(body: &[u8]) -> Option<String> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    let errors = envelope.errors.into_iter().take(MAX_ERRORS);
    let texts: Vec<String> = errors
        .map(
            |Said { code, message }| match (code.as_str(), message.as_str()) {
                (code, "") => code.to_owned(),
                ("", message) => message.to_owned(),
                (code, message) => format!("{code}: {message}"),
            },
        )
        .collect();
    Some(texts.join("; ")).filter(|text| !text.is_empty())
}

/// Printable, and no longer than a message should be.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        if plain.len().saturating_add(c.len_utf8()) > const { MAX_MESSAGE_BYTES - "...".len() } {
            plain.push_str("...");
            break;
        }
        plain.push(if is_printed(c) { c } else { ' ' });
    }
    plain
}

/// Neither a control character nor one that changes the direction of what follows.
fn is_printed(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
