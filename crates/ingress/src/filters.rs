//! What a rule changes in requests and answers.

mod cors;
mod headers;
mod location;
mod mirror;

pub use cors::Cors;
pub use headers::HeaderChange;
pub use location::{NOT_IN_PATHS, PathChange, Redirect, Rewrite, Seen};
pub use mirror::Mirror;

/// What is done with the requests of a rule, or of one of its backends.
#[derive(Debug, Default)]
pub struct Filters {
    pub request: HeaderChange,
    pub response: HeaderChange,
    /// Instead of a backend.
    pub redirect: Option<Redirect>,
    pub rewrite: Option<Rewrite>,
    pub mirrors: Vec<Mirror>,
    pub cors: Option<Cors>,
}
