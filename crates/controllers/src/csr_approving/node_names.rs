//! Whose a node's name is.
//!
//! Upstream's approver gives whoever has a bootstrap token a certificate for any node, also one that is there: a token would be as good
//! as the credentials of every node. Here a token gets a name that nobody has. Who has it shows it by its certificate, and rotates
//! that as itself; a machine that lost it gets it again once the Node object is deleted.
//!
//! Between a certificate and its Node the name is held for the key that was given it: of two machines that ask for one name at the same
//! time, one gets it.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use knarr_client::errors;
use knarr_meta::clock;
use knarr_x509::Request;
use kube::Api;
use parking_lot::Mutex;

use crate::certificates::{APPROVED, DENIED, FAILED, KUBELET_CLIENT, NODE_PREFIX, conditions, has};
use crate::runner::Error;

/// How long a name is held: until then the machine has registered, or will not.
const HELD: SignedDuration = SignedDuration::from_mins(5);
/// Names that are held at once; a thief of a token who asks for more gets his own into each other's way.
const NAMES_MAX: usize = 16_384;

/// Who was given a name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    /// DER.
    public_key: Vec<u8>,
    since: Timestamp,
}

/// Names that were given to a key and may have no Node yet.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<String, Holder>>);

impl Names {
    /// Notes of a request that it was approved, by whomever.
    pub(super) fn see(&self, csr: &CertificateSigningRequest) {
        let refused = has(csr, DENIED) || has(csr, FAILED);
        if csr.spec.signer_name != KUBELET_CLIENT || refused {
            return;
        }
        let Some(approved) = conditions(csr, APPROVED).next() else {
            return;
        };
        let since = approved.last_update_time.as_ref().map(|time| time.0);
        if let Ok(request) = Request::from_pem(&csr.spec.request.0) {
            let now = clock::now();
            self.hold(&request, since.unwrap_or(now), now);
        }
    }

    /// Holds the name for the request's key. False where another one holds it.
    fn hold(&self, request: &Request, since: Timestamp, now: Timestamp) -> bool {
        let fresh = |since: Timestamp| now.duration_since(since) < HELD;
        let mut names = self.0.lock();
        let name = node_name(request);
        if let Some(holder) = names.get(name).filter(|holder| fresh(holder.since)) {
            return holder.public_key == request.public_key;
        }
        if names.len() >= NAMES_MAX {
            names.retain(|_, holder| fresh(holder.since));
        }
        if names.len() >= NAMES_MAX {
            return false;
        }
        let holder = Holder {
            public_key: request.public_key.clone(),
            since,
        };
        names.insert(name.to_owned(), holder);
        true
    }

    /// The Node was deleted: its name is free.
    pub(super) fn release(&self, node: &str) {
        self.0.lock().remove(node);
    }

    /// Why the request does not get the name; holds it otherwise. Whether there is a Node is asked live: an informer's delay must not
    /// give a node's name away.
    pub(super) async fn take(
        &self,
        client: &kube::Client,
        request: &Request,
    ) -> Result<Option<String>, Error> {
        let name = node_name(request);
        let nodes: Api<Node> = Api::all(client.clone());
        if errors::optional(nodes.get_metadata(name).await)?.is_some() {
            return Ok(Some(format!(
                "a node named {name} exists, and who asks is not that node"
            )));
        }
        let now = clock::now();
        let held = self.hold(request, now, now);
        Ok((!held).then(|| format!("another machine has just been given the name {name}")))
    }
}

fn node_name(request: &Request) -> &str {
    let name = request.common_name.strip_prefix(NODE_PREFIX);
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::certificates::tests::{csr, pem};
    use crate::fixtures::{now, object};

    fn request(name: &str) -> (String, Request) {
        let pem = pem(&format!("system:node:{name}"), "system:nodes", Vec::new());
        let request = Request::from_pem(pem.as_bytes()).expect("a request");
        (pem, request)
    }

    #[test]
    fn a_name_is_held_for_one_key() {
        let ((_, first), (_, clone), (_, other)) = (request("n1"), request("n1"), request("n2"));
        let names = Names::default();
        assert!(names.hold(&first, now(), now()));
        assert!(names.hold(&first, now(), now()), "it asks again");
        assert!(!names.hold(&clone, now(), now()));
        assert!(names.hold(&other, now(), now()));
        names.release("n1");
        assert!(names.hold(&clone, now(), now()), "its Node was deleted");
        assert!(names.hold(&first, now(), now() + HELD), "nobody came");
    }

    #[test]
    fn what_others_approve_counts_too() {
        let (text, first) = request("n1");
        let (_, clone) = request("n1");
        let now = clock::now();
        let approved = |signer: &str, text: &str, conditions: &[&str]| {
            let mut csr = csr(signer, text, &[]);
            let conditions: Vec<_> = conditions
                .iter()
                .map(|type_| json!({"type": type_, "status": "True", "lastUpdateTime": now}))
                .collect();
            csr.status = object(json!({"conditions": conditions}));
            csr
        };
        for (seen, free) in [
            (approved(KUBELET_CLIENT, &text, &[]), true),
            (approved(KUBELET_CLIENT, &text, &[DENIED]), true),
            (approved(KUBELET_CLIENT, &text, &[APPROVED, FAILED]), true),
            (approved("a.b/c", &text, &[APPROVED]), true),
            (approved(KUBELET_CLIENT, "garbage", &[APPROVED]), true),
            (approved(KUBELET_CLIENT, &text, &[APPROVED]), false),
        ] {
            let names = Names::default();
            names.see(&seen);
            assert_eq!(names.hold(&clone, now, now), free, "{:?}", seen.status);
            assert!(free || names.hold(&first, now, now));
        }
    }
}
