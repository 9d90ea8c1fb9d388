//! Who answers a PodCertificateRequest must be allowed to sign for its signer.
//!
//! Upstream does this in the strategy of the kind's status; here it is a validating plugin, which sees the same two objects and
//! answers the same.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::certificates::GROUP;
use knarr_auth::request::Authorizer;
use knarr_meta::{
    GroupKind,
    field::{Error, Path, quote},
    object::str_at,
    status::Status,
};

use super::may;
use crate::{
    is,
    request::{AdmissionPlugin, AdmissionRequest, Operation},
};

/// The plugin.
pub struct PodCertificateSigning {
    authorizer: Arc<dyn Authorizer>,
}

impl PodCertificateSigning {
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        PodCertificateSigning { authorizer }
    }
}

#[async_trait]
impl AdmissionPlugin for PodCertificateSigning {
    fn name(&self) -> &'static str {
        "PodCertificateSigning"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is(request, GROUP, "podcertificaterequests")
            && request.subresource == "status"
            && request.operation == Operation::Update
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (request.object.as_deref(), request.old) else {
            return Ok(());
        };
        let signer = str_at(old, &["spec", "signerName"]);
        let same = new.get("status") == old.get("status");
        if same || may(&*self.authorizer, request.user, "sign", signer) {
            return Ok(());
        }
        let why = format!(
            "User {} is not permitted to \"sign\" for signer {}",
            quote(&request.user.name),
            quote(signer)
        );
        let path = Path::new("spec").child("signerName");
        let kind = GroupKind::new(request.kind.group.clone(), request.kind.kind.clone());
        Err(Status::invalid(
            kind,
            request.name,
            vec![Error::forbidden(&path, why)],
        ))
    }
}
