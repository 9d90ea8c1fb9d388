//! storagemigration.k8s.io/v1: what is stored, written anew in today's form.

pub mod storage_version_migration;
