//! DefaultStorageClass: a claim without a class gets the one that is marked as default.

use std::{cmp::Reverse, sync::Arc};

use async_trait::async_trait;
use knarr_api::{core::persistent_volume_claim, storage::storage_class};
use knarr_auth::objects::Objects;
use knarr_meta::{object, status::Status};
use serde_json::Value;

use super::{is, parse, spec};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

/// The plugin.
pub struct DefaultStorageClass {
    objects: Arc<dyn Objects>,
}

impl DefaultStorageClass {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        DefaultStorageClass { objects }
    }

    /// The class marked as default: of several the newest, then the first by name.
    fn default_class(&self) -> Option<String> {
        let classes = self.objects.list("storage.k8s.io", "storageclasses", "");
        let classes = classes.iter().filter_map(parse);
        let newest = classes
            .filter(storage_class::is_default)
            .min_by_key(|class| {
                let created = object::creation_timestamp(class).to_owned();
                (Reverse(created), object::name(class).to_owned())
            })?;
        Some(object::name(&newest).to_owned())
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
