//! What somebody can do who has stolen a node: what it runs, and nothing of its neighbours.

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret, ServiceAccount};
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, api, code, object, own, until};
use crate::stolen_token::{Asked, KUBELET_CLIENT, KUBELET_SERVING, ask, fate};

async fn token(client: &Client, account: &str, spec: Value) -> u16 {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "kube-system");
    let asked: TokenRequest = object(json!({"spec": spec}));
    let granted = accounts
        .create_subresource::<_, TokenRequest>("token", account, &PostParams::default(), &asked)
        .await;
    code(granted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_tokens_of_its_own_parts() {
    let cluster = Cluster::start().await;
    let first = cluster.node("n1", [10, 9, 0, 1]).await;
    let _second = cluster.node("n2", [10, 9, 0, 2]).await;
    let thief = own(&first, "n1");
    let uid = async |name: &str| {
        let node = api::<Node>(&cluster.admin).get(name).await.expect("a node");
        node.metadata.uid.expect("a uid")
    };
    let (own_uid, other_uid) = (uid("n1").await, uid("n2").await);
    let bound = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid});
    let own = bound("n1", &own_uid);
    for (account, spec, expected) in [
        (
            "kube-proxy",
            json!({"audiences": [], "boundObjectRef": own}),
            200,
        ),
        ("kube-proxy", json!({"audiences": []}), 403),
        (
            "kube-proxy",
            json!({"audiences": [], "boundObjectRef": bound("n2", &other_uid)}),
            403,
        ),
        (
            "kube-proxy",
            json!({"audiences": [], "boundObjectRef": bound("n1", &other_uid)}),
            403,
        ),
        (
            "kube-proxy",
            json!({"audiences": [], "boundObjectRef": bound("n1", "")}),
            403,
        ),
        (
            "kube-proxy",
            json!({"audiences": ["vault"], "boundObjectRef": own}),
            403,
        ),
        (
            "default",
            json!({"audiences": [], "boundObjectRef": own}),
            403,
        ),
        (
            "certificate-controller",
            json!({"audiences": [], "boundObjectRef": own}),
            403,
        ),
    ] {
        assert_eq!(
            token(&thief, account, spec.clone()).await,
            expected,
            "{account} {spec}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reads_and_is_itself_only() {
    let cluster = Cluster::start().await;
    let first = cluster.node("n1", [10, 9, 0, 1]).await;
    let _second = cluster.node("n2", [10, 9, 0, 2]).await;
    let thief = own(&first, "n1");
    let list = ListParams::default();
    assert_eq!(code(api::<Node>(&thief).get("n1").await), 200);
    assert_eq!(code(api::<Node>(&thief).get("n2").await), 403);
    assert_eq!(code(api::<Node>(&thief).list(&list).await), 403);
    let secrets: Api<Secret> = Api::namespaced(thief.clone(), "kube-system");
    assert_eq!(code(secrets.list(&list).await), 403);
    let maps: Api<ConfigMap> = Api::namespaced(thief.clone(), "kube-system");
    assert_eq!(code(maps.get("knarr-node-config").await), 200);
    assert_eq!(
        code(maps.get("extension-apiserver-authentication").await),
        403
    );
    let nodes = "system:nodes";
    let client = Asked {
        signer: KUBELET_CLIENT,
        common_name: "system:node:n2",
        organization: nodes,
        names: &[],
        usage: "client auth",
    };
    assert_eq!(ask(&thief, "as-n2", &client).await, 200);
    for (name, node, names) in [
        ("at-n2", "system:node:n1", &["10.9.0.2"][..]),
        ("at-server", "system:node:n1", &["127.0.0.1"]),
        ("at-service", "system:node:n1", &["n1", "10.43.0.1"]),
        ("for-n2", "system:node:n2", &["10.9.0.7"]),
        (
            "named-server",
            "system:node:n1",
            &["kubernetes.default.svc"],
        ),
    ] {
        let server = Asked {
            signer: KUBELET_SERVING,
            common_name: node,
            organization: nodes,
            names,
            usage: "server auth",
        };
        assert_eq!(ask(&thief, name, &server).await, 200, "{name}");
    }
    for name in ["at-n2", "at-server", "at-service"] {
        until(name, async || fate(&cluster, name).await.0 == "Denied").await;
    }
    for name in ["as-n2", "for-n2", "named-server"] {
        let (decision, issued) = fate(&cluster, name).await;
        assert!(decision != "Approved" && !issued, "{name}: {decision}");
    }
}
