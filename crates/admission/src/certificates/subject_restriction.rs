//! CertificateSubjectRestriction: nobody gets a client certificate that passes every authorization.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_api::certificates::GROUP;
use knarr_auth::authz::MASTERS;
use knarr_meta::{object::str_at, status::Status};
use knarr_x509::Request;

use crate::{
    forbidden, is,
    request::{AdmissionPlugin, AdmissionRequest, Operation},
};

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// The plugin.
pub struct CertificateSubjectRestriction;

#[async_trait]
impl AdmissionPlugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is(request, GROUP, "certificatesigningrequests")
            && request.subresource.is_empty()
            && request.operation == Operation::Create
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(object) = request.object.as_deref() else {
            return Ok(());
        };
        if str_at(object, &["spec", "signerName"]) != CLIENT_SIGNER {
            return Ok(());
        }
        let pem = STANDARD
            .decode(str_at(object, &["spec", "request"]))
            .unwrap_or_default();
        let asked = Request::from_pem(&pem)
            .map_err(|error| forbidden(request, format!("failed to parse CSR: {error}")))?;
        if asked.organizations.iter().any(|group| group == MASTERS) {
            let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
            return Err(forbidden(request, why));
        }
        Ok(())
    }
}
