//! resource.k8s.io/v1: devices that drivers offer, and claims on them.
//!
//! Rules and wording are those of `pkg/apis/resource/validation` and `pkg/registry/resource` of v1.37, for the features that are on
//! there by default: fields of the others are dropped before anything is judged (`schema::disabled`).

mod bounded;
mod claim_spec;
pub mod device_class;
pub mod device_taint_rule;
mod names;
pub mod resource_claim;
pub mod resource_claim_template;
pub mod resource_slice;
mod selectors;
mod taints;
#[cfg(test)]
mod tests;

/// The API group.
pub const GROUP: &str = "resource.k8s.io";
