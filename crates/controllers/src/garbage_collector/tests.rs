//! What live looks lead to: the server's part is played by hand.

use knarr_client::fake::{self, Server};
use kube::discovery::ApiResource;
use serde_json::json;

use super::*;
use crate::fixtures::object;

fn collector() -> (GarbageCollector, Server, Arc<ServedResource>) {
    let (client, server) = fake::client();
    let thing = ServedResource {
        api: ApiResource {
            group: String::new(),
            version: "v1".to_owned(),
            api_version: "v1".to_owned(),
            kind: "Thing".to_owned(),
            plural: "things".to_owned(),
        },
        namespaced: true,
        verbs: Vec::new(),
    };
    let collector = GarbageCollector {
        recorder: Recorder::new(client.clone(), "garbage-collector-controller"),
        client,
        graph: Mutex::default(),
        resources: RwLock::new(Arc::new(vec![thing.clone()])),
        queue: WorkQueue::new(),
        definitions_changed: Notify::new(),
        begun: watch::Sender::new(true),
        gone: Gone::default(),
        tasks: Tasks::new(tokio_util::sync::CancellationToken::new()),
    };
    (collector, server, Arc::new(thing))
}

fn meta(name: &str, revision: &str, owners: &[&str]) -> Value {
    let owners: Vec<Value> = owners
        .iter()
        .map(|owner| json!({"apiVersion": "v1", "kind": "Thing", "name": owner, "uid": format!("uid-{owner}")}))
        .collect();
    json!({"namespace": "x", "name": name, "uid": format!("uid-{name}"), "resourceVersion": revision,
        "ownerReferences": owners})
}

fn thing(metadata: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": ""})
}

/// Answers the next request, which must be this one.
async fn answers(server: &mut Server, request: &str, code: u16, body: &Value) -> Value {
    let next = server.next().await;
    let path = next.uri.split('?').next().unwrap_or_default();
    assert_eq!(format!("{} {path}", next.method), request);
    let sent = next.body.clone();
    next.answer(code, body);
    sent
}

/// Its creation and its deletion may both have been between a watch and the list that replaced it: only looking again tells.
#[tokio::test]
async fn an_owner_that_is_alive_but_was_not_observed_is_looked_at_again() {
    let (collector, mut server, resource) = collector();
    collector.seen(&resource, &object(meta("child", "1", &["owner"])));
    let work = Work::Delete("uid-owner".into());
    let look = "GET /api/v1/namespaces/x/things/owner";
    let alive = thing(&meta("owner", "2", &[]));
    let missing = failure(404, "NotFound");
    let (looked, _) = tokio::join!(
        collector.reconcile(&work),
        answers(&mut server, look, 200, &alive)
    );
    assert!(matches!(looked, Err(Error::Again(_))), "{looked:?}");
    let (looked, _) = tokio::join!(
        collector.reconcile(&work),
        answers(&mut server, look, 404, &missing)
    );
    assert!(looked.is_ok(), "{looked:?}");
    assert!(collector.graph.lock().get("uid-owner").is_none());
}

/// Between the look that finds no owner and the delete somebody adopts the object.
#[tokio::test]
async fn an_object_that_gets_an_owner_meanwhile_is_not_deleted() {
    let (collector, mut server, resource) = collector();
    let orphan = meta("child", "5", &["gone"]);
    collector.seen(&resource, &object(orphan.clone()));
    let work = Work::Delete("uid-child".into());
    let serving = async {
        let child = "/api/v1/namespaces/x/things/child";
        let get = format!("GET {child}");
        answers(&mut server, &get, 200, &thing(&orphan)).await;
        let owner = "GET /api/v1/namespaces/x/things/gone";
        answers(&mut server, owner, 404, &failure(404, "NotFound")).await;
        let conflict = failure(409, "Conflict");
        let delete = format!("DELETE {child}");
        let options = answers(&mut server, &delete, 409, &conflict).await;
        let expected = json!({"uid": "uid-child", "resourceVersion": "5"});
        assert_eq!(options["preconditions"], expected);
        let adopted = thing(&meta("child", "6", &["gone", "new"]));
        answers(&mut server, &get, 200, &adopted).await;
    };
    let (collected, ()) = tokio::join!(collector.reconcile(&work), serving);
    assert!(collected.is_err_and(|error| error.is_race()));
    assert!(server.is_idle(), "nothing more was asked");
}

/// It looks as if it had an owner: its events must say why it goes.
#[tokio::test]
async fn an_object_whose_owner_is_in_another_namespace_is_told_of_and_deleted() {
    let (collector, mut server, resource) = collector();
    let mut owner = meta("owner", "3", &[]);
    owner["namespace"] = json!("y");
    let child = meta("child", "5", &["owner"]);
    collector.seen(&resource, &object(owner));
    collector.seen(&resource, &object(child.clone()));
    let work = Work::Delete("uid-child".into());
    let serving = async {
        let (mut deleted, mut told) = (false, None);
        // The event is written beside the rest.
        while !deleted || told.is_none() {
            let next = server.next().await;
            let path = next.uri.split('?').next().unwrap_or_default().to_owned();
            match (next.method.as_str(), path.as_str()) {
                ("GET", "/api/v1/namespaces/x/things/child") => next.answer(200, &thing(&child)),
                ("GET", "/api/v1/namespaces/x/things/owner") => {
                    next.answer(404, &failure(404, "NotFound"));
                }
                ("DELETE", "/api/v1/namespaces/x/things/child") => {
                    deleted = true;
                    next.answer(200, &thing(&child));
                }
                ("POST", "/api/v1/namespaces/x/events") => {
                    told = Some(next.body.clone());
                    let event = next.body.clone();
                    next.answer(201, &event);
                }
                other => panic!("{other:?}"),
            }
        }
        told.unwrap_or_default()
    };
    let (collected, event) = tokio::join!(collector.reconcile(&work), serving);
    assert!(collected.is_ok(), "{collected:?}");
    assert_eq!(event["reason"], "OwnerRefInvalidNamespace");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["involvedObject"]["uid"], "uid-child");
    let note = "ownerRef [v1/Thing, namespace: x, name: owner, uid: uid-owner] does not exist in namespace \"x\"";
    assert_eq!(event["message"], note);
}

/// Eight of those would hold every worker for as long as the server takes.
#[tokio::test(start_paused = true)]
async fn an_object_whose_server_does_not_answer_is_left_for_later() {
    let (collector, mut server, resource) = collector();
    collector.seen(&resource, &object(meta("child", "1", &["owner"])));
    let work = Work::Delete("uid-owner".into());
    let serving = async {
        let _unanswered = server.next().await;
        server.next().await
    };
    tokio::select! {
        looked = collector.reconcile(&work) => assert!(matches!(looked, Err(Error::Again(_)))),
        _ = serving => panic!("another request"),
    }
}
