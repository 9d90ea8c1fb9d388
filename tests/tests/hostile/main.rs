//! What tenants, pods and registries can try against a cluster: it ends healthy, and nobody else notices.

#![allow(clippy::print_stdout)]

mod log;
mod neighbours;
mod pod;
mod registry;
mod streams;
#[path = "../e2e/support.rs"]
#[allow(dead_code)]
mod support;
mod tenant;
