//! NamespaceLifecycle: nothing is written into a namespace that does not exist, nothing new into one that goes, and the
//! namespaces of the system stay.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_meta::{GroupResource, object, status::Status};

use super::{forbidden, is, read};
use crate::request::{AdmissionPlugin, AdmissionRequest, Objects, Operation};

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The plugin.
pub struct NamespaceLifecycle {
    objects: Arc<dyn Objects>,
}

impl NamespaceLifecycle {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        NamespaceLifecycle { objects }
    }
}

#[async_trait]
impl AdmissionPlugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        match request.operation {
            Operation::Delete => is(request, "", "namespaces"),
            Operation::Connect => false,
            // What a reviewer may learn of a namespace is the review's business.
            Operation::Create | Operation::Update => {
                !request.namespace.is_empty()
                    && !is(request, "", "namespaces")
                    && !is(request, "authorization.k8s.io", "localsubjectaccessreviews")
            }
        }
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        if request.operation == Operation::Delete {
            if IMMORTAL.contains(&request.name) && request.subresource.is_empty() {
                let namespaces = GroupResource::new("", "namespaces");
                return Err(Status::forbidden(
                    namespaces,
                    request.name,
                    "this namespace may not be deleted",
                ));
            }
            return Ok(());
        }
        let name = request.namespace;
        let Some(namespace) = read(&*self.objects, "", "namespaces", "", name) else {
            return Err(Status::not_found(
                GroupResource::new("", "namespaces"),
                name,
            ));
        };
        let terminating = object::str_at(&namespace, &["status", "phase"]) == "Terminating"
            || object::deletion_timestamp(&namespace).is_some();
        if request.operation == Operation::Create && terminating {
            let why = format!(
                "unable to create new content in namespace {name} because it is being terminated"
            );
            let message = format!("namespace {name} is being terminated");
            return Err(forbidden(request, why).with_cause(
                "NamespaceTerminating",
                message,
                "metadata.namespace",
            ));
        }
        Ok(())
    }
}
