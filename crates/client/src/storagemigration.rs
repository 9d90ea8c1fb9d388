//! `storagemigration.k8s.io/v1`, which is newer than the types of the workspace's `k8s-openapi`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use k8s_openapi::{ClusterResourceScope, Metadata, Resource};
use serde::{Deserialize, Serialize};

/// A resource whose objects are to be written anew, in the version that is stored today.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageVersionMigration {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: StorageVersionMigrationSpec,
    #[serde(default)]
    pub status: StorageVersionMigrationStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageVersionMigrationSpec {
    pub resource: GroupResource,
}

/// `metav1.GroupResource`; the core group is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupResource {
    pub group: String,
    pub resource: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageVersionMigrationStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What was written later is in today's form already. Empty: not known yet.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

impl StorageVersionMigration {
    pub fn new(metadata: ObjectMeta, resource: GroupResource) -> Self {
        Self {
            api_version: Self::API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            metadata,
            spec: StorageVersionMigrationSpec { resource },
            status: StorageVersionMigrationStatus::default(),
        }
    }
}

impl Resource for StorageVersionMigration {
    const API_VERSION: &'static str = "storagemigration.k8s.io/v1";
    const GROUP: &'static str = "storagemigration.k8s.io";
    const KIND: &'static str = "StorageVersionMigration";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "storageversionmigrations";
    type Scope = ClusterResourceScope;
}

impl Metadata for StorageVersionMigration {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn migrations_have_the_apis_names() {
        let resource = GroupResource {
            group: "a.b".to_owned(),
            resource: "foos".to_owned(),
        };
        let mut migration = StorageVersionMigration::new(ObjectMeta::default(), resource);
        migration.status.resource_version = "5".to_owned();
        let tree = json!({
            "apiVersion": "storagemigration.k8s.io/v1",
            "kind": "StorageVersionMigration",
            "metadata": {},
            "spec": {"resource": {"group": "a.b", "resource": "foos"}},
            "status": {"resourceVersion": "5"},
        });
        assert_eq!(serde_json::to_value(&migration).unwrap(), tree);
        assert_eq!(
            serde_json::from_value::<StorageVersionMigration>(tree).unwrap(),
            migration
        );
    }
}
