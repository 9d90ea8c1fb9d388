use knarr_client::fake;
use serde_json::Value;

use super::*;
use crate::fixtures::{object, pod as pod_of};

fn controller(client: kube::Client) -> Arc<AttachDetach> {
    let controller = Arc::new(AttachDetach {
        recorder: Recorder::new(client.clone(), "attachdetach-controller"),
        client,
        sources: Sources {
            pods: Informer::new(),
            claims: Informer::new(),
            volumes: Informer::new(),
            drivers: Informer::new(),
        },
        nodes: Informer::new(),
        attachments: Informer::new(),
        state: Mutex::default(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let sources = &controller.sources;
    sources.claims.apply(object(json!({
        "metadata": {"namespace": "x", "name": "c", "uid": "uid-c"},
        "spec": {"volumeName": "v"}, "status": {"phase": "Bound"},
    })));
    sources.volumes.apply(object(json!({
        "metadata": {"name": "v"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "csi": {"driver": "d", "volumeHandle": "h"},
            "claimRef": {"namespace": "x", "name": "c", "uid": "uid-c"},
        },
    })));
    for name in ["n", "m"] {
        controller.nodes.apply(node(name, &[], &[]));
    }
    controller
}

fn node(name: &str, in_use: &[&str], attached: &[&str]) -> Node {
    let attached: Vec<Value> = (attached.iter())
        .map(|name| json!({"name": name, "devicePath": ""}))
        .collect();
    object(json!({
        "metadata": {"name": name, "uid": name},
        "status": {
            "volumesInUse": in_use, "volumesAttached": attached,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))
}

fn user(name: &str, node: &str) -> Pod {
    let volumes = json!({"spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]}});
    Pod::clone(&pod_of(name, node, volumes))
}

fn attachment(node: &str, attached: bool) -> VolumeAttachment {
    object(json!({
        "metadata": {"name": csi::attachment_name("d", "h", node), "uid": format!("on-{node}")},
        "spec": {"attacher": "d", "nodeName": node, "source": {"persistentVolumeName": "v"}},
        "status": {"attached": attached},
    }))
}

/// Reconciles a node against a server that accepts every write; what was asked of it. `live` is the node as the server has it.
async fn run(
    controller: &AttachDetach,
    server: &mut fake::Server,
    node: &str,
    live: &Node,
) -> Vec<String> {
    let key = Key::new("", node);
    let reconciling = controller.reconcile(&key);
    tokio::pin!(reconciling);
    let mut asked = Vec::new();
    loop {
        tokio::select! {
            result = &mut reconciling => {
                match result {
                    Ok(()) => {}
                    Err(error) => asked.push(format!("{error}")),
                }
                return asked;
            }
            request = server.next() => {
                let path = request.uri.split('?').next().unwrap_or_default().to_owned();
                let last = path.rsplit('/').next().unwrap_or_default().to_owned();
                if path.contains("events") {
                    request.answer(201, &json!({}));
                    continue;
                }
                let body = request.body.clone();
                match request.method.as_str() {
                    "POST" => {
                        asked.push(format!("attach to {}", body["spec"]["nodeName"]));
                        let mut made = body;
                        made["metadata"]["uid"] = json!("made");
                        request.answer(201, &made);
                    }
                    "DELETE" => {
                        asked.push(format!("detach, uid {}", body["preconditions"]["uid"]));
                        request.answer(200, &json!({"kind": "Status", "status": "Success"}));
                    }
                    "PATCH" => {
                        let attached = &body["status"]["volumesAttached"];
                        let names = attached.as_array().map_or(0, Vec::len);
                        asked.push(format!("{last}: {names} attached"));
                        request.answer(200, &serde_json::to_value(live).expect("JSON"));
                    }
                    _ => {
                        asked.push("read".to_owned());
                        request.answer(200, &serde_json::to_value(live).expect("JSON"));
                    }
                }
            }
        }
    }
}

const MOUNTED: &str = "kubernetes.io/csi/d^h";

#[tokio::test]
async fn a_volume_goes_to_its_pods_node_and_is_reported_once_it_is_there() {
    let (client, mut server) = fake::client();
    let controller = controller(client);
    controller.sources.pods.apply(user("p", "n"));
    let live = node("n", &[], &[]);
    let asked = run(&controller, &mut server, "n", &live).await;
    assert_eq!(asked, ["attach to \"n\""]);
    // Not seen by the informer yet, and not made twice.
    assert!(run(&controller, &mut server, "n", &live).await.is_empty());
    controller.attachments.apply(attachment("n", true));
    let asked = run(&controller, &mut server, "n", &live).await;
    assert_eq!(asked, ["status: 1 attached"]);
}

#[tokio::test]
async fn a_second_node_waits_even_for_an_attachment_that_no_informer_has_shown() {
    let (client, mut server) = fake::client();
    let controller = controller(client);
    controller.sources.pods.apply(user("p", "n"));
    controller.sources.pods.apply(user("q", "m"));
    run(&controller, &mut server, "n", &node("n", &[], &[])).await;
    let asked = run(&controller, &mut server, "m", &node("m", &[], &[])).await;
    assert!(asked.is_empty(), "{asked:?}");
}

/// The next request that is about no event.
async fn asked(server: &mut fake::Server) -> fake::Exchange {
    loop {
        let request = server.next().await;
        if !request.uri.contains("events") {
            return request;
        }
        request.answer(201, &json!({}));
    }
}

#[tokio::test]
async fn an_attachment_of_which_nobody_answered_may_be_there() {
    let (client, mut server) = fake::client();
    let controller = controller(client);
    controller.sources.pods.apply(user("p", "n"));
    controller.sources.pods.apply(user("q", "m"));
    let lost = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 504, "reason": "Timeout", "message": "too late",
    });
    let gone = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "none",
    });
    let there = serde_json::to_value(attachment("n", false)).unwrap();
    let on_n = csi::attachment_name("d", "h", "n");
    for (found, answer) in [(true, (200, there)), (false, (404, gone))] {
        let key = Key::new("", "n");
        let (result, ()) = tokio::join!(controller.reconcile(&key), async {
            let request = asked(&mut server).await;
            assert_eq!(request.method, "POST");
            request.answer(504, &lost);
        });
        assert!(result.is_err());
        let key = Key::new("", "m");
        let (result, attached) = tokio::join!(controller.reconcile(&key), async {
            let request = asked(&mut server).await;
            assert_eq!(request.method, "GET");
            assert!(request.uri.contains(&on_n), "{}", request.uri);
            request.answer(answer.0, &answer.1);
            if found {
                return None;
            }
            let request = asked(&mut server).await;
            let node = request.body["spec"]["nodeName"].clone();
            let made = request.body.clone();
            request.answer(201, &made);
            Some(node)
        });
        result.unwrap();
        assert_eq!(attached, (!found).then(|| json!("m")));
        controller.state.lock().assumed.clear();
    }
}

#[tokio::test]
async fn a_volume_is_no_longer_reported_before_it_is_detached() {
    let (client, mut server) = fake::client();
    let controller = controller(client);
    controller.attachments.apply(attachment("n", true));
    controller.nodes.apply(node("n", &[], &[MOUNTED]));
    let asked = run(&controller, &mut server, "n", &node("n", &[], &[])).await;
    assert_eq!(asked, ["status: 0 attached", "detach, uid \"on-n\""]);
}

#[tokio::test]
async fn a_node_that_has_mounted_it_meanwhile_keeps_it() {
    let (client, mut server) = fake::client();
    let controller = controller(client);
    controller.attachments.apply(attachment("n", true));
    controller.nodes.apply(node("n", &[], &[MOUNTED]));
    let live = node("n", &[MOUNTED], &[]);
    let asked = run(&controller, &mut server, "n", &live).await;
    let why = "a volume that was to be detached is mounted";
    assert_eq!(asked, ["status: 0 attached", why]);
    controller.nodes.apply(live.clone());
    let asked = run(&controller, &mut server, "n", &live).await;
    assert_eq!(asked, ["status: 1 attached"]);
}

#[tokio::test]
async fn what_an_earlier_controller_left_is_detached_and_what_others_made_is_not() {
    let (client, mut server) = fake::client();
    let controller = controller(client);
    let mut dangling = attachment("n", true);
    dangling.spec.source.persistent_volume_name = Some("gone".to_owned());
    controller.attachments.apply(dangling);
    let mut foreign = attachment("n", true);
    foreign.metadata.name = Some("by-hand".to_owned());
    controller.attachments.apply(foreign);
    let asked = run(&controller, &mut server, "n", &node("n", &[], &[])).await;
    assert_eq!(asked, ["read", "detach, uid \"on-n\""]);
}

#[tokio::test]
async fn nodes_are_woken_by_what_concerns_their_volumes() {
    let (client, _server) = fake::client();
    let controller = controller(client);
    while let Some(key) = next(&controller) {
        controller.queue.done(&key);
    }
    controller.sources.pods.apply(user("p", "n"));
    assert_eq!(woken(&controller), ["n"]);
    controller.attachments.apply(attachment("m", true));
    assert_eq!(woken(&controller), ["m"]);
    controller.attachments.remove(attachment("m", true));
    assert_eq!(woken(&controller), ["m", "n"]);
    controller.nodes.apply(node("n", &[], &[]));
    assert!(
        woken(&controller).is_empty(),
        "nothing that matters changed"
    );
    controller.nodes.apply(node("n", &[MOUNTED], &[]));
    assert_eq!(woken(&controller), ["n"]);
    let driver = json!({"metadata": {"name": "d"}, "spec": {"attachRequired": false}});
    controller.sources.drivers.apply(object(driver));
    assert_eq!(woken(&controller), ["n"]);
}

fn next(controller: &AttachDetach) -> Option<Key> {
    futures::FutureExt::now_or_never(controller.queue.next()).flatten()
}

fn woken(controller: &AttachDetach) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(key) = next(controller) {
        controller.queue.done(&key);
        names.push(key.name);
    }
    names.sort();
    names
}
