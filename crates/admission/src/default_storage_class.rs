//! DefaultStorageClass: a claim without a class gets the one that is marked as default.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::{core::persistent_volume_claim, storage::storage_class};
use knarr_auth::objects::Objects;
use knarr_meta::status::Status;
use serde_json::Value;

use super::{default_class, is, spec};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

/// The plugin.
pub struct DefaultStorageClass {
    objects: Arc<dyn Objects>,
}

impl DefaultStorageClass {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        DefaultStorageClass { objects }
    }

    fn default_class(&self) -> Option<String> {
        default_class(
            &self.objects.list("storage.k8s.io", "storageclasses", ""),
            storage_class::is_default,
        )
    }
}

#[async_trait]
impl AdmissionPlugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is(request, "", "persistentvolumeclaims")
            && request.subresource.is_empty()
            && request.operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(claim) = request.object.as_deref_mut() else {
            return Ok(());
        };
        if persistent_volume_claim::has_class(claim) {
            return Ok(());
        }
        if let Some(class) = self.default_class() {
            spec(claim)?.insert("storageClassName".to_owned(), Value::from(class));
        }
        Ok(())
    }
}
