//! The group of API aggregation: which group-versions there are, and who serves them.

pub mod api_service;
pub mod priorities;

/// The group. It is always served here, whatever APIServices say.
pub const GROUP: &str = "apiregistration.k8s.io";
