//! Which migration of a resource runs: one at a time, the oldest first.

use std::sync::Arc;

use knarr_client::storagemigration::StorageVersionMigration;

use crate::conditions::is_true;

pub(super) const RUNNING: &str = "Running";
pub(super) const SUCCEEDED: &str = "Succeeded";
pub(super) const FAILED: &str = "Failed";

/// What is next for the migrations of one resource.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// They have ended, and do not say so yet.
    pub ended: Vec<Arc<StorageVersionMigration>>,
    /// The one that is to begin, where none runs.
    pub next: Option<Arc<StorageVersionMigration>>,
    /// Those that run: one, but for those that were marked by others.
    pub running: Vec<Arc<StorageVersionMigration>>,
}

pub(super) fn plan(migrations: Vec<Arc<StorageVersionMigration>>) -> Plan {
    let mut plan = Plan::default();
    let mut waiting = Vec::new();
    for migration in migrations {
        let conditions = &migration.status.conditions;
        let over = is_true(conditions, SUCCEEDED) || is_true(conditions, FAILED);
        match (is_true(conditions, RUNNING), over) {
            (true, true) => plan.ended.push(migration),
            (true, false) => plan.running.push(migration),
            (false, false) => waiting.push(migration),
            (false, true) => {}
        }
    }
    let age = |migration: &Arc<StorageVersionMigration>| {
        let meta = &migration.metadata;
        let created = meta.creation_timestamp.as_ref().map(|time| time.0);
        (created, meta.name.clone())
    };
    plan.running.sort_by_key(age);
    if plan.running.is_empty() {
        plan.next = waiting.into_iter().min_by_key(age);
    }
    plan
}

/// How far a migration is, for its condition.
pub(super) fn message(left: usize, total: usize, error: Option<&str>) -> String {
    let mut text = "The migration is running".to_owned();
    match (left, total) {
        (_, 0) => {}
        (0, total) => text.push_str(&format!(", {total} objects verified migrated")),
        (left, total) => text.push_str(&format!(", {left}/{total} objects not yet migrated")),
    }
    if let Some(error) = error {
        text.push_str(&format!("; transient error: {error}"));
    }
    text
}
