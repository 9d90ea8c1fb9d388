//! What nodes reach.

use super::*;

fn pod(name: &str, node: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")}, "spec": spec});
    pod["spec"]["nodeName"] = node.into();
    pod
}

fn two_nodes() -> Arc<Fake> {
    let fake = Fake::new();
    let spec = json!({
        "serviceAccountName": "runner",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [{
            "name": "c",
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}],
            "envFrom": [{"configMapRef": {"name": "settings"}}],
        }],
        "volumes": [
            {"name": "v", "secret": {"secretName": "volume"}},
            {"name": "p", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "ca"}}]}},
            {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "scratch", "ephemeral": {}},
        ],
        "resourceClaims": [{"name": "x", "resourceClaimName": "gpu"}, {"name": "y", "resourceClaimTemplateName": "t"}],
    });
    let mut mine = pod("a", "one", spec);
    mine["status"] = json!({
        "resourceClaimStatuses": [{"name": "y", "resourceClaimName": "made"}],
        "extendedResourceClaimStatus": {"resourceClaimName": "extended"},
    });
    fake.put("", "pods", mine);
    for node in ["one", "two"] {
        let slice = json!({"metadata": {"name": node}, "spec": {"nodeName": node}});
        fake.put("resource.k8s.io", "resourceslices", slice);
    }
    fake.put("", "pods", pod("b", "two", json!({"serviceAccountName": "other", "volumes": [{"name": "v", "secret": {"secretName": "theirs"}}]})));
    fake.put("", "persistentvolumes", json!({"metadata": {"name": "pv"}, "spec": {
        "claimRef": {"namespace": "default", "name": "data"},
        "csi": {"nodePublishSecretRef": {"namespace": "keys", "name": "publish"}, "controllerPublishSecretRef": {"namespace": "keys", "name": "attach"}},
    }}));
    fake.put(
        "",
        "persistentvolumeclaims",
        json!({"metadata": {"namespace": "default", "name": "data"}, "spec": {"volumeName": "pv"}}),
    );
    // It says that it has a volume, which is another's.
    fake.put(
        "",
        "persistentvolumeclaims",
        json!({"metadata": {"namespace": "default", "name": "liar"}, "spec": {"volumeName": "pv"}}),
    );
    fake.put(
        "",
        "pods",
        pod(
            "l",
            "two",
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "liar"}}]}),
        ),
    );
    fake
}

#[test]
fn nodes_reach_what_their_pods_need_and_no_more() {
    let authz = Authz::new(two_nodes());
    let node = user("system:node:one", &[node::NODES_GROUP]);
    for (asked, selector, expected) in [
        ("get default:secrets volume", "", true),
        ("get default:secrets projected", "", true),
        ("get default:secrets env", "", true),
        ("get default:secrets pull", "", true),
        ("watch default:secrets volume", "", true),
        ("watch default:secrets", "metadata.name=volume", true),
        ("get default:secrets theirs", "", false),
        ("get other:secrets volume", "", false),
        ("get keys:secrets publish", "", true),
        ("get keys:secrets attach", "", false),
        ("get other:secrets publish", "", false),
        ("list default:secrets", "", false),
        ("list secrets", "", false),
        ("update default:secrets volume", "", false),
        ("get default:configmaps settings", "", true),
        ("get default:configmaps ca", "", true),
        ("get default:configmaps nope", "", false),
        ("get default:persistentvolumeclaims data", "", true),
        ("get default:persistentvolumeclaims a-scratch", "", true),
        ("list default:persistentvolumeclaims", "", false),
        ("get persistentvolumes pv", "", true),
        ("get persistentvolumes other", "", false),
        ("create default:serviceaccounts/token runner", "", true),
        ("create default:serviceaccounts/token other", "", false),
        ("get default:serviceaccounts runner", "", true),
        ("list default:serviceaccounts", "", false),
        ("get nodes one", "", true),
        ("get nodes two", "", false),
        ("list nodes", "", false),
        ("list nodes", "metadata.name=one", true),
        ("watch nodes", "metadata.name=two", false),
        ("create nodes", "", true),
        ("patch nodes/status one", "", true),
        // Upstream's Node authorizer lets no node through to any kubelet, under whatever name.
        ("get nodes/proxy one", "", false),
        ("get nodes/proxy one:10250", "", false),
        ("get nodes/proxy https:one:10250", "", false),
        ("delete nodes one", "", false),
        ("get default:pods a", "", true),
        ("get default:pods b", "", false),
        ("list pods", "spec.nodeName=one", true),
        ("list pods", "spec.nodeName=two", false),
        ("watch pods", "", false),
        ("update default:pods/status a", "", true),
        ("create default:pods/eviction a", "", true),
        ("delete default:pods a", "", true),
        ("create default:pods/exec a", "", false),
        (
            "create kube-node-lease:leases.coordination.k8s.io",
            "",
            true,
        ),
        (
            "update kube-node-lease:leases.coordination.k8s.io one",
            "",
            true,
        ),
        (
            "update kube-node-lease:leases.coordination.k8s.io two",
            "",
            false,
        ),
        ("update default:leases.coordination.k8s.io one", "", false),
        ("get default:resourceclaims.resource.k8s.io gpu", "", true),
        ("get default:resourceclaims.resource.k8s.io made", "", true),
        (
            "get default:resourceclaims.resource.k8s.io extended",
            "",
            true,
        ),
        (
            "get default:resourceclaims.resource.k8s.io other",
            "",
            false,
        ),
        (
            "update default:resourceclaims.resource.k8s.io gpu",
            "",
            false,
        ),
        ("create resourceslices.resource.k8s.io", "", true),
        ("patch resourceslices.resource.k8s.io one", "", true),
        ("patch resourceslices.resource.k8s.io two", "", false),
        (
            "watch resourceslices.resource.k8s.io",
            "spec.nodeName=one",
            true,
        ),
        (
            "deletecollection resourceslices.resource.k8s.io",
            "spec.nodeName=two",
            false,
        ),
        ("list services", "", true),
        ("create default:events", "", true),
        ("list namespaces", "", false),
        ("create tokenreviews.authentication.k8s.io", "", true),
        ("watch runtimeclasses.node.k8s.io", "", true),
    ] {
        let asked = RequestInfo {
            selectors: Cow::Owned(Selectors::parse("", selector).unwrap()),
            ..request(asked)
        };
        let decision = authz.authorize(&node, &asked);
        assert_eq!(allowed(&decision), expected, "{asked:?}: {decision:?}");
    }
}

#[test]
fn the_node_authorizer_follows_pods_and_ignores_others() {
    let fake = two_nodes();
    let authz = Authz::new(fake.clone());
    let node = user("system:node:two", &[node::NODES_GROUP]);
    let others = request("get keys:secrets publish");
    assert!(!allowed(&authz.authorize(&node, &others)));
    let asked = request("get default:secrets late");
    assert_eq!(
        authz.authorize(&node, &asked),
        Decision::NoOpinion {
            reason: "no relationship found between node 'two' and this object".into()
        }
    );
    fake.put(
        "",
        "pods",
        pod(
            "c",
            "two",
            json!({"volumes": [{"name": "v", "secret": {"secretName": "late"}}]}),
        ),
    );
    assert!(allowed(&authz.authorize(&node, &asked)));
    fake.remove("", "pods", "default", "c");
    assert!(!allowed(&authz.authorize(&node, &asked)));
    // The name alone makes no node.
    assert!(!allowed(&authz.authorize(
        &user("system:node:one", &[]),
        &request("get default:secrets volume")
    )));
}
