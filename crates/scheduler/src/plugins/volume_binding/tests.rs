use k8s_openapi::api::core::v1::Pod;
use knarr_client::fake;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::{framework::PreBind, snapshot::Snapshot};

fn object<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("an object of this type")
}

fn plugin() -> Arc<VolumeBinding> {
    let plugin = VolumeBinding::new(
        Informer::new(),
        Informer::new(),
        Informer::new(),
        Csi::unfed(),
    );
    for (name, provisioner, mode) in [
        ("now", "x.io/p", "Immediate"),
        ("later", "x.io/p", "WaitForFirstConsumer"),
        (
            "static",
            "kubernetes.io/no-provisioner",
            "WaitForFirstConsumer",
        ),
    ] {
        plugin.classes.apply(object(json!({
            "metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode,
        })));
    }
    Arc::new(plugin)
}

fn claim(name: &str, class: &str, volume: &str) -> PersistentVolumeClaim {
    let annotations = match volume {
        "" => json!({}),
        _ => json!({"pv.kubernetes.io/bind-completed": "yes"}),
    };
    object(json!({
        "metadata": {"namespace": "x", "name": name, "uid": name, "resourceVersion": "1", "annotations": annotations},
        "spec": {
            "storageClassName": class, "volumeName": volume, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }))
}

fn volume(name: &str, class: &str, node: &str, claim: Value) -> PersistentVolume {
    object(json!({
        "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {
            "storageClassName": class, "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "claimRef": claim,
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}},
        },
        "status": {"phase": "Available"},
    }))
}

fn pod(claims: &[&str]) -> PodInfo {
    let volume = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    let volumes: Vec<Value> = claims.iter().map(volume).collect();
    let pod: Pod = object(json!({
        "metadata": {"namespace": "x", "name": "p", "uid": "p"},
        "spec": {"containers": [], "volumes": volumes},
    }));
    PodInfo::new(&Arc::new(pod))
}

fn nodes() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for name in ["a", "b"] {
        let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        snapshot.set_node(&Arc::new(object(node)));
    }
    snapshot
}

/// What is said of the pod on nodes a and b.
fn said(plugin: &Arc<VolumeBinding>, claims: &[&str]) -> String {
    let (pod, snapshot) = (pod(claims), nodes());
    let mut state = CycleState::default();
    if let Err(why) = plugin.pre_filter(&pod, &snapshot, &mut state) {
        return why.into_owned();
    }
    let said = snapshot
        .nodes()
        .map(|node| match plugin.filter(&pod, node, &state) {
            Ok(()) => "fits".to_owned(),
            Err(refusal) => refusal.reasons.join(", "),
        });
    said.collect::<Vec<_>>().join(" / ")
}

#[test]
fn pods_that_go_nowhere() {
    let plugin = plugin();
    assert_eq!(said(&plugin, &[]), "fits / fits");
    assert_eq!(
        said(&plugin, &["c"]),
        "persistentvolumeclaim \"c\" not found"
    );
    plugin.claims.apply(claim("c", "now", ""));
    assert_eq!(said(&plugin, &["c"]), UNBOUND_IMMEDIATE);
    let mut going = claim("c", "later", "");
    going.metadata.deletion_timestamp = Some(object(json!("2030-01-01T00:00:00Z")));
    plugin.claims.apply(going);
    assert_eq!(
        said(&plugin, &["c"]),
        "persistentvolumeclaim \"c\" is being deleted"
    );
    let mut lost = claim("c", "later", "gone");
    lost.status = Some(object(json!({"phase": "Lost"})));
    plugin.claims.apply(lost);
    assert_eq!(
        said(&plugin, &["c"]),
        "persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"gone\""
    );
}

#[test]
fn nodes_that_do_not_fit() {
    let plugin = plugin();
    plugin.claims.apply(claim("c", "now", "v"));
    assert_eq!(said(&plugin, &["c"]), format!("{NO_VOLUME} / {NO_VOLUME}"));
    plugin
        .volumes
        .apply(volume("v", "now", "b", json!({"uid": "c"})));
    assert_eq!(said(&plugin, &["c"]), format!("{NODE_CONFLICT} / fits"));
    plugin.claims.apply(claim("provisioned", "later", ""));
    assert_eq!(said(&plugin, &["provisioned"]), "fits / fits");
    plugin.claims.apply(claim("waits", "static", ""));
    assert_eq!(
        said(&plugin, &["waits"]),
        format!("{BIND_CONFLICT} / {BIND_CONFLICT}")
    );
    plugin
        .volumes
        .apply(volume("free", "static", "a", Value::Null));
    assert_eq!(said(&plugin, &["waits"]), format!("fits / {BIND_CONFLICT}"));
    // One volume is not enough for two claims.
    plugin.claims.apply(claim("waits-too", "static", ""));
    assert_eq!(
        said(&plugin, &["waits", "waits-too"]),
        format!("{BIND_CONFLICT} / {BIND_CONFLICT}")
    );
    let mut selected = claim("provisioned", "later", "");
    let annotations = selected.metadata.annotations.get_or_insert_default();
    annotations.insert(
        knarr_volumes::names::SELECTED_NODE.to_owned(),
        "b".to_owned(),
    );
    plugin.claims.apply(selected);
    assert_eq!(
        said(&plugin, &["provisioned"]),
        format!("{BIND_CONFLICT} / fits")
    );
}

#[test]
fn what_is_taken_is_kept_from_others() {
    let plugin = plugin();
    plugin.claims.apply(claim("one", "static", ""));
    plugin.claims.apply(claim("two", "static", ""));
    plugin
        .volumes
        .apply(volume("v", "static", "a", Value::Null));
    let snapshot = nodes();
    let node = snapshot.node("a").expect("a node");
    let binds = Binds {
        plugin: plugin.clone(),
        limit: Duration::from_secs(600),
    };
    let taken = binds.reserve(&pod(&["one"]), node).expect("a volume");
    assert!(taken.is_some());
    assert!(binds.reserve(&pod(&["two"]), node).is_err());
    // Another pod of the same claim gets the same volume.
    let again = binds.reserve(&pod(&["one"]), node).expect("the volume");
    drop(taken);
    assert!(binds.reserve(&pod(&["two"]), node).is_err());
    drop(again);
    assert!(binds.reserve(&pod(&["two"]), node).is_ok());
    assert!(
        binds
            .reserve(&pod(&[]), node)
            .is_ok_and(|none| none.is_none())
    );
}

#[test]
fn what_wakes_a_pod() {
    let plugin = plugin();
    let helps = |claims: &[&str], event: VolumeEvent<'_>| plugin.volumes_help(&pod(claims), &event);
    let claim = |name| VolumeEvent::Claim {
        namespace: "x",
        name,
    };
    assert!(helps(&["c"], claim("c")));
    assert!(!helps(&["c"], claim("other")));
    assert!(helps(&["c"], VolumeEvent::Volume) && !helps(&[], VolumeEvent::Volume));
}

/// Has claims bound on node a by a server that accepts everything: `react` is the rest of the cluster.
async fn bind(
    plugin: &Arc<VolumeBinding>,
    claims: &[&str],
    wanted: bool,
    react: impl Fn(&str, &Value),
) -> Result<(), String> {
    let (client, mut server) = fake::client();
    let snapshot = nodes();
    let binds = Binds {
        plugin: plugin.clone(),
        limit: Duration::from_secs(600),
    };
    let taken = binds.reserve(&pod(claims), snapshot.node("a").expect("a node"));
    let mut taken = taken.expect("volumes").expect("claims that wait");
    let asked = PreBind {
        client: &client,
        wanted: &|| wanted,
        waits: &|_| (),
    };
    let binding = taken.pre_bind(&asked);
    tokio::pin!(binding);
    let mut answered = false;
    loop {
        tokio::select! {
            result = &mut binding => return result,
            // There is one write a claim, and one claim; what is waited for then is not the server.
            request = server.next(), if !answered => {
                answered = true;
                let (path, mut body) = (request.uri.clone(), request.body.clone());
                body["metadata"]["resourceVersion"] = json!("7");
                request.answer(200, &body);
                react(path.split('?').next().unwrap_or_default(), &body);
                binds.wake();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn provisioners_are_told_the_node() {
    let plugin = plugin();
    plugin.claims.apply(claim("c", "later", ""));
    let result = bind(&plugin, &["c"], true, |path, body| {
        assert_eq!(path, "/api/v1/namespaces/x/persistentvolumeclaims/c");
        let node = &body["metadata"]["annotations"]["volume.kubernetes.io/selected-node"];
        assert_eq!(node, "a");
        plugin.volumes.apply(volume(
            "made",
            "later",
            "a",
            json!({"namespace": "x", "name": "c", "uid": "c"}),
        ));
        plugin.claims.apply(claim("c", "later", "made"));
    });
    assert_eq!(result.await, Ok(()));
    // The mark is taken away: the node will not do.
    plugin.claims.apply(claim("d", "later", ""));
    let result = bind(&plugin, &["d"], true, |_, _| {
        let mut reset = claim("d", "later", "");
        reset.metadata.resource_version = Some("8".to_owned());
        plugin.claims.apply(reset);
    });
    let why = "binding volumes: selectedNode annotation reset for PVC \"d\"";
    assert_eq!(result.await, Err(why.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn volumes_that_are_there_get_the_claim() {
    let plugin = plugin();
    plugin.claims.apply(claim("c", "static", ""));
    plugin
        .volumes
        .apply(volume("v", "static", "a", Value::Null));
    let result = bind(&plugin, &["c"], true, |path, body| {
        assert_eq!(path, "/api/v1/persistentvolumes/v");
        assert_eq!(body["spec"]["claimRef"]["uid"], "c");
        assert_eq!(
            body["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"],
            "yes"
        );
        plugin.volumes.apply(object(body.clone()));
        plugin.claims.apply(claim("c", "static", "v"));
    });
    assert_eq!(result.await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let plugin = plugin();
    plugin.claims.apply(claim("c", "later", ""));
    let late = bind(&plugin, &["c"], true, |_, _| {}).await;
    assert_eq!(
        late,
        Err("binding volumes: context deadline exceeded".to_owned())
    );
    let gone = bind(&plugin, &["c"], false, |_, _| {}).await;
    assert_eq!(
        gone,
        Err("binding volumes: pod does not exist any more".to_owned())
    );
    let deleted = bind(&plugin, &["c"], true, |_, _| {
        plugin.claims.remove(claim("c", "later", ""))
    })
    .await;
    assert_eq!(
        deleted,
        Err("binding volumes: persistentvolumeclaim \"c\" does not exist any more".to_owned())
    );
}

#[test]
fn a_claim_for_one_pod_is_not_given_to_two() {
    let plugin = plugin();
    let restrictions =
        crate::plugins::volume_restrictions::VolumeRestrictions::new(plugin.claims.clone());
    let mut snapshot = nodes();
    let mut user = pod(&["c"]).whole().cloned().unwrap();
    user.metadata.uid = Some("user".to_owned());
    snapshot.assume(Arc::new(PodInfo::new(&Arc::new(user))), "a");
    let said = |modes: &[&str]| {
        let mut claim = claim("c", "now", "v");
        let modes = modes.iter().map(|mode| (*mode).to_owned()).collect();
        claim.spec.get_or_insert_default().access_modes = Some(modes);
        plugin.claims.apply(claim);
        let mut state = CycleState::default();
        let found = restrictions.pre_filter(&pod(&["c"]), &snapshot, &mut state);
        if found == Ok(PreFilter::Skip) {
            return Vec::new();
        }
        let said = snapshot.nodes().map(|node| {
            let verdict = restrictions.filter(&pod(&["c"]), node, &state);
            verdict.is_err()
        });
        said.collect::<Vec<_>>()
    };
    assert!(said(&["ReadWriteOnce"]).is_empty());
    // No other node may have it either, while it has a user.
    assert_eq!(said(&["ReadWriteOncePod"]), [true, true]);
}
