use knarr_client::fake;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::object;

fn controller(client: kube::Client) -> NodeLifecycle {
    NodeLifecycle {
        recorder: Recorder::new(client.clone(), "node-controller"),
        client,
        nodes: Informer::new(),
        leases: Informer::new(),
        pods: Informer::new(),
        grace: Duration::from_secs(50),
        heartbeats: Mutex::default(),
        lost: Mutex::default(),
        census: Mutex::default(),
        decided: Mutex::default(),
        evictions: Turns::default(),
        queue: WorkQueue::new(),
    }
}

#[tokio::test]
async fn nodes_are_told_of_when_they_come_and_when_they_go() {
    let (client, mut server) = fake::client();
    let controller = controller(client);
    let node: Node =
        object(json!({"metadata": {"name": "n1", "uid": "u1", "resourceVersion": "7"}}));
    let node = Arc::new(node);
    let mut told = async |event: Event<Node>| {
        controller.node_changed(&event);
        let created = server.next().await;
        let body = created.body.clone();
        created.answer(201, &body);
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        (
            text("reason"),
            text("message"),
            body["involvedObject"].clone(),
        )
    };
    let about = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1"});
    let event = |reason: &str, message: &str, about: &Value| {
        (reason.to_owned(), message.to_owned(), about.clone())
    };
    let registered = "Node n1 event: Registered Node n1 in Controller";
    assert_eq!(
        told(Event::Added(node.clone())).await,
        event("RegisteredNode", registered, &about)
    );
    let removed = "Node n1 event: Removing Node n1 from Controller";
    assert_eq!(
        told(Event::Deleted(node)).await,
        event("RemovingNode", removed, &about)
    );
}
