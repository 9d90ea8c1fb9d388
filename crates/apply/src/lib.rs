//! Server-side apply: who owns which fields, configurations merged into objects, conflicts between owners. What upstream keeps
//! in `structured-merge-diff` and in apimachinery's `managedfields`.
//!
//! Pure: objects are JSON trees, a type is a [`Schema`], another version is a [`Versions`] away. [`FieldManager`] is what the
//! API server calls with every write: it reads the managed fields of an object, lets the [`typed`] walks find what a write
//! changed or what a configuration wants, moves paths between the [`Set`]s of the [`Managers`], and writes them back.
//!
//! Costs: every walk is linear in the values it sees, but for the logarithm of a list's length where its elements are looked up
//! by key; set operations walk both sets once.
//!
//! Rejected: sets of whole paths (a pod's are ten times its size), and typed objects (custom resources have none).

mod conflict;
pub mod element;
mod filter;
mod manager;
mod managers;
pub mod scale;
pub mod schema;
mod set;
pub mod typed;
mod update;
mod value;

pub use conflict::{CAUSE, Conflicts};
pub use element::Element;
pub use filter::{Filter, Step};
pub use manager::{Applier, FieldManager};
pub use managers::{Identity, MAX_UPDATE_MANAGERS, Managers, Operation, Owned};
pub use schema::{Deduced, Opaque, Schema};
pub use set::Set;
pub use update::{Error, Updater, Versions};
pub use value::same;
