//! StorageObjectInUseProtection: claims and volumes are made with a finalizer that their controller removes once nothing uses
//! them.

use async_trait::async_trait;
use knarr_meta::{object, status::Status};

use super::{is, list};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

/// The plugin.
pub struct StorageObjectInUseProtection;

const FINALIZERS: &[(&str, &str, &str)] = &[
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    (
        "storage.k8s.io",
        "volumeattributesclasses",
        "kubernetes.io/vac-protection",
    ),
];

fn finalizer(request: &AdmissionRequest<'_>) -> Option<&'static str> {
    let mut kinds = FINALIZERS.iter();
    let (_, _, finalizer) = kinds.find(|(group, resource, _)| is(request, group, resource))?;
    Some(finalizer)
}

#[async_trait]
impl AdmissionPlugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        request.subresource.is_empty()
            && request.operation == Operation::Create
            && finalizer(request).is_some()
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(finalizer) = finalizer(request) else {
            return Ok(());
        };
        let Some(object) = request.object.as_deref_mut() else {
            return Ok(());
        };
        if object::finalizers(object).any(|other| other == finalizer) {
            return Ok(());
        }
        if let Some(metadata) = object::metadata_mut(object)
            && let Some(finalizers) = list(metadata, "finalizers")
        {
            finalizers.push(finalizer.into());
        }
        Ok(())
    }
}
