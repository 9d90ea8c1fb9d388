use std::path::Path;

use knarr_client::fake;
use serde_json::json;

use super::*;
use crate::testing::object;

fn provisioner(client: kube::Client, home: &Path) -> Arc<Provisioner> {
    let provisioner = Arc::new(Provisioner {
        node_name: "n1".to_owned(),
        recorder: Recorder::new(client.clone(), names::LOCAL_PATH_PROVISIONER, "n1"),
        client,
        directories: Directories::new(home.join("storage")),
        claims: Informer::new(),
        volumes: Informer::new(),
        classes: Informer::new(),
        queue: WorkQueue::new(),
    });
    provisioner.watch();
    provisioner.classes.apply(object(json!({
        "metadata": {"name": "local-path"}, "provisioner": "rancher.io/local-path",
        "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Delete",
    })));
    provisioner
}

fn claim(modes: &[&str]) -> PersistentVolumeClaim {
    object(json!({
        "metadata": {"namespace": "x", "name": "c", "uid": "0a1b", "annotations": {
            "volume.kubernetes.io/storage-provisioner": "rancher.io/local-path",
            "volume.kubernetes.io/selected-node": "n1",
        }},
        "spec": {
            "storageClassName": "local-path", "accessModes": modes,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }))
}

/// Nothing was asked for this long: the work is done.
const QUIET: Duration = Duration::from_secs(1);

/// Works until there is nothing to do, against a server that keeps volumes; what was asked of it, and what events say.
async fn run(
    provisioner: &Arc<Provisioner>,
    server: &mut fake::Server,
    events: usize,
) -> Vec<String> {
    let working = provisioner.work();
    tokio::pin!(working);
    let mut seen = Vec::new();
    let mut said = 0;
    loop {
        tokio::select! {
            () = &mut working => return seen,
            () = tokio::time::sleep(QUIET) => {
                if said >= events && provisioner.queue.is_empty() {
                    return seen;
                }
            }
            request = server.next() => {
                let path = request.uri.split('?').next().unwrap_or_default().to_owned();
                let mut body = request.body.clone();
                if path.contains("events") {
                    said += 1;
                    let text = |field: &str| body[field].as_str().unwrap_or_default();
                    seen.push(format!("{}: {}{}", text("reason"), text("message"), text("note")));
                    request.answer(201, &body);
                    continue;
                }
                seen.push(format!("{} {path}", request.method));
                let name = path.rsplit('/').next().unwrap_or_default();
                match request.method.as_str() {
                    "POST" => {
                        body["metadata"]["uid"] = json!("u");
                        request.answer(201, &body);
                    }
                    "DELETE" => {
                        assert_eq!(body["preconditions"]["uid"], "u");
                        request.answer(200, &json!({"kind": "Status", "status": "Success"}));
                    }
                    "GET" => match provisioner.volumes.get("", name) {
                        Some(volume) => {
                            let volume = serde_json::to_value(&*volume).expect("JSON");
                            request.answer(200, &volume);
                        }
                        None => request.answer(404, &json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"})),
                    },
                    _ => {
                        assert_eq!(body["metadata"]["finalizers"], json!([]));
                        request.answer(200, &body);
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_claim_gets_a_directory_and_a_volume() {
    let home = tempfile::tempdir().expect("a directory");
    let (client, mut server) = fake::client();
    let provisioner = provisioner(client, home.path());
    provisioner.claims.apply(claim(&["ReadWriteOnce"]));
    let mut seen = run(&provisioner, &mut server, 2).await;
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            "POST /api/v1/persistentvolumes",
            "Provisioning: External provisioner is provisioning volume for claim \"x/c\"",
            "ProvisioningSucceeded: Successfully provisioned volume pvc-0a1b",
        ]
    );
    assert!(home.path().join("storage/pvc-0a1b").is_dir());
}

#[tokio::test]
async fn a_claim_that_cannot_be_served_is_told() {
    let home = tempfile::tempdir().expect("a directory");
    let (client, mut server) = fake::client();
    let provisioner = provisioner(client, home.path());
    provisioner.claims.apply(claim(&["ReadWriteMany"]));
    let seen = run(&provisioner, &mut server, 1).await;
    assert_eq!(
        seen,
        [
            "ProvisioningFailed: failed to provision volume with StorageClass \"local-path\": NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes"
        ]
    );
    assert!(!home.path().join("storage").exists());
}

#[tokio::test]
async fn a_released_volume_goes_with_what_it_holds() {
    let home = tempfile::tempdir().expect("a directory");
    let (client, mut server) = fake::client();
    let provisioner = provisioner(client, home.path());
    let place = home.path().join("storage/pvc-0a1b");
    std::fs::create_dir_all(place.join("data")).expect("a directory");
    let class = provisioner.classes.get("", "local-path").expect("a class");
    let mut volume = plan::volume(
        &claim(&["ReadWriteOnce"]),
        &class,
        "n1",
        &home.path().join("storage"),
    );
    volume.metadata.uid = Some("u".to_owned());
    for (phase, stays) in [("Bound", true), ("Released", false)] {
        volume.status = Some(object(json!({"phase": phase})));
        provisioner.volumes.apply(volume.clone());
        let seen = run(&provisioner, &mut server, 0).await;
        let expected: &[&str] = match stays {
            true => &[],
            false => &[
                "DELETE /api/v1/persistentvolumes/pvc-0a1b",
                "GET /api/v1/persistentvolumes/pvc-0a1b",
                "PUT /api/v1/persistentvolumes/pvc-0a1b",
            ],
        };
        assert_eq!(seen, expected);
        assert_eq!(place.exists(), stays);
    }
}
