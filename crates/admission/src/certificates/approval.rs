//! CertificateApproval: who approves or denies a request must be allowed to for its signer.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::certificates::GROUP;
use knarr_auth::request::Authorizer;
use knarr_meta::{field::quote, object::str_at, status::Status};

use super::may;
use crate::{
    forbidden, is,
    request::{AdmissionPlugin, AdmissionRequest, Operation},
};

/// The plugin.
pub struct CertificateApproval {
    authorizer: Arc<dyn Authorizer>,
}

impl CertificateApproval {
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        CertificateApproval { authorizer }
    }
}

#[async_trait]
impl AdmissionPlugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is(request, GROUP, "certificatesigningrequests")
            && request.subresource == "approval"
            && request.operation == Operation::Update
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        // The stored signer: a new one is not for who approves to name.
        let signer = request
            .old
            .map_or("", |old| str_at(old, &["spec", "signerName"]));
        if may(&*self.authorizer, request.user, "approve", signer) {
            return Ok(());
        }
        let why = format!(
            "user not permitted to approve requests with signerName {}",
            quote(signer)
        );
        Err(forbidden(request, why))
    }
}
