use std::sync::Arc;

use knarr_api::Kind;
use knarr_auth::{
    UserInfo,
    testing::{Fake, kind, user},
};
use serde_json::{Value, json};

use super::*;
use crate::{
    request::{AdmissionPlugin, Operation},
    testing::Write,
};

fn pods() -> &'static Arc<Kind> {
    kind("", "pods", "Pod")
}

fn ann() -> UserInfo {
    user("ann", &[])
}

fn kubelet() -> UserInfo {
    user("system:node:one", &["system:nodes"])
}

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec})
}

mod certificates;
mod ephemeral;
mod node_accounts;
mod node_restriction;
mod storage;

fn node_restriction(fake: Arc<Fake>) -> NodeRestriction {
    NodeRestriction::new(fake.clone(), Arc::new(Authz::new(fake)))
}

async fn refused(write: Write, plugin: &dyn AdmissionPlugin) -> String {
    let status = write.run(plugin).await.unwrap_err();
    assert_eq!(status.code, 403, "{}", status.message);
    status.message
}

#[test]
fn the_chain_has_upstreams_order() {
    let fake = Fake::new();
    let writer: Arc<dyn Writer> = fake.clone();
    let writer = Arc::downgrade(&writer);
    let clients = Arc::new(knarr_webhook::Clients::new(fake.clone()));
    let chain = chain(
        &Configuration::default(),
        fake.clone(),
        Arc::new(Authz::new(fake)),
        writer,
        clients,
    );
    let names: Vec<_> = chain.iter().map(|plugin| plugin.name()).collect();
    assert_eq!(
        names,
        [
            "NamespaceLifecycle",
            "LimitRanger",
            "ServiceAccount",
            "NodeRestriction",
            "TaintNodesByCondition",
            "PodSecurity",
            "Priority",
            "DefaultTolerationSeconds",
            "DefaultStorageClass",
            "StorageObjectInUseProtection",
            "PersistentVolumeClaimResize",
            "RuntimeClass",
            "CertificateApproval",
            "CertificateSigning",
            "ClusterTrustBundleAttest",
            "CertificateSubjectRestriction",
            "DefaultIngressClass",
            "PodTopologyLabels",
            "NodeDeclaredFeatureValidator",
            "PodResizeValidator",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionWebhook",
            "ValidatingAdmissionPolicy",
            "PodCertificateSigning",
            "ResourceClaims",
            "RbacEscalation",
            "PolicyParams",
            "ValidatingAdmissionWebhook",
            "ResourceQuota"
        ]
    );
}

#[tokio::test]
async fn namespaces_bound_what_is_written() {
    let fake = Fake::new();
    fake.put(
        "",
        "namespaces",
        json!({"metadata": {"name": "live"}, "status": {"phase": "Active"}}),
    );
    fake.put(
        "",
        "namespaces",
        json!({"metadata": {"name": "going"}, "status": {"phase": "Terminating"}}),
    );
    let plugin = NamespaceLifecycle::new(fake);
    let write = |operation, namespace: &'static str| Write {
        operation,
        namespace,
        ..Write::create(
            kind("", "configmaps", "ConfigMap"),
            ann(),
            json!({"metadata": {"name": "c"}}),
        )
    };
    assert!(write(Operation::Create, "live").run(&plugin).await.is_ok());
    assert!(write(Operation::Update, "going").run(&plugin).await.is_ok());
    assert!(write(Operation::Delete, "going").run(&plugin).await.is_ok());
    // What is left where a namespace was can still be changed, such as its finalizers.
    assert!(write(Operation::Update, "nope").run(&plugin).await.is_ok());
    let going = write(Operation::Create, "going")
        .run(&plugin)
        .await
        .unwrap_err();
    assert_eq!(going.code, 403);
    assert_eq!(
        going.message,
        "configmaps \"c\" is forbidden: unable to create new content in namespace going because it is being terminated"
    );
    assert!(going.has_cause("NamespaceTerminating"));
    let missing = write(Operation::Create, "nope")
        .run(&plugin)
        .await
        .unwrap_err();
    assert_eq!(
        (missing.code, missing.message.as_str()),
        (404, "namespaces \"nope\" not found")
    );

    let delete = |name| Write {
        operation: Operation::Delete,
        object: None,
        name,
        ..Write::create(kind("", "namespaces", "Namespace"), ann(), json!({}))
    };
    for immortal in ["default", "kube-system", "kube-public"] {
        assert_eq!(
            refused(delete(immortal), &plugin).await,
            format!("namespaces \"{immortal}\" is forbidden: this namespace may not be deleted")
        );
    }
    assert!(delete("live").run(&plugin).await.is_ok());
}

#[tokio::test]
async fn pods_tolerate_a_lost_node_for_five_minutes() {
    let run = async |tolerations: Value| {
        let write = Write::create(pods(), ann(), pod(json!({"tolerations": tolerations})));
        write.run(&DefaultTolerationSeconds).await.unwrap()["spec"]["tolerations"].clone()
    };
    let default = |key: &str| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    assert_eq!(
        run(Value::Null).await,
        json!([default("not-ready"), default("unreachable")])
    );
    let own = json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
    assert_eq!(
        run(json!([own])).await,
        json!([own, default("unreachable")])
    );
    let everything = json!([{"operator": "Exists"}]);
    assert_eq!(run(everything.clone()).await, everything);
    let other_effect = json!({"operator": "Exists", "effect": "NoSchedule"});
    assert_eq!(
        run(json!([other_effect])).await,
        json!([other_effect, default("not-ready"), default("unreachable")])
    );
}

#[tokio::test]
async fn new_nodes_are_tainted_once() {
    let nodes = kind("", "nodes", "Node");
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let node = json!({"metadata": {"name": "one"}});
    let first = Write::create(nodes, ann(), node)
        .run(&TaintNodesByCondition)
        .await
        .unwrap();
    assert_eq!(first["spec"]["taints"], json!([taint]));
    let again = Write::create(nodes, ann(), first.clone())
        .run(&TaintNodesByCondition)
        .await
        .unwrap();
    assert_eq!(again, first);
    let update = Write::update(nodes, ann(), first, json!({"spec": {}}))
        .run(&TaintNodesByCondition)
        .await
        .unwrap();
    assert_eq!(update, json!({"spec": {}}));
}

#[tokio::test]
async fn priorities_come_from_classes() {
    let fake = Fake::new();
    let class = |name: &str, value: i64, rest: Value| {
        let mut class = json!({"metadata": {"name": name}, "value": value});
        class
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        class
    };
    fake.put(
        "scheduling.k8s.io",
        "priorityclasses",
        class("high", 1000, json!({"preemptionPolicy": "Never"})),
    );
    let plugin = Priority::new(fake.clone());
    let spec = async |spec: Value| {
        Write::create(pods(), ann(), pod(spec))
            .run(&plugin)
            .await
            .map(|pod| pod["spec"].clone())
            .map_err(|s| s.message)
    };
    assert_eq!(
        spec(json!({})).await,
        Ok(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}))
    );
    let high = json!({"priorityClassName": "high", "priority": 1000, "preemptionPolicy": "Never"});
    assert_eq!(
        spec(json!({"priorityClassName": "high"})).await,
        Ok(high.clone())
    );
    assert_eq!(spec(high.clone()).await, Ok(high.clone()));
    for (given, expected) in [
        (
            json!({"priorityClassName": "nope"}),
            "pods \"p\" is forbidden: no PriorityClass with name nope was found",
        ),
        (
            json!({"priorityClassName": "high", "priority": 5}),
            "pods \"p\" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name",
        ),
        (
            json!({"priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority"}),
            "pods \"p\" is forbidden: the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name",
        ),
    ] {
        assert_eq!(spec(given).await.unwrap_err(), expected);
    }

    fake.put(
        "scheduling.k8s.io",
        "priorityclasses",
        class("usual", 7, json!({"globalDefault": true})),
    );
    assert_eq!(
        spec(json!({})).await,
        Ok(json!({"priorityClassName": "usual", "priority": 7}))
    );
    let updated = Write::update(
        pods(),
        ann(),
        pod(high.clone()),
        pod(json!({"priorityClassName": "high"})),
    )
    .run(&plugin)
    .await
    .unwrap();
    assert_eq!(updated["spec"], high);

    let classes = kind("scheduling.k8s.io", "priorityclasses", "PriorityClass");
    let second = class("second", 8, json!({"globalDefault": true}));
    assert_eq!(
        refused(Write::create(classes, ann(), second), &plugin).await,
        "priorityclasses.scheduling.k8s.io \"second\" is forbidden: PriorityClass usual is already marked as default. Only one default can exist"
    );
    let same = class("usual", 7, json!({"globalDefault": true}));
    assert!(
        Write::update(classes, ann(), same.clone(), same)
            .run(&plugin)
            .await
            .is_ok()
    );
}

fn accounts() -> Arc<Fake> {
    let fake = Fake::new();
    let account = |name: &str, rest: Value| {
        let mut account = json!({"metadata": {"name": name, "namespace": "ns"}});
        account
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        fake.put("", "serviceaccounts", account);
    };
    account("default", json!({}));
    account(
        "quiet",
        json!({"automountServiceAccountToken": false, "imagePullSecrets": [{"name": "pull"}]}),
    );
    fake
}

#[tokio::test]
async fn pods_run_as_an_account_and_see_its_token() {
    let plugin = ServiceAccount::new(accounts());
    let spec = json!({
        "initContainers": [{"name": "i"}],
        "containers": [
            {"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/x"}]},
            {"name": "b", "volumeMounts": [{"name": "v", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]},
        ],
        "volumes": [{"name": "v"}],
    });
    let made = Write::create(pods(), ann(), pod(spec))
        .run(&plugin)
        .await
        .unwrap();
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["serviceAccount"], "default");
    let volume = &made["spec"]["volumes"][1];
    let name = volume["name"].as_str().unwrap();
    assert!(
        name.starts_with("kube-api-access-") && name.len() == "kube-api-access-".len() + 5,
        "{name}"
    );
    assert_eq!(
        volume["projected"],
        json!({"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]})
    );
    let mount = json!({"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
    assert_eq!(
        made["spec"]["initContainers"][0]["volumeMounts"],
        json!([mount])
    );
    assert_eq!(
        made["spec"]["containers"][0]["volumeMounts"],
        json!([{"name": "v", "mountPath": "/x"}, mount])
    );
    assert_eq!(
        made["spec"]["containers"][1]["volumeMounts"]
            .as_array()
            .unwrap()
            .len(),
        1,
        "what is mounted there already stays"
    );

    // Once more (a controller's copy of it) changes nothing.
    let again = Write::create(pods(), ann(), made.clone())
        .run(&plugin)
        .await
        .unwrap();
    assert_eq!(again, made);
}

#[tokio::test]
async fn automounting_and_pull_secrets_follow_pod_then_account() {
    let plugin = ServiceAccount::new(accounts());
    let run = async |spec: Value| {
        Write::create(pods(), ann(), pod(spec))
            .run(&plugin)
            .await
            .unwrap()["spec"]
            .clone()
    };
    let quiet = run(json!({"serviceAccountName": "quiet", "containers": [{"name": "a"}]})).await;
    assert!(quiet.get("volumes").is_none());
    assert_eq!(quiet["imagePullSecrets"], json!([{"name": "pull"}]));
    let loud = run(json!({"serviceAccountName": "quiet", "automountServiceAccountToken": true, "containers": [{"name": "a"}], "imagePullSecrets": [{"name": "own"}]})).await;
    assert_eq!(loud["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(loud["imagePullSecrets"], json!([{"name": "own"}]));
    let silent =
        run(json!({"automountServiceAccountToken": false, "containers": [{"name": "a"}]})).await;
    assert!(silent.get("volumes").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_account_must_exist_but_the_default_one_may_be_late() {
    let fake = Fake::new();
    let plugin = ServiceAccount::new(fake.clone());
    let write = |account: &str| {
        Write::create(
            pods(),
            ann(),
            pod(json!({"serviceAccountName": account, "containers": []})),
        )
    };
    assert_eq!(
        refused(write("x"), &plugin).await,
        "pods \"p\" is forbidden: error looking up service account ns/x: serviceaccount \"x\" not found"
    );
    assert_eq!(
        refused(write(""), &plugin).await,
        "pods \"p\" is forbidden: error looking up service account ns/default: serviceaccount \"default\" not found"
    );
    let late = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        fake.put(
            "",
            "serviceaccounts",
            json!({"metadata": {"name": "default", "namespace": "ns"}}),
        );
    };
    let (made, ()) = tokio::join!(write("").run(&plugin), late);
    assert_eq!(made.unwrap()["spec"]["serviceAccountName"], "default");
}

#[tokio::test]
async fn mirror_pods_refer_to_nothing() {
    let plugin = ServiceAccount::new(accounts());
    let mirror = |spec: Value| {
        let mut pod = pod(spec);
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        Write::create(pods(), kubelet(), pod)
    };
    let plain = mirror(json!({"containers": [{"name": "a"}]}))
        .run(&plugin)
        .await
        .unwrap();
    assert_eq!(plain["spec"], json!({"containers": [{"name": "a"}]}));
    for (spec, why) in [
        (
            json!({"serviceAccountName": "default"}),
            "a mirror pod may not reference service accounts",
        ),
        (
            json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
            "a mirror pod may not reference secrets",
        ),
        (
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
            "a mirror pod may not use ServiceAccountToken volume projections",
        ),
    ] {
        assert_eq!(
            refused(mirror(spec), &plugin).await,
            format!("pods \"p\" is forbidden: {why}")
        );
    }
}

#[tokio::test]
async fn ingresses_get_the_newest_default_class() {
    let fake = Fake::new();
    let class = |name: &str, created: &str, default: &str| {
        json!({"metadata": {"name": name, "creationTimestamp": created, "annotations": {
            "ingressclass.kubernetes.io/is-default-class": default}}})
    };
    let plugin = DefaultIngressClass::new(fake.clone());
    let ingress = |object: Value| {
        let kind = kind("networking.k8s.io", "ingresses", "Ingress");
        Write::create(kind, ann(), object).run(&plugin)
    };
    let plain = json!({"metadata": {"name": "i"}, "spec": {}});
    let none = ingress(plain.clone()).await.expect("admitted");
    assert_eq!(none, plain, "no class is the default");
    for (name, created, default) in [
        ("old", "2026-01-01T00:00:00Z", "true"),
        ("b", "2026-01-02T00:00:00Z", "true"),
        ("a", "2026-01-02T00:00:00Z", "true"),
        ("newest", "2026-01-03T00:00:00Z", "false"),
    ] {
        fake.put(
            "networking.k8s.io",
            "ingressclasses",
            class(name, created, default),
        );
    }
    let given = ingress(plain).await.expect("admitted");
    assert_eq!(given["spec"]["ingressClassName"], "a");
    for own in [
        json!({"spec": {"ingressClassName": "mine"}}),
        json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "mine"}}, "spec": {}}),
    ] {
        assert_eq!(ingress(own.clone()).await.expect("admitted"), own);
    }
}
