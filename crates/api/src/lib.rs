//! Every built-in kind: names, defaults, strategy, validation, table columns.
//!
//! The API server has no code for a kind. It finds a [`Kind`] by group, version and resource, and sends every object through
//! the kind's [`Strategy`]: `default` after decoding, `prepare_*` after admission, `validate_*` before encoding, `cells` when a
//! client asks for a Table. All of it works on the JSON tree in place, so that fields this version does not know of
//! survive and small objects cost microseconds; a decode into typed structs for each write was rejected for that reason.
//!
//! One folder a group, one file a kind. Rules and wording are upstream's (`pkg/apis`, `pkg/registry`, `pkg/printers`).

pub mod admissionregistration;
mod alias;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
mod column;
mod conversion;
pub mod coordination;
pub mod core;
mod deletion;
pub mod discovery;
pub mod flowcontrol;
mod json_path;
pub mod kind;
pub mod networking;
pub mod node;
pub mod now;
pub mod openapi;
pub mod policy;
pub mod rbac;
mod registry;
pub mod resource;
pub mod scheduling;
pub mod schema;
pub mod shown;
pub mod storage;
pub mod storagemigration;
pub mod table;
#[cfg(test)]
mod testing;
mod tree;
mod validate;
pub mod verb;
mod warnings;

pub use kind::{Alias, BuiltIn, Kind, Requester, Strategy};
pub use registry::{Kinds, Served, Taken, built_in, built_in_kinds};
