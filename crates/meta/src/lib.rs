//! Object machinery that every layer shares: what upstream keeps in `k8s.io/apimachinery`.
//!
//! Nothing here does I/O or knows a kind. A request's body arrives as a `serde_json::Value`; [`object`] reads the parts
//! every object has, [`object_meta`] validates them, [`field`] collects what is wrong, and [`status`] carries it back to
//! the client in upstream's words. [`labels`] and [`fields`] select, [`patch`] changes, [`quantity`] counts, [`names`] checks and makes names.
//!
//! Typed structs for metadata were rejected: the API server must keep what it does not understand, and a tree walked
//! in place costs less than a decode for the few fields that are read.

pub mod field;
pub mod fields;
pub mod labels;
pub mod names;
pub mod object;
pub mod object_meta;
pub mod patch;
pub mod quantity;
pub mod status;
pub mod time;
pub mod types;

pub use quantity::Quantity;
pub use status::Status;
pub use types::{GroupKind, GroupResource, Gvk, Gvr};
