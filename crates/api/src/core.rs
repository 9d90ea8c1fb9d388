//! The core group, v1.

pub mod amounts;
pub mod binding;
pub mod component_status;
pub mod config_map;
pub mod endpoints;
pub mod event;
pub mod limit_range;
pub mod namespace;
pub mod node;
mod persistent;
pub mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod;
pub(crate) mod pod_spec;
pub mod pod_template;
pub mod replication_controller;
pub mod resource_quota;
pub mod secret;
pub mod service;
pub mod service_account;
mod volume_sources;

pub use pod_spec::kept::forgive as forgive_kept;

/// All data of a ConfigMap or a Secret together.
const MAX_DATA_SIZE_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests;
