//! What a tenant, a pod and a registry can try against a cluster. Each suite ends with the cluster as it was before.

#![allow(clippy::print_stdout)]

#[path = "../e2e/support.rs"]
#[allow(dead_code)]
mod support;
mod tenant;
