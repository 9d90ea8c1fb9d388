use std::sync::Arc;

use expect_test::expect;
use knarr_auth::{
    authz::Authz,
    testing::{
        Fake, kind,
        rbac::{binding, role},
        user,
    },
};
use serde_json::json;

use super::*;
use crate::testing::Write;

const RBAC: &str = "rbac.authorization.k8s.io";

fn plugin() -> ResourceClaims {
    let fake = Fake::new();
    for (who, rule) in [
        ("scheduler", "patch resource.k8s.io resourceclaims/binding"),
        (
            "driver",
            "arbitrary-node:update resource.k8s.io resourceclaims/driver d",
        ),
        (
            "system:serviceaccount:ns:driver",
            "associated-node:update resource.k8s.io resourceclaims/driver d",
        ),
    ] {
        let name = who.replace(':', "-");
        fake.put(RBAC, "clusterroles", role("", &name, &[rule]));
        let (bound, subject) = (format!("ClusterRole/{name}"), format!("User:{who}"));
        let bound = binding("", &name, &bound, &subject);
        fake.put(RBAC, "clusterrolebindings", bound);
    }
    let namespace = |name: &str, value: &str| json!({"metadata": {"name": name, "labels": {ADMIN_LABEL: value}}});
    fake.put("", "namespaces", namespace("admins", "true"));
    fake.put("", "namespaces", namespace("ns", "false"));
    ResourceClaims::new(fake.clone(), Arc::new(Authz::new(fake)))
}

async fn outcome(write: Write) -> String {
    let refused = write.run(&plugin()).await.err();
    refused.map_or_else(String::new, |status| status.message)
}

fn claim(namespace: &str, status: Value) -> Value {
    json!({"metadata": {"name": "c", "namespace": namespace}, "status": status})
}

#[tokio::test]
async fn administrators_have_namespaces_of_their_own() {
    let asked = json!({"devices": {"requests": [{"name": "a"}, {"name": "b", "exactly": {"adminAccess": true}}]}});
    let create = |namespace: &str, resource, name, spec| {
        let object = json!({"metadata": {"name": "c", "namespace": namespace}, "spec": spec});
        outcome(Write::create(
            kind(GROUP, resource, name),
            user("ann", &[]),
            object,
        ))
    };
    let claims = |namespace| create(namespace, "resourceclaims", "ResourceClaim", asked.clone());
    let template = json!({"spec": asked});
    let templates = |namespace| {
        let (resource, name) = ("resourceclaimtemplates", "ResourceClaimTemplate");
        create(namespace, resource, name, template.clone())
    };
    assert_eq!(claims("admins").await, "");
    assert_eq!(templates("admins").await, "");
    expect![[r#"ResourceClaim.resource.k8s.io "c" is invalid: spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"#]].assert_eq(&claims("ns").await);
    assert!(!templates("ns").await.is_empty());
}

fn update(who: &str, old: Value, new: Value) -> Write {
    Write {
        subresource: "status",
        ..Write::update(
            kind(GROUP, "resourceclaims", "ResourceClaim"),
            user(who, &[]),
            claim("ns", old),
            claim("ns", new),
        )
    }
}

#[tokio::test]
async fn only_who_binds_says_what_a_claim_was_given() {
    let allocated = json!({"allocation": {}});
    let bind = |who| outcome(update(who, json!({}), allocated.clone()));
    assert_eq!(bind("scheduler").await, "");
    expect![[r#"ResourceClaim.resource.k8s.io "c" is invalid: status.allocation: Forbidden: changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="update" permission: resourceclaims.resource.k8s.io is forbidden: User "ann" cannot update resource "resourceclaims/binding" in API group "resource.k8s.io" at the cluster scope"#]].assert_eq(&bind("ann").await);
    let admin = json!({"allocation": {"devices": {"results": [{"adminAccess": true}]}}});
    expect![[r#"ResourceClaim.resource.k8s.io "c" is invalid: status.allocation.devices.results[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"#]].assert_eq(&outcome(update("scheduler", json!({}), admin)).await);
}

#[tokio::test]
async fn only_a_driver_says_how_its_devices_are() {
    let selector = |node: &str| json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]});
    let status =
        |devices| json!({"allocation": {"nodeSelector": selector("one")}, "devices": devices});
    let write = |who: &str, driver: &str| {
        let device = json!([{"driver": driver, "pool": "p", "device": "x"}]);
        update(who, status(json!([])), status(device))
    };
    assert_eq!(outcome(write("driver", "d")).await, "");
    expect![[r#"ResourceClaim.resource.k8s.io "c" is invalid: status.devices: Forbidden: changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:update arbitrary-node:patch]" permission: resourceclaims.resource.k8s.io "e" is forbidden: User "driver" cannot arbitrary-node:update resource "resourceclaims/driver" in API group "resource.k8s.io" in the namespace "ns""#]].assert_eq(&outcome(write("driver", "e")).await);
    // A driver's pod on the node itself.
    let from = |node: &str| {
        let mut write = write("system:serviceaccount:ns:driver", "d");
        write
            .user
            .extra
            .insert(NODE_EXTRA.to_owned(), vec![node.to_owned()]);
        write
    };
    assert_eq!(outcome(from("one")).await, "");
    assert!(!outcome(from("two")).await.is_empty());
}
