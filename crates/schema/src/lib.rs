//! Structural schemas: what a CustomResourceDefinition says of its objects, and what follows from it for an object.
//!
//! ```text
//! JSONSchemaProps --check--> errors, in upstream's words      object --prune--> without what the schema does not know
//!        |                                                          --default--> with its defaults
//!        +--Schema::parse--> Schema ------------------------------> --validate--> errors, in upstream's words
//!                              +-----Rules (CEL, crates/cel)------> --rules-----> errors of the definition's own
//!                                                                  --knarr_apply--> merged, and owned by field
//! ```
//!
//! A [`Schema`] is parsed once a definition; an object is walked as the JSON tree it is. Who wrote the schema and who wrote the
//! object are both strangers: the product of their sizes is bounded ([`validate::MAX_STEPS`], [`default::MAX_ADDED_BYTES`]).
//!
//! Rejected: the `jsonschema` crate (other wording, other dialect, unbounded), and rendering a schema into code or a state
//! machine (an object is small, and the walk is a fraction of decoding it).

mod apply;
pub mod check;
pub mod default;
pub mod embedded;
pub mod field_path;
pub mod formats;
pub mod lists;
pub mod prune;
pub mod rules;
mod schema;
mod types;
pub mod validate;

pub use embedded::Metadata;
pub use schema::{
    Additional, Default, ListType, Number, Pattern, Rule, Schema, Unsupported, Values,
};
pub use types::Type;
