//! apiextensions.k8s.io/v1: definitions of custom resources, and the kinds that are made of them.

pub mod custom_resource;
pub mod custom_resource_definition;
