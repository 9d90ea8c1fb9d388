//! How a command ended, as the error stream tells it.

use bytes::Bytes;
use serde_json::json;

use crate::Error;

/// How a session ended.
#[derive(Debug)]
pub enum Ending {
    /// An attach's, or an exec's with exit code 0.
    Success,
    /// An exec's.
    Exited { command: Vec<String>, code: i32 },
    /// There was nothing to run or to attach to. The text says what was tried.
    Failed { what: &'static str, error: Error },
}

/// What the client's protocol version can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Version 4 and later: a `metav1.Status`.
    Json,
    /// Earlier: a text, and nothing at all for success.
    Text,
}

impl Ending {
    /// The error stream's content. The wording is that of containerd and of upstream's kubelet.
    pub fn encode(&self, format: Format) -> Option<Bytes> {
        match format {
            Format::Json => Some(self.json().to_string().into()),
            Format::Text => self.message().map(Bytes::from),
        }
    }

    fn message(&self) -> Option<String> {
        match self {
            Self::Success => None,
            Self::Exited { command, code } => Some(format!(
                "command terminated with non-zero exit code: error executing command [{}], exit code {code}",
                command.join(" ")
            )),
            Self::Failed { what, error } => {
                Some(format!("Internal error occurred: {what}: {error}"))
            }
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Success => json!({ "metadata": {}, "status": "Success" }),
            Self::Exited { code, .. } => json!({
                "metadata": {},
                "status": "Failure",
                "message": self.message(),
                "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            }),
            Self::Failed { what, error } => json!({
                "metadata": {},
                "status": "Failure",
                "message": self.message(),
                "reason": "InternalError",
                "details": { "causes": [{ "message": format!("{what}: {error}") }] },
                "code": 500,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
