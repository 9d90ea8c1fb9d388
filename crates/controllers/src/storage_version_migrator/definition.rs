//! The definition of a custom resource while its objects are migrated: a condition says so, and afterwards its status names no
//! version that nothing is stored in.

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use knarr_client::errors;
use knarr_client::storagemigration::GroupResource;
use knarr_meta::clock;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::runner::Error;

const STORAGE_MIGRATING: &str = "StorageMigrating";
const MANAGER: &str = "migration-runner-controller";

/// What becomes of the definition.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// This migration begins.
    Begin(&'a str),
    /// One has ended, with success or without.
    End(bool),
}

/// Writes the step into the definition's status, where the resource has one. What the definition was when it was read is a
/// condition of the write: a version that becomes the stored one meanwhile must not be forgotten.
pub(super) async fn mark(
    client: &kube::Client,
    resource: &GroupResource,
    step: Step<'_>,
) -> Result<(), Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = format!("{}.{}", resource.resource, resource.group);
    let Some(definition) = errors::optional(api.get(&name).await)? else {
        return Ok(());
    };
    let tree = serde_json::to_value(&definition).map_err(|e| Error::Other(e.to_string()))?;
    let status = status(&tree, step, clock::now());
    let version = definition.metadata.resource_version;
    let patch = json!({"metadata": {"resourceVersion": version}, "status": status});
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    api.patch_status(&name, &params, &Patch::Merge(&patch))
        .await?;
    Ok(())
}

/// The parts of the status that change.
pub(super) fn status(definition: &Value, step: Step<'_>, now: Timestamp) -> Value {
    let conditions = definition["status"]["conditions"].as_array();
    let mut conditions = conditions.cloned().unwrap_or_default();
    let is_it = |condition: &Value| condition["type"] == STORAGE_MIGRATING;
    let known = conditions.iter().position(is_it);
    let before = known.map(|at| conditions[at].clone()).unwrap_or_default();
    let generation = definition["metadata"]["generation"].clone();
    // What was defined when the migration began is what is defined now.
    let same = !before.is_null() && before["observedGeneration"] == generation;
    let mut changes = json!({});
    let (status, reason, message) = match step {
        Step::Begin(name) => (
            "True",
            "MigrationRunning",
            format!("Migration {name} is running"),
        ),
        Step::End(true) if same => (
            "False",
            "MigrationSucceeded",
            "The migration has succeeded and the stored versions have been updated".to_owned(),
        ),
        Step::End(true) => (
            "False",
            "MigrationSucceeded",
            "The migration has succeeded but the stored versions have not been updated due to a generation mismatch".to_owned(),
        ),
        Step::End(false) => (
            "False",
            "MigrationFailed",
            "The migration has failed".to_owned(),
        ),
    };
    if matches!(step, Step::End(true)) && same {
        let versions = definition["spec"]["versions"].as_array();
        let mut versions = versions.into_iter().flatten();
        if let Some(stored) = versions.find(|version| version["storage"] == true) {
            changes["storedVersions"] = json!([stored["name"]]);
        }
    }
    let since = match before["status"] == status {
        true => before["lastTransitionTime"].clone(),
        false => knarr_meta::time::format_seconds(now).into(),
    };
    let wanted = json!({
        "type": STORAGE_MIGRATING,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
        "observedGeneration": generation,
    });
    match known {
        Some(at) => conditions[at] = wanted,
        None => conditions.push(wanted),
    }
    changes["conditions"] = conditions.into();
    changes
}
