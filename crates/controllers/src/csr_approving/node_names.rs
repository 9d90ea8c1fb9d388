//! Whose a node's name is.
//!
//! Upstream's approver gives whoever has a bootstrap token a certificate for any node, also one that is there: a token would be as good
//! as the credentials of every node. Here a token gets a name that nobody has. Who has it shows it by its certificate, and rotates
//! that as itself; a machine that lost it gets it again once the Node object is deleted.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use knarr_client::errors;
use knarr_x509::Request;
use kube::Api;
use kube::api::ListParams;

use crate::certificates::{APPROVED, DENIED, FAILED, KUBELET_CLIENT, NODE_PREFIX, has};
use crate::runner::{Error, uid};

/// Why the name is another one's. Asked live: two machines may ask for one name at the same time, and the informers' delay must not
/// give it to both.
pub(super) async fn taken(
    client: &kube::Client,
    csr: &CertificateSigningRequest,
    request: &Request,
) -> Result<Option<String>, Error> {
    let name = request.common_name.trim_start_matches(NODE_PREFIX);
    let nodes: Api<Node> = Api::all(client.clone());
    if errors::optional(nodes.get_metadata(name).await)?.is_some() {
        return Ok(Some(format!(
            "a node named {name} exists, and who asks is not that node"
        )));
    }
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let signer = format!("spec.signerName={KUBELET_CLIENT}");
    let others = requests
        .list(&ListParams::default().fields(&signer))
        .await?;
    Ok(promised(csr, request, &others.items)
        .then(|| format!("another machine has just been given the name {name}")))
}

/// Whether another key was given the name, by a request that is still there: its Node is about to be made.
fn promised(
    csr: &CertificateSigningRequest,
    request: &Request,
    others: &[CertificateSigningRequest],
) -> bool {
    let given = |other: &&CertificateSigningRequest| {
        uid(*other) != uid(csr)
            && has(other, APPROVED)
            && !has(other, DENIED)
            && !has(other, FAILED)
    };
    let same_name = |other: &CertificateSigningRequest| {
        Request::from_pem(&other.spec.request.0).is_ok_and(|other| {
            other.common_name == request.common_name && other.public_key != request.public_key
        })
    };
    others.iter().filter(given).any(same_name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::certificates::tests::{csr, pem};
    use crate::fixtures::object;

    #[test]
    fn a_name_is_given_to_one_key() {
        let usages = ["digital signature", "client auth"];
        let of = |uid: &str, pem: &str, conditions: &[&str]| {
            let mut csr = csr(KUBELET_CLIENT, pem, &usages);
            csr.metadata.uid = Some(uid.to_owned());
            let conditions: Vec<_> = conditions
                .iter()
                .map(|type_| json!({"type": type_, "status": "True"}))
                .collect();
            csr.status = object(json!({"conditions": conditions}));
            csr
        };
        let text = pem("system:node:n1", "system:nodes", Vec::new());
        let same_name = pem("system:node:n1", "system:nodes", Vec::new());
        let other_name = pem("system:node:n2", "system:nodes", Vec::new());
        let request = Request::from_pem(text.as_bytes()).expect("a request");
        let asked = of("a", &text, &[]);
        for (others, expected) in [
            (vec![], false),
            (vec![asked.clone()], false),
            (vec![of("b", &same_name, &[APPROVED])], true),
            (vec![of("b", &same_name, &[])], false),
            (vec![of("b", &same_name, &[DENIED])], false),
            (vec![of("b", &same_name, &[APPROVED, FAILED])], false),
            (vec![of("b", &other_name, &[APPROVED])], false),
            (vec![of("b", &text, &[APPROVED])], false),
            (vec![of("b", "garbage", &[APPROVED])], false),
        ] {
            assert_eq!(promised(&asked, &request, &others), expected, "{others:?}");
        }
    }
}
