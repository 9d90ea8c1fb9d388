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
    let chain = chain(fake.clone(), Arc::new(Authz::new(fake)), writer, clients);
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

fn node(labels: Value, spec: Value) -> Value {
    json!({"metadata": {"name": "one", "labels": labels}, "spec": spec})
}

#[tokio::test]
async fn kubelets_write_only_their_own_node() {
    let plugin = node_restriction(Fake::new());
    let nodes = kind("", "nodes", "Node");
    let labels = json!({"kubernetes.io/hostname": "one", "node.kubernetes.io/x": "y", "example.org/a": "b", "plain": "c"});
    assert!(
        Write::create(
            nodes,
            kubelet(),
            node(labels.clone(), json!({"taints": [{"key": "a"}]}))
        )
        .run(&plugin)
        .await
        .is_ok()
    );
    let other = json!({"metadata": {"name": "two"}});
    assert_eq!(
        refused(Write::create(nodes, kubelet(), other.clone()), &plugin).await,
        "nodes \"two\" is forbidden: node \"one\" is not allowed to modify node \"two\""
    );
    assert!(
        Write::create(nodes, ann(), other)
            .run(&plugin)
            .await
            .is_ok(),
        "others are not restricted"
    );
    let bad = json!({"node-restriction.kubernetes.io/a": "b", "x.k8s.io/a": "b"});
    assert_eq!(
        refused(
            Write::create(nodes, kubelet(), node(bad.clone(), json!({}))),
            &plugin
        )
        .await,
        "nodes \"one\" is forbidden: node \"one\" is not allowed to set the following labels: node-restriction.kubernetes.io/a, x.k8s.io/a"
    );
    let update = |new| Write::update(nodes, kubelet(), node(bad.clone(), json!({})), new);
    assert!(
        update(node(bad.clone(), json!({"podCIDR": "x"})))
            .run(&plugin)
            .await
            .is_ok()
    );
    assert_eq!(
        refused(update(node(json!({"x.k8s.io/a": "b"}), json!({}))), &plugin).await,
        "nodes \"one\" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/a"
    );
    assert_eq!(
        refused(
            update(node(bad.clone(), json!({"taints": [{"key": "a"}]}))),
            &plugin
        )
        .await,
        "nodes \"one\" is forbidden: node \"one\" is not allowed to modify taints"
    );
}

#[tokio::test]
async fn kubelets_write_only_their_own_pods_leases_and_tokens() {
    let fake = Fake::new();
    let stored = |name: &str, node: &str, audience: &str| {
        json!({"metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}")}, "spec": {"nodeName": node, "volumes": [
            {"projected": {"sources": [{"serviceAccountToken": {"audience": audience}}]}},
        ]}})
    };
    fake.put("", "pods", stored("mine", "one", "vault"));
    fake.put("", "pods", stored("theirs", "two", ""));
    let plugin = node_restriction(fake);
    let at =
        |operation, resource: &'static Arc<Kind>, subresource, name, object: Option<Value>| Write {
            operation,
            subresource,
            name,
            namespace: "ns",
            object,
            ..Write::create(resource, kubelet(), Value::Null)
        };
    let delete = |name| at(Operation::Delete, pods(), "", name, None);
    assert!(delete("mine").run(&plugin).await.is_ok());
    assert_eq!(
        refused(delete("theirs"), &plugin).await,
        "pods \"theirs\" is forbidden: node \"one\" can only delete pods with spec.nodeName set to itself"
    );
    let create = at(
        Operation::Create,
        pods(),
        "",
        "x",
        Some(pod(json!({"nodeName": "one"}))),
    );
    assert_eq!(
        refused(create, &plugin).await,
        "pods \"x\" is forbidden: pod does not have \"kubernetes.io/config.mirror\" annotation, node \"one\" can only create mirror pods"
    );
    let status = |old: Value, new: Value| Write {
        subresource: "status",
        ..Write::update(pods(), kubelet(), old, new)
    };
    let (mine, theirs) = (stored("mine", "one", ""), stored("theirs", "two", ""));
    assert!(
        status(mine.clone(), mine.clone())
            .run(&plugin)
            .await
            .is_ok()
    );
    assert!(status(theirs.clone(), theirs).run(&plugin).await.is_err());
    let mut labelled = mine.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(
        refused(status(mine.clone(), labelled), &plugin).await,
        "pods \"mine\" is forbidden: node \"one\" cannot update labels through pod status"
    );
    let mut claiming = mine.clone();
    claiming["status"] =
        json!({"resourceClaimStatuses": [{"name": "a", "resourceClaimName": "b"}]});
    assert_eq!(
        refused(status(mine.clone(), claiming), &plugin).await,
        "pods \"mine\" is forbidden: node \"one\" cannot update resource claim statues"
    );
    let slices = kind("resource.k8s.io", "resourceslices", "ResourceSlice");
    let slice = |node: &str| json!({"metadata": {"name": "s"}, "spec": {"nodeName": node}});
    let made = |node| Write::create(slices, kubelet(), slice(node));
    assert!(made("one").run(&plugin).await.is_ok());
    assert_eq!(
        refused(made("two"), &plugin).await,
        "resourceslices.resource.k8s.io \"s\" is forbidden: can only create ResourceSlice with the same NodeName as the requesting node"
    );
    let dropped = |node| Write {
        operation: Operation::Delete,
        name: "s",
        object: None,
        ..Write::update(slices, kubelet(), slice(node), Value::Null)
    };
    assert!(dropped("one").run(&plugin).await.is_ok());
    assert!(dropped("two").run(&plugin).await.is_err());
    assert!(
        at(
            Operation::Create,
            pods(),
            "eviction",
            "mine",
            Some(json!({}))
        )
        .run(&plugin)
        .await
        .is_ok()
    );
    assert!(
        at(
            Operation::Create,
            pods(),
            "eviction",
            "theirs",
            Some(json!({}))
        )
        .run(&plugin)
        .await
        .is_err()
    );

    let leases = kind("coordination.k8s.io", "leases", "Lease");
    let lease = |namespace, name: &str| Write {
        namespace,
        ..Write::create(leases, kubelet(), json!({"metadata": {"name": name}}))
    };
    assert!(lease("kube-node-lease", "one").run(&plugin).await.is_ok());
    assert!(lease("kube-node-lease", "two").run(&plugin).await.is_err());
    assert!(lease("ns", "one").run(&plugin).await.is_err());

    let accounts = kind("", "serviceaccounts", "ServiceAccount");
    let token = |pod: &str, uid: &str, audience: &str| {
        let spec = json!({"audiences": [audience], "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}});
        at(
            Operation::Create,
            accounts,
            "token",
            "default",
            Some(json!({"spec": spec})),
        )
    };
    assert!(
        token("mine", "uid-mine", "vault")
            .run(&plugin)
            .await
            .is_ok()
    );
    for (write, why) in [
        (
            at(
                Operation::Create,
                accounts,
                "token",
                "default",
                Some(json!({"spec": {}})),
            ),
            "node requested token not bound to a pod",
        ),
        (
            token("mine", "", ""),
            "node requested token with a pod binding without a uid",
        ),
        (
            token("mine", "old", ""),
            "the UID in the bound object reference (old) does not match the UID in record. The object might have been deleted and then recreated",
        ),
        (
            token("theirs", "uid-theirs", ""),
            "node requested token bound to a pod scheduled on a different node",
        ),
        (
            token("mine", "uid-mine", "bank"),
            "audience \"bank\" not found in pod spec volume",
        ),
    ] {
        assert_eq!(
            refused(write, &plugin).await,
            format!("serviceaccounts \"default\" is forbidden: {why}")
        );
    }
}

#[tokio::test]
async fn mirror_pods_belong_to_their_node() {
    let fake = Fake::new();
    fake.put(
        "",
        "nodes",
        json!({"metadata": {"name": "one", "uid": "u1"}}),
    );
    let plugin = node_restriction(fake);
    let owner =
        json!({"apiVersion": "v1", "kind": "Node", "name": "one", "uid": "u1", "controller": true});
    let mirror = |owner: Value, spec: Value| {
        let mut pod = pod(spec);
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        pod["metadata"]["ownerReferences"] = owner;
        Write::create(pods(), kubelet(), pod)
    };
    let here = || json!({"nodeName": "one"});
    assert!(mirror(json!([owner]), here()).run(&plugin).await.is_ok());
    let with = |field: &str, value: Value| {
        let mut owner = owner.clone();
        owner[field] = value;
        json!([owner])
    };
    for (owner, spec, why) in [
        (
            json!([owner]),
            json!({"nodeName": "two"}),
            "node \"one\" can only create pods with spec.nodeName set to itself",
        ),
        (
            json!([]),
            here(),
            "node \"one\" can only create pods with an owner reference set to itself",
        ),
        (
            json!([owner, owner]),
            here(),
            "node \"one\" can only create pods with a single owner reference set to itself",
        ),
        (
            with("controller", false.into()),
            here(),
            "node \"one\" can only create pods with a controller owner reference set to itself",
        ),
        (
            with("blockOwnerDeletion", true.into()),
            here(),
            "node \"one\" must not set blockOwnerDeletion on an owner reference",
        ),
        (
            with("uid", "u2".into()),
            here(),
            "node one UID mismatch: expected u2 got u1",
        ),
        (
            json!([owner]),
            json!({"nodeName": "one", "volumes": [{"configMap": {"name": "c"}}]}),
            "node \"one\" can not create pods that reference configmaps",
        ),
    ] {
        assert_eq!(
            refused(mirror(owner, spec), &plugin).await,
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
