//! apps/v1.

pub mod controller_revision;
