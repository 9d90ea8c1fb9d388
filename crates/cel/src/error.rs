//! Why an expression has no value.

use crate::{cost::Exceeded, value::Val};

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// In the words of cel-go: `no such key: a`.
    #[error("{0}")]
    Failed(String),
    #[error("operation cancelled: actual cost limit exceeded")]
    Cost,
    /// Nothing is left of what all expressions may use together.
    #[error(
        "validation failed due to running out of cost budget, no further validation rules will be run"
    )]
    Budget,
}

impl From<Exceeded> for Error {
    fn from(exceeded: Exceeded) -> Error {
        match exceeded {
            Exceeded::Cost => Error::Cost,
            Exceeded::Work => Error::Budget,
        }
    }
}

/// Longest message of an error: each variable that uses another one tells its error as well.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

impl Error {
    pub fn failed(message: impl Into<String>) -> Error {
        let mut message = message.into();
        let mut ends = (0..=message.len().min(MAX_MESSAGE_BYTES)).rev();
        let end = ends.find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or_default());
        Error::Failed(message)
    }

    /// Whether evaluation ends with it, whatever `||` says of the other side.
    pub fn is_final(&self) -> bool {
        matches!(self, Error::Cost | Error::Budget)
    }

    pub fn no_such_overload() -> Error {
        Error::failed("no such overload")
    }
}

pub type Evaluated<'a> = Result<Val<'a>, Error>;
