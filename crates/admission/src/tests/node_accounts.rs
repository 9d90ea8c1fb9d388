//! NodeRestriction's part for what acts on a node under an account of its own.

use std::collections::BTreeMap;

use super::*;

fn bound(name: &str, uid: &str, audiences: &[&str]) -> Value {
    json!({"spec": {
        "audiences": audiences,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid},
    }})
}

#[tokio::test]
async fn a_node_gets_tokens_that_end_with_it() {
    let fake = Fake::new();
    for name in ["one", "two"] {
        let node = json!({"metadata": {"name": name, "uid": format!("uid-{name}")}});
        fake.put("", "nodes", node);
    }
    let plugin = node_restriction(fake);
    let accounts = kind("", "serviceaccounts", "ServiceAccount");
    let ask = |namespace: &'static str, account: &'static str, asked: Value| Write {
        subresource: "token",
        name: account,
        namespace,
        ..Write::create(accounts, kubelet(), asked)
    };
    let system = "kube-system";
    let good = bound("one", "uid-one", &[]);
    ask(system, "kube-proxy", good.clone())
        .run(&plugin)
        .await
        .unwrap();
    for (namespace, account, asked, why) in [
        (
            system,
            "default",
            good.clone(),
            "node requested token not bound to a pod",
        ),
        (
            "ns",
            "kube-proxy",
            good,
            "node requested token not bound to a pod",
        ),
        (
            system,
            "kube-dns",
            json!({"spec": {}}),
            "node requested token not bound to a pod or to node \"one\"",
        ),
        (
            system,
            "kube-dns",
            bound("two", "uid-two", &[]),
            "node requested token not bound to a pod or to node \"one\"",
        ),
        (
            system,
            "kube-dns",
            bound("one", "", &[]),
            "the UID in the bound object reference () does not match the UID in record. The object might have been deleted and then recreated",
        ),
        (
            system,
            "kube-dns",
            bound("one", "uid-one", &["vault"]),
            "node requested token bound to itself for another audience than the API server",
        ),
    ] {
        let message = refused(ask(namespace, account, asked), &plugin).await;
        assert!(message.ends_with(why), "{message}");
    }
}

fn provisioner(node: Option<&str>) -> UserInfo {
    let extra = node.map(|node| {
        (
            "authentication.kubernetes.io/node-name".to_owned(),
            vec![node.to_owned()],
        )
    });
    UserInfo {
        extra: BTreeMap::from_iter(extra),
        ..user(
            "system:serviceaccount:kube-system:local-path-provisioner",
            &[],
        )
    }
}

fn volume(node: &str, claim: &str, source: &str) -> Value {
    json!({"metadata": {"name": "v"}, "spec": {
        source: {"path": "/d"},
        "claimRef": {"namespace": "ns", "name": claim, "uid": format!("uid-{claim}")},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]},
        ]}},
    }})
}

#[tokio::test]
async fn a_provisioner_writes_volumes_of_its_node() {
    let fake = Fake::new();
    for (name, node) in [("here", "one"), ("there", "two")] {
        let annotations = json!({"volume.kubernetes.io/selected-node": node});
        let metadata = json!({
            "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "annotations": annotations,
        });
        fake.put("", "persistentvolumeclaims", json!({"metadata": metadata}));
    }
    let plugin = node_restriction(fake);
    let volumes = kind("", "persistentvolumes", "PersistentVolume");
    let create = |volume: Value| Write::create(volumes, provisioner(Some("one")), volume);
    create(volume("one", "here", "local"))
        .run(&plugin)
        .await
        .unwrap();
    let mut two_nodes = volume("one", "here", "local");
    two_nodes["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
        ["values"] = json!(["one", "two"]);
    let elsewhere = "the provisioner of node \"one\" can only write local volumes of that node";
    let not_sent = "claim \"there\" was not sent to node \"one\"";
    for (volume, why) in [
        (volume("two", "here", "local"), elsewhere),
        (volume("one", "here", "hostPath"), elsewhere),
        (two_nodes, elsewhere),
        (json!({"spec": {"local": {"path": "/"}}}), elsewhere),
        (volume("one", "there", "local"), not_sent),
    ] {
        let message = refused(create(volume), &plugin).await;
        assert!(message.ends_with(why), "{message}");
    }

    let (ours, theirs) = (
        volume("one", "here", "local"),
        volume("two", "there", "local"),
    );
    let mut labelled = ours.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let mut moved = ours.clone();
    moved["spec"]["claimRef"]["name"] = "there".into();
    let update = |old: &Value, new: Value| {
        Write::update(volumes, provisioner(Some("one")), old.clone(), new)
    };
    update(&ours, labelled).run(&plugin).await.unwrap();
    for (old, new) in [(&ours, moved), (&theirs, theirs.clone())] {
        refused(update(old, new), &plugin).await;
    }
    let delete = |old: Value| Write {
        operation: Operation::Delete,
        object: None,
        old: Some(old),
        ..Write::create(volumes, provisioner(Some("one")), Value::Null)
    };
    delete(ours).run(&plugin).await.unwrap();
    assert!(
        refused(delete(theirs.clone()), &plugin)
            .await
            .ends_with(elsewhere)
    );
    // One that is no part of a node is held to nothing.
    let free = Write::create(volumes, provisioner(None), theirs);
    free.run(&plugin).await.unwrap();
}
