//! `storage.k8s.io/v1` CSIDriver as the scheduler reads it: with a field that is newer than the types of the workspace's
//! `k8s-openapi`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope, Metadata, Resource};
use serde::{Deserialize, Serialize};

/// What a driver says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CsiDriver {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: CsiDriverSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiDriverSpec {
    /// Its CSIStorageCapacity objects tell where there is room.
    pub storage_capacity: Option<bool>,
    /// Pods with its volumes go to nodes only where it runs.
    pub prevent_pod_scheduling_if_missing: Option<bool>,
}

impl Resource for CsiDriver {
    const API_VERSION: &'static str = "storage.k8s.io/v1";
    const GROUP: &'static str = "storage.k8s.io";
    const KIND: &'static str = "CSIDriver";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "csidrivers";
    type Scope = ClusterResourceScope;
}

impl Metadata for CsiDriver {
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
    fn drivers_are_read_by_the_apis_names() {
        let driver = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "d"},
            "spec": {"attachRequired": true, "storageCapacity": true, "preventPodSchedulingIfMissing": true},
        });
        let driver: CsiDriver = serde_json::from_value(driver).unwrap();
        let wanted = CsiDriverSpec {
            storage_capacity: Some(true),
            prevent_pod_scheduling_if_missing: Some(true),
        };
        assert_eq!(driver.spec, wanted);
    }
}
