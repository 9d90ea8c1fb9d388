//! The provisioner of a node's directories makes volumes of that node, for claims that were sent there.
//!
//! It runs on every node under one account. Its token says of which node it is; that of somebody else who runs it (a pod, the server's
//! own process) says nothing, and is held to nothing.

use knarr_auth::{
    UserInfo,
    authn::service_account,
    node_accounts::{LOCAL_PATH, NAMESPACE},
    objects::Objects,
};
use knarr_meta::{field::quote, object};
use serde_json::Value;

use super::answer::{Answer, find, need};
use crate::request::{AdmissionRequest, Operation};

const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// The node whose provisioner this user is.
pub(super) fn provisioner(user: &UserInfo) -> Option<&str> {
    let node = user.extra.get(NODE_NAME)?.first()?;
    let is_provisioner = user.name == service_account(NAMESPACE, LOCAL_PATH).name;
    (is_provisioner && !user.extra.contains_key(POD_NAME)).then_some(node)
}

/// What the provisioner of this node may do.
pub(super) fn check(objects: &dyn Objects, node: &str, request: &AdmissionRequest<'_>) -> Answer {
    let elsewhere = || {
        let node = quote(node);
        format!("the provisioner of node {node} can only write local volumes of that node")
    };
    let (new, old) = (request.object.as_deref(), request.old);
    match request.operation {
        Operation::Create => {
            let Some(volume) = new else { return Ok(()) };
            need(is_of(volume, node), elsewhere)?;
            claim_sent_to(objects, node, volume)
        }
        Operation::Update => {
            let spec =
                |volume: Option<&Value>| volume.and_then(|volume| volume.get("spec")).cloned();
            need(old.is_some_and(|volume| is_of(volume, node)), elsewhere)?;
            need(spec(new) == spec(old), || {
                format!(
                    "the provisioner of node {} cannot change a volume's spec",
                    quote(node)
                )
            })
        }
        Operation::Delete => need(old.is_some_and(|volume| is_of(volume, node)), elsewhere),
        Operation::Connect => Ok(()),
    }
}

/// Who makes a volume for a claim has what the claim's pods write.
fn claim_sent_to(objects: &dyn Objects, node: &str, volume: &Value) -> Answer {
    let at = |field| object::str_at(volume, &["spec", "claimRef", field]);
    let claim = find(
        objects,
        "persistentvolumeclaims",
        at("namespace"),
        at("name"),
    )?;
    let sent =
        object::uid(&claim) == at("uid") && object::annotation(&claim, SELECTED_NODE) == Some(node);
    need(sent, || {
        format!(
            "claim {} was not sent to node {}",
            quote(at("name")),
            quote(node)
        )
    })
}

/// Whether a volume is a directory of this node and of no other.
fn is_of(volume: &Value, node: &str) -> bool {
    let terms = object::list_at(
        volume,
        &["spec", "nodeAffinity", "required", "nodeSelectorTerms"],
    );
    let local = object::struct_at(volume, &["spec", "local"]).is_some();
    let [term] = terms else { return false };
    let [only] = object::list_at(term, &["matchExpressions"]) else {
        return false;
    };
    let at = |field| object::str_at(only, &[field]);
    local
        && object::list_at(term, &["matchFields"]).is_empty()
        && (at("key"), at("operator")) == (HOSTNAME, "In")
        && matches!(object::list_at(only, &["values"]), [value] if value == node)
}
