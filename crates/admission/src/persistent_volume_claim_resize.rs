//! PersistentVolumeClaimResize: a claim grows only where its class says that its volumes can.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::core::persistent_volume_claim::{class, requested};
use knarr_auth::objects::Objects;
use knarr_meta::{
    object::{bool_at, str_at},
    status::Status,
};
use serde_json::Value;

use super::{forbidden, is, read};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

/// The plugin.
pub struct PersistentVolumeClaimResize {
    objects: Arc<dyn Objects>,
}

impl PersistentVolumeClaimResize {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        PersistentVolumeClaimResize { objects }
    }

    fn class_allows(&self, new: &Value, old: &Value) -> bool {
        let name = class(new);
        if name.is_empty() || name != class(old) {
            return false;
        }
        let class = read(&*self.objects, "storage.k8s.io", "storageclasses", "", name);
        class.is_some_and(|class| bool_at(&class, &["allowVolumeExpansion"]))
    }
}

#[async_trait]
impl AdmissionPlugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is(request, "", "persistentvolumeclaims")
            && request.subresource.is_empty()
            && request.operation == Operation::Update
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (request.object.as_deref(), request.old) else {
            return Ok(());
        };
        if requested(new) <= requested(old) {
            return Ok(());
        }
        if str_at(old, &["status", "phase"]) != "Bound" {
            let why = "Only bound persistent volume claims can be expanded";
            return Err(forbidden(request, why));
        }
        if !self.class_allows(new, old) {
            let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
            return Err(forbidden(request, why));
        }
        Ok(())
    }
}
