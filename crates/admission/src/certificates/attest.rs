//! ClusterTrustBundleAttest: who says whom to trust in a signer's name must be allowed to.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::certificates::GROUP;
use knarr_auth::request::Authorizer;
use knarr_meta::{field::quote, object::str_at, status::Status};

use super::may;
use crate::{
    forbidden, is, only_gc_fields,
    request::{AdmissionPlugin, AdmissionRequest, Operation},
};

/// The plugin.
pub struct ClusterTrustBundleAttest {
    authorizer: Arc<dyn Authorizer>,
}

impl ClusterTrustBundleAttest {
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        ClusterTrustBundleAttest { authorizer }
    }
}

#[async_trait]
impl AdmissionPlugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is(request, GROUP, "clustertrustbundles")
            && matches!(request.operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(bundle) = request.object.as_deref() else {
            return Ok(());
        };
        // The new signer: validation has refused to change it.
        let signer = str_at(bundle, &["spec", "signerName"]);
        if signer.is_empty() || request.old.is_some_and(|old| only_gc_fields(bundle, old)) {
            return Ok(());
        }
        if may(&*self.authorizer, request.user, "attest", signer) {
            return Ok(());
        }
        let why = format!(
            "user not permitted to attest for signerName {}",
            quote(signer)
        );
        Err(forbidden(request, why))
    }
}
