//! What the plugins for `certificates.k8s.io` share: who may act for a signer.

use knarr_api::certificates::GROUP;
use knarr_auth::{
    UserInfo,
    request::{Authorizer, Decision, RequestInfo},
};

mod approval;
mod attest;
mod pod_signing;
mod signing;
mod subject_restriction;
#[cfg(test)]
mod tests;

pub use approval::CertificateApproval;
pub use attest::ClusterTrustBundleAttest;
pub use pod_signing::PodCertificateSigning;
pub use signing::CertificateSigning;
pub use subject_restriction::CertificateSubjectRestriction;

/// Whether the user has this verb on the signer, or on all signers of its domain. Upstream's `IsAuthorizedForSignerName`.
fn may(authorizer: &dyn Authorizer, user: &UserInfo, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    let all = format!("{domain}/*");
    [signer, all.as_str()].into_iter().any(|name| {
        let asked = RequestInfo {
            is_resource: true,
            verb,
            group: GROUP,
            version: "*",
            resource: "signers",
            name,
            ..RequestInfo::default()
        };
        matches!(authorizer.authorize(user, &asked), Decision::Allow { .. })
    })
}
