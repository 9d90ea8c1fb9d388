//! Kubelets' requests for client certificates are approved for whom a SubjectAccessReview allows it.

use std::sync::Arc;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use knarr_client::{Event, Informer, WorkQueue};
use knarr_x509::Request;
use kube::Api;
use kube::api::PostParams;

use crate::certificates::{
    ACCOUNT, APPROVED, DENIED, KUBELET_CLIENT, check_kubelet_client, has, issued,
};
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;

pub(crate) struct CsrApproving {
    client: kube::Client,
    requests: Informer<CertificateSigningRequest>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(CsrApproving {
        client: context.client(ACCOUNT),
        requests: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.requests.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) && is_open(event.object()) {
            queue.add(Key::of(&**event.object()));
        }
    });
    let informers = vec![synced(&controller.requests)];
    context.start(controller, WORKERS, informers);
}

/// Whether nobody has decided yet about a request that this controller may decide about.
fn is_open(csr: &CertificateSigningRequest) -> bool {
    csr.spec.signer_name == KUBELET_CLIENT
        && !issued(csr)
        && !has(csr, APPROVED)
        && !has(csr, DENIED)
}

/// What the requester must be allowed to create, and what is said where that is so.
type Ground = (&'static str, &'static str);

const SELF: Ground = (
    "selfnodeclient",
    "Auto approving self kubelet client certificate after SubjectAccessReview.",
);
const ANY: Ground = (
    "nodeclient",
    "Auto approving kubelet client certificate after SubjectAccessReview.",
);

/// The grounds on which a request might be approved, in order.
fn grounds(csr: &CertificateSigningRequest, request: &Request) -> Vec<Ground> {
    if !is_open(csr) || check_kubelet_client(csr, request).is_err() {
        return Vec::new();
    }
    let own = csr.spec.username.as_deref() == Some(&request.common_name);
    if own { vec![SELF, ANY] } else { vec![ANY] }
}

/// May the requester create this subresource of requests?
fn review(csr: &CertificateSigningRequest, subresource: &str) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: csr.spec.username.clone(),
            uid: csr.spec.uid.clone(),
            groups: csr.spec.groups.clone(),
            extra: csr.spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                verb: Some("create".to_owned()),
                subresource: Some(subresource.to_owned()),
                version: Some("*".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

fn approve(csr: &CertificateSigningRequest, message: &str) -> CertificateSigningRequest {
    let mut approved = csr.clone();
    let status = approved.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    conditions.push(CertificateSigningRequestCondition {
        type_: APPROVED.to_owned(),
        status: "True".to_owned(),
        reason: Some("AutoApproved".to_owned()),
        message: Some(message.to_owned()),
        ..CertificateSigningRequestCondition::default()
    });
    approved
}

impl Reconciler for CsrApproving {
    const NAME: &'static str = "csrapproving";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(csr) = self.requests.get("", &key.name) else {
            return Ok(());
        };
        let request = Request::from_pem(&csr.spec.request.0)
            .map_err(|error| Error::Other(format!("unable to parse csr: {error}")))?;
        let grounds = grounds(&csr, &request);
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        for (subresource, message) in &grounds {
            let answer = reviews.create(&params, &review(&csr, subresource)).await?;
            if answer.status.is_some_and(|status| status.allowed) {
                let api: Api<CertificateSigningRequest> = Api::all(self.client.clone());
                let approved = approve(&csr, message);
                api.replace_subresource("approval", &key.name, &params, &approved)
                    .await?;
                return Ok(());
            }
        }
        if grounds.is_empty() {
            Ok(())
        } else {
            // Whoever is to be allowed may be so later, which brings no event.
            Err(Error::Again(
                "the request is recognized, but its subject access review was not approved",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::tests::{csr, pem};

    #[test]
    fn kubelets_are_approved_for_themselves_first() {
        let usages = ["digital signature", "client auth"];
        let grounds = |signer: &str, name: &str, usages: &[&str]| {
            let pem = pem(name, "system:nodes", Vec::new());
            let request = Request::from_pem(pem.as_bytes()).expect("a request");
            grounds(&csr(signer, &pem, usages), &request)
        };
        assert_eq!(
            grounds(KUBELET_CLIENT, "system:node:n1", &usages),
            [SELF, ANY]
        );
        assert_eq!(grounds(KUBELET_CLIENT, "system:node:n2", &usages), [ANY]);
        assert_eq!(grounds(KUBELET_CLIENT, "ann", &usages), []);
        assert_eq!(
            grounds(
                "kubernetes.io/kube-apiserver-client",
                "system:node:n1",
                &usages
            ),
            []
        );
        assert_eq!(
            grounds(KUBELET_CLIENT, "system:node:n1", &["server auth"]),
            []
        );
        let pem = pem("system:node:n1", "system:nodes", Vec::new());
        let request = Request::from_pem(pem.as_bytes()).expect("a request");
        let approved = approve(&csr(KUBELET_CLIENT, &pem, &usages), SELF.1);
        assert_eq!(super::grounds(&approved, &request), []);
    }
}
