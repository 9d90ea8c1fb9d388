//! DefaultIngressClass: an Ingress without a class gets the one that is marked as default.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::networking::{CLASS_ANNOTATION, ingress_class};
use knarr_auth::objects::Objects;
use knarr_meta::{object, status::Status};
use serde_json::Value;

use super::{default_class, is, spec};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

const GROUP: &str = "networking.k8s.io";

/// The plugin.
pub struct DefaultIngressClass {
    objects: Arc<dyn Objects>,
}

impl DefaultIngressClass {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        DefaultIngressClass { objects }
    }

    fn default_class(&self) -> Option<String> {
        default_class(
            &self.objects.list(GROUP, "ingressclasses", ""),
            ingress_class::is_default,
        )
    }
}

#[async_trait]
impl AdmissionPlugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is(request, GROUP, "ingresses")
            && request.subresource.is_empty()
            && request.operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(ingress) = request.object.as_deref_mut() else {
            return Ok(());
        };
        let annotated =
            object::at(ingress, &["metadata", "annotations", CLASS_ANNOTATION]).is_some();
        let named = object::at(ingress, &["spec", "ingressClassName"]);
        if annotated || named.is_some_and(|class| !class.is_null()) {
            return Ok(());
        }
        if let Some(class) = self.default_class() {
            spec(ingress)?.insert("ingressClassName".to_owned(), Value::from(class));
        }
        Ok(())
    }
}
