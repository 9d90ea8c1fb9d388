//! What kubelets may write.

use super::*;

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
