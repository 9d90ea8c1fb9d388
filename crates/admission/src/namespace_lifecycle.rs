//! NamespaceLifecycle: nothing new is written into a namespace that does not exist or that goes, and the namespaces of the system stay.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use knarr_auth::objects::{Object, Objects};
use knarr_meta::{GroupResource, status::Status};
use serde::Deserialize;

use super::{forbidden, is};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The little of a namespace that every create in it looks at.
#[derive(Deserialize)]
struct Namespace<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    status: NamespaceStatus<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    deletion_timestamp: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct NamespaceStatus<'a> {
    phase: Option<Cow<'a, str>>,
}

fn terminating(namespace: &Object) -> bool {
    serde_json::from_slice::<Namespace<'_>>(&namespace.json).is_ok_and(|namespace| {
        namespace.metadata.deletion_timestamp.is_some()
            || namespace.status.phase.as_deref() == Some("Terminating")
    })
}

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
            // What is left in a namespace that is gone must be let go of: its finalizers are removed by updates.
            Operation::Connect | Operation::Update => false,
            // What a reviewer may learn of a namespace is the review's business.
            Operation::Create => {
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
        let Some(namespace) = self.objects.get("", "namespaces", "", name) else {
            return Err(Status::not_found(
                GroupResource::new("", "namespaces"),
                name,
            ));
        };
        if terminating(&namespace) {
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
