//! Object machinery that every layer shares: what upstream keeps in `k8s.io/apimachinery`.
//!
//! Nothing here does I/O or knows a kind. A request's body arrives as a `serde_json::Value`; [`object`] reads the parts
//! every object has, [`object_meta`] validates them, [`field`] collects what is wrong, and [`status`] carries it back to
//! the client in upstream's words. [`labels`], [`fields`] and [`node_selector`] select, [`patch`] changes, [`quantity`] counts, [`names`]
//! checks and makes names, [`prefix`] is ranges of addresses, [`cron`] tells when, [`clock`] what time it is, [`json`] why a text is none.
//!
//! Typed structs for metadata were rejected: the API server must keep what it does not understand, and a tree walked
//! in place costs less than a decode for the few fields that are read.

pub mod clock;
pub mod cron;
pub mod duration;
pub mod field;
pub mod fields;
pub mod host_ports;
pub mod json;
pub mod labels;
pub mod names;
pub mod node_selector;
pub mod object;
pub mod object_meta;
pub mod patch;
pub mod pattern;
pub mod prefix;
pub mod quantity;
pub mod status;
pub mod taints;
pub mod time;
pub mod types;

pub use quantity::Quantity;
pub use status::Status;
pub use types::{GroupKind, GroupResource, Gvk, Gvr};
