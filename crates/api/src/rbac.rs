//! rbac.authorization.k8s.io/v1. The two kinds of roles are one strategy each for both scopes, as are the two of bindings.

mod binding;
pub mod cluster_role;
pub mod cluster_role_binding;
pub mod role;
pub mod role_binding;
mod rules;

const GROUP: &str = "rbac.authorization.k8s.io";

#[cfg(test)]
mod tests;
