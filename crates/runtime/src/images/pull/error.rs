//! Why an image cannot be pulled, worded as containerd does: the text becomes the message of `ErrImagePull`.

use std::error::Error;

use knarr_shim::chain;
use oci_client::errors::{OciDistributionError, OciErrorCode};

use crate::images::StoreError;

#[derive(Debug, thiserror::Error)]
#[error("failed to pull and unpack image {reference:?}: {failure}")]
pub struct PullError {
    pub reference: String,
    pub failure: PullFailure,
}

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
    #[error("image configuration: {0}")]
    Config(serde_json::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot set up the registry client: {0}")]
    Client(String),
    #[error("the pull was ended: {0}")]
    Ended(String),
}

impl PullFailure {
    /// Of a request; `what` says which.
    pub fn of(error: &OciDistributionError, reference: &str, what: &str) -> Self {
        let text = chain(error);
        match error {
            OciDistributionError::ImageManifestNotFoundError(_) => {
                Self::NotFound(reference.to_owned())
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => Self::Denied {
                reference: reference.to_owned(),
                text,
            },
            OciDistributionError::ServerError { code: 404, .. } => {
                Self::NotFound(reference.to_owned())
            }
            OciDistributionError::ServerError { code: 403, .. } => Self::Denied {
                reference: reference.to_owned(),
                text,
            },
            OciDistributionError::RegistryError { envelope, .. } => {
                let is = |codes: &[OciErrorCode]| {
                    envelope
                        .errors
                        .iter()
                        .any(|error| codes.contains(&error.code))
                };
                if is(&[
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::NotFound,
                ]) {
                    Self::NotFound(reference.to_owned())
                } else if is(&[OciErrorCode::Denied, OciErrorCode::Unauthorized]) {
                    Self::Denied {
                        reference: reference.to_owned(),
                        text,
                    }
                } else {
                    Self::registry(what, text)
                }
            }
            OciDistributionError::RequestError(_) if timed_out(error) => Self::Timeout {
                what: what.to_owned(),
                text,
            },
            OciDistributionError::UnsupportedMediaTypeError(_)
            | OciDistributionError::UnsupportedSchemaVersionError(_) => Self::Unsupported(text),
            _ => Self::registry(what, text),
        }
    }

    fn registry(what: &str, text: String) -> Self {
        Self::Registry {
            what: what.to_owned(),
            text,
        }
    }
}

/// A time-out is somewhere among the causes.
fn timed_out(error: &dyn Error) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("timed out") {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests;
