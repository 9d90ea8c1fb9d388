//! Kubelets' requests for client certificates are approved for whom a SubjectAccessReview allows it, where the node's name is nobody
//! else's ([`node_names`]); those for their servers where what they are called is theirs ([`serving`]).

mod node_names;
mod serving;

use std::sync::Arc;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_auth::cluster_info::NAME_TAKEN;
use knarr_client::{Event, Informer, WorkQueue};
use knarr_x509::Request;
use kube::Api;
use kube::api::PostParams;

use crate::certificates::{
    ACCOUNT, APPROVED, DENIED, KUBELET_CLIENT, KUBELET_SERVING, check_kubelet_client, has, issued,
};
use crate::runner::{Context, Error, Key, Reconciler, synced};
use node_names::Names;
use serving::{Reserved, Verdict};

const WORKERS: usize = 1;

pub(crate) struct CsrApproving {
    client: kube::Client,
    requests: Informer<CertificateSigningRequest>,
    nodes: Informer<Node>,
    /// Of them the one that names the API servers.
    slices: Informer<EndpointSlice>,
    names: Arc<Names>,
    reserved: Reserved,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(CsrApproving {
        client: context.client(ACCOUNT),
        requests: context.informers.informer(),
        nodes: context.informers.informer(),
        slices: context.informers.informer(),
        names: Arc::default(),
        reserved: Reserved {
            names: context.config.server_names.clone(),
            ranges: [
                context.config.cluster_cidrs.clone(),
                context.config.service_cidrs.clone(),
            ]
            .concat(),
        },
        queue: WorkQueue::new(),
    });
    let (queue, names) = (controller.queue.clone(), controller.names.clone());
    controller.requests.on_event(move |event| {
        if matches!(event, Event::Deleted(_)) {
            return;
        }
        let csr = event.object();
        names.see(csr);
        if is_open(csr) {
            queue.add(Key::of(&**csr));
        }
    });
    let names = controller.names.clone();
    controller.nodes.on_event(move |event| {
        if let Event::Deleted(node) = event {
            names.release(node.metadata.name.as_deref().unwrap_or_default());
        }
    });
    let informers = vec![
        synced(&controller.requests),
        synced(&controller.nodes),
        synced(&controller.slices),
    ];
    context.start(controller, WORKERS, informers);
}

/// Whether nobody has decided yet about a request that this controller may decide about.
fn is_open(csr: &CertificateSigningRequest) -> bool {
    [KUBELET_CLIENT, KUBELET_SERVING].contains(&csr.spec.signer_name.as_str())
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

/// The request with a decision.
fn decided(
    csr: &CertificateSigningRequest,
    type_: &str,
    reason: &str,
    message: &str,
) -> CertificateSigningRequest {
    let mut decided = csr.clone();
    let status = decided.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    conditions.push(CertificateSigningRequestCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        ..CertificateSigningRequestCondition::default()
    });
    decided
}

const AUTO_APPROVED: &str = "AutoApproved";
const AUTO_APPROVED_SERVING: &str =
    "Auto approving kubelet serving certificate for the node's own name and addresses.";
/// Reason of a denial for what a node's server would be called.
const NOT_ITS_OWN: &str = "NotTheNodesOwn";

impl CsrApproving {
    async fn write(&self, decided: &CertificateSigningRequest) -> Result<(), Error> {
        let api: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        let name = decided.metadata.name.as_deref().unwrap_or_default();
        let params = PostParams::default();
        api.replace_subresource("approval", name, &params, decided)
            .await?;
        Ok(())
    }

    async fn client(
        &self,
        csr: &CertificateSigningRequest,
        request: &Request,
    ) -> Result<(), Error> {
        let grounds = grounds(csr, request);
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        for ground in &grounds {
            let (subresource, message) = ground;
            let review = review(csr, subresource);
            let answer = reviews.create(&PostParams::default(), &review).await?;
            if !answer.status.is_some_and(|status| status.allowed) {
                continue;
            }
            if *ground == ANY
                && let Some(why) = self.names.take(&self.client, request).await?
            {
                return self.write(&decided(csr, DENIED, NAME_TAKEN, &why)).await;
            }
            let approved = decided(csr, APPROVED, AUTO_APPROVED, message);
            return self.write(&approved).await;
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

    /// With the addresses of all servers there are: they come and go.
    fn reserved(&self) -> Reserved {
        let mut reserved = self.reserved.clone();
        if let Some(servers) = self.slices.get("default", "kubernetes") {
            let addresses = servers.endpoints.iter();
            let addresses = addresses.flat_map(|endpoint| endpoint.addresses.iter().cloned());
            reserved.names.extend(addresses);
        }
        reserved
    }

    async fn serving(
        &self,
        csr: &CertificateSigningRequest,
        request: &Request,
    ) -> Result<(), Error> {
        match serving::verdict(csr, request, &self.nodes.list(), &self.reserved()) {
            Verdict::Approve => {
                let message = AUTO_APPROVED_SERVING;
                self.write(&decided(csr, APPROVED, AUTO_APPROVED, message))
                    .await
            }
            Verdict::Deny(why) => self.write(&decided(csr, DENIED, NOT_ITS_OWN, &why)).await,
            Verdict::Leave => Ok(()),
        }
    }
}

impl Reconciler for CsrApproving {
    const NAME: &'static str = "csrapproving";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let csr = self.requests.get("", &key.name);
        let Some(csr) = csr.filter(|csr| is_open(csr)) else {
            return Ok(());
        };
        let request = Request::from_pem(&csr.spec.request.0)
            .map_err(|error| Error::Other(format!("unable to parse csr: {error}")))?;
        match csr.spec.signer_name.as_str() {
            KUBELET_SERVING => self.serving(&csr, &request).await,
            _ => self.client(&csr, &request).await,
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
        let csr = csr(KUBELET_CLIENT, &pem, &usages);
        let approved = decided(&csr, APPROVED, AUTO_APPROVED, SELF.1);
        assert_eq!(super::grounds(&approved, &request), []);
    }
}
