//! A kubelet asks for certificates of its own pods, as the accounts that they run as, and of the signers that they name.

use knarr_auth::{
    objects::Objects,
    request::{Authorizer, Decision, RequestInfo},
};
use knarr_meta::{field::quote, object, status::Status};
use serde_json::Value;

use super::answer::{Answer, Refusal, need, node_of, shown};
use crate::{
    MIRROR_ANNOTATION,
    request::{AdmissionRequest, Operation},
};

/// What is known of pods, and who may ask for signers that no pod names.
pub(super) struct PodCertificates<'a> {
    pub objects: &'a dyn Objects,
    pub authorizer: &'a dyn Authorizer,
}

impl PodCertificates<'_> {
    /// Upstream's `admitPodCertificateRequest`. What a cache that lags behind can explain is 500, so that the kubelet tries again.
    pub(super) fn check(&self, node: &str, request: &AdmissionRequest<'_>) -> Answer {
        need(request.operation == Operation::Create, || {
            format!(
                "unexpected operation {}",
                shown(request.operation).replace('"', "")
            )
        })?;
        need(request.subresource.is_empty(), || {
            format!("unexpected subresource {}", request.subresource)
        })?;
        let Some(asked) = request.object.as_deref() else {
            return Ok(());
        };
        let spec = |field| object::str_at(asked, &["spec", field]);
        let quoted = |name: &str| quote(&format!("{}/{name}", request.namespace));
        need(spec("nodeName") == node, || {
            format!(
                "PodCertificateRequest.Spec.NodeName={}, which is not the requesting node {}",
                quote(spec("nodeName")),
                quote(node)
            )
        })?;
        let this = quoted(spec("podName"));
        let stored = self.named("node", "nodes", "", node, &quote(node))?;
        same_uid(&stored, spec("nodeUID"), |uid| {
            format!(
                "PodCertificateRequest for pod {this} names node UID {}, inconsistent with the running node ({uid})",
                quote(spec("nodeUID"))
            )
        })?;
        let pod = self.named("pod", "pods", request.namespace, spec("podName"), &this)?;
        same_uid(&pod, spec("podUID"), |uid| {
            format!(
                "PodCertificateRequest for pod {this} contains pod UID ({}) which differs from running pod {uid}",
                quote(spec("podUID"))
            )
        })?;
        need(node_of(&pod) == node, || {
            format!(
                "pod {this} is not running on node {} named in the PodCertificateRequest",
                quote(node)
            )
        })?;
        need(
            object::annotation(&pod, MIRROR_ANNOTATION).is_none(),
            || format!("pod {this} is a mirror pod"),
        )?;
        let account = object::str_at(&pod, &["spec", "serviceAccountName"]);
        self.runs_as(account, &this, request, &spec)?;
        let signer = spec("signerName");
        let named = mounts(&pod, signer) || self.may_request(request, signer, account);
        need(named, || {
            format!(
                "pod {this} does not mount a podCertificate projected volume for signer {}",
                quote(signer)
            )
        })
    }

    /// The request names the account that the pod runs as.
    fn runs_as<'o>(
        &self,
        account: &str,
        this: &str,
        request: &AdmissionRequest<'_>,
        spec: &dyn Fn(&'static str) -> &'o str,
    ) -> Answer {
        need(spec("serviceAccountName") == account, || {
            format!(
                "PodCertificateRequest for pod {this} contains serviceAccountName ({}) that differs from running pod ({})",
                quote(spec("serviceAccountName")),
                quote(account)
            )
        })?;
        let stored = self.named(
            "service account",
            "serviceaccounts",
            request.namespace,
            account,
            &quote(&format!("{}/{account}", request.namespace)),
        )?;
        same_uid(&stored, spec("serviceAccountUID"), |uid| {
            format!(
                "PodCertificateRequest for pod {this} names service account UID {}, which differs from the running service account ({uid})",
                quote(spec("serviceAccountUID"))
            )
        })
    }

    fn named(
        &self,
        what: &str,
        resource: &'static str,
        namespace: &str,
        name: &str,
        quoted: &str,
    ) -> Result<Value, Refusal> {
        let missing = format!(
            "while retrieving {what} {quoted} named in the PodCertificateRequest: {resource} {} not found",
            quote(name)
        );
        crate::read(self.objects, "", resource, namespace, name)
            .ok_or_else(|| Refusal::Status(Status::internal(missing)))
    }

    /// A node may be allowed to ask for signers that no pod names. No name of a resource has a slash.
    fn may_request(&self, request: &AdmissionRequest<'_>, signer: &str, account: &str) -> bool {
        let resource = signer.replace('/', ":");
        let asked = RequestInfo {
            is_resource: true,
            verb: "request-serviceaccounts-podcertificate-signer",
            group: &request.kind.group,
            version: &request.kind.version,
            namespace: request.namespace,
            resource: &resource,
            name: account,
            ..RequestInfo::default()
        };
        matches!(
            self.authorizer.authorize(request.user, &asked),
            Decision::Allow { .. }
        )
    }
}

fn same_uid(object: &Value, uid: &str, why: impl FnOnce(String) -> String) -> Answer {
    let is = object::uid(object);
    need(is == uid, || {
        Refusal::Status(Status::internal(why(quote(is))))
    })
}

/// Whether a volume of the pod shows a certificate of this signer.
fn mounts(pod: &Value, signer: &str) -> bool {
    object::list_at(pod, &["spec", "volumes"])
        .iter()
        .flat_map(|volume| object::list_at(volume, &["projected", "sources"]))
        .any(|source| object::str_at(source, &["podCertificate", "signerName"]) == signer)
}
