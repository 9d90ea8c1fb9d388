use knarr_client::fake;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::object;

fn controller(client: kube::Client) -> Arc<PersistentVolumeBinder> {
    let controller = Arc::new(PersistentVolumeBinder {
        recorder: Recorder::new(client.clone(), "persistentvolume-controller"),
        client,
        volumes: Latest::new(Informer::new()),
        claims: Latest::new(Informer::new()),
        classes: Informer::new(),
        pods: Informer::new(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    controller
}

fn claim(name: &str) -> PersistentVolumeClaim {
    object(json!({
        "metadata": {"namespace": "x", "name": name, "uid": name, "resourceVersion": "1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""},
        "status": {"phase": "Pending"},
    }))
}

fn volume(claim_ref: Value, phase: &str) -> PersistentVolume {
    object(json!({
        "metadata": {"name": "v", "resourceVersion": "1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "claimRef": claim_ref},
        "status": {"phase": phase},
    }))
}

/// Does work against a server that accepts every write and has no claims to read; what was asked of it.
async fn run(
    controller: &PersistentVolumeBinder,
    server: &mut fake::Server,
    work: &Work,
) -> Vec<String> {
    let reconciling = controller.reconcile(work);
    tokio::pin!(reconciling);
    let mut asked = Vec::new();
    let mut revision = 100;
    loop {
        tokio::select! {
            result = &mut reconciling => {
                assert!(result.is_ok(), "{result:?}");
                return asked;
            }
            request = server.next() => {
                let path = request.uri.split('?').next().unwrap_or_default().to_owned();
                if request.method == "GET" {
                    asked.push(format!("GET {path}"));
                    request.answer(404, &json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}));
                    continue;
                }
                if !path.contains("events") {
                    asked.push(format!("{} {path}", request.method));
                }
                revision += 1;
                let mut body = request.body.clone();
                body["metadata"]["resourceVersion"] = json!(revision.to_string());
                request.answer(200, &body);
            }
        }
    }
}

/// The informers show nothing of the first binding yet when the second claim is looked at.
#[tokio::test]
async fn two_claims_do_not_get_one_volume() {
    let (client, mut server) = fake::client();
    let controller = controller(client);
    controller
        .volumes
        .informer()
        .apply(volume(Value::Null, "Available"));
    controller.claims.informer().apply(claim("a"));
    controller.claims.informer().apply(claim("b"));
    let asked = run(&controller, &mut server, &Work::Claim(Key::new("x", "a"))).await;
    assert_eq!(
        asked,
        [
            "PUT /api/v1/persistentvolumes/v",
            "PUT /api/v1/persistentvolumes/v/status",
            "PUT /api/v1/namespaces/x/persistentvolumeclaims/a",
            "PUT /api/v1/namespaces/x/persistentvolumeclaims/a/status",
        ]
    );
    let asked = run(&controller, &mut server, &Work::Claim(Key::new("x", "b"))).await;
    assert_eq!(asked, Vec::<String>::new());
    let again = run(&controller, &mut server, &Work::Claim(Key::new("x", "a"))).await;
    assert_eq!(again, Vec::<String>::new());
}

/// A claim that the informer lacks may be there: only the server can say that a volume is free.
#[tokio::test]
async fn a_volume_is_released_when_the_server_has_no_claim() {
    let (client, mut server) = fake::client();
    let controller = controller(client);
    let bound = json!({"namespace": "x", "name": "a", "uid": "a"});
    controller
        .volumes
        .informer()
        .apply(volume(bound.clone(), "Bound"));
    let work = Work::Volume("v".to_owned());
    let asked = run(&controller, &mut server, &work).await;
    let expected = [
        "GET /api/v1/namespaces/x/persistentvolumeclaims/a",
        "PUT /api/v1/persistentvolumes/v/status",
    ];
    assert_eq!(asked, expected);
    let asked = run(&controller, &mut server, &work).await;
    assert_eq!(asked, Vec::<String>::new(), "it is released already");
}

#[tokio::test]
async fn what_wakes_a_claim() {
    let (client, _server) = fake::client();
    let controller = controller(client);
    let next = async || {
        let key = controller.queue.next().await.expect("a key");
        controller.queue.done(&key);
        key.to_string()
    };
    controller.claims.informer().apply(claim("a"));
    assert_eq!(next().await, "claim x/a");
    controller
        .volumes
        .informer()
        .apply(volume(Value::Null, "Available"));
    assert_eq!([next().await, next().await], ["claim x/a", "volume v"]);
    controller.classes.apply(object(json!({
        "metadata": {"name": "c", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "x.io/p",
    })));
    assert_eq!(next().await, "claim x/a");
    assert!(controller.queue.is_empty());
}
