//! admissionregistration.k8s.io: webhooks and policies that judge the writes of others.

mod bindings;
pub mod expressions;
mod match_conditions;
mod match_resources;
pub mod mutating_admission_policy;
pub mod mutating_admission_policy_binding;
mod policies;
mod rules;
pub mod validating_admission_policy;
pub mod validating_admission_policy_binding;
pub mod webhook_configuration;

const GROUP: &str = "admissionregistration.k8s.io";
/// What becomes of a request that nobody could judge: for webhooks and policies.
const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
