//! CertificateSigning: who writes a certificate, or why there is none, must be allowed to sign for the request's signer.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::certificates::GROUP;
use knarr_auth::request::Authorizer;
use knarr_meta::{
    field::quote,
    object::{list_at, str_at},
    status::Status,
};
use serde_json::Value;

use super::may;
use crate::{
    forbidden, is,
    request::{AdmissionPlugin, AdmissionRequest, Operation},
};

/// The plugin.
pub struct CertificateSigning {
    authorizer: Arc<dyn Authorizer>,
}

impl CertificateSigning {
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        CertificateSigning { authorizer }
    }
}

/// What only a signer writes.
fn signed(object: &Value) -> (&str, &[Value]) {
    (
        str_at(object, &["status", "certificate"]),
        list_at(object, &["status", "conditions"]),
    )
}

#[async_trait]
impl AdmissionPlugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is(request, GROUP, "certificatesigningrequests")
            && request.subresource == "status"
            && request.operation == Operation::Update
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (request.object.as_deref(), request.old) else {
            return Ok(());
        };
        let signer = str_at(old, &["spec", "signerName"]);
        if signed(new) == signed(old) || may(&*self.authorizer, request.user, "sign", signer) {
            return Ok(());
        }
        let why = format!(
            "user not permitted to sign requests with signerName {}",
            quote(signer)
        );
        Err(forbidden(request, why))
    }
}
