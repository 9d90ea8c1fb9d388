use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use super::*;
use crate::testing::{
    self,
    fake::{Api, Fake},
};

/// Sources that no kubelet of v1.37 has a plugin for, each with all of its fields.
fn removed() -> [Value; 9] {
    let secret = json!({ "name": "s" });
    [
        json!({ "cephfs": { "monitors": ["m"], "path": "/", "user": "u", "secretFile": "/f", "secretRef": secret, "readOnly": true } }),
        json!({ "flocker": { "datasetName": "n", "datasetUUID": "u" } }),
        json!({ "glusterfs": { "endpoints": "e", "path": "p", "readOnly": true } }),
        json!({ "photonPersistentDisk": { "pdID": "p", "fsType": "ext4" } }),
        json!({ "quobyte": { "registry": "r", "volume": "v", "readOnly": true, "user": "u", "group": "g", "tenant": "t" } }),
        json!({ "rbd": { "monitors": ["m"], "image": "i", "fsType": "ext4", "pool": "p", "user": "u", "keyring": "/k", "secretRef": secret, "readOnly": true } }),
        json!({ "scaleIO": { "gateway": "g", "system": "s", "secretRef": secret, "sslEnabled": true, "protectionDomain": "d", "storagePool": "p", "storageMode": "m", "volumeName": "v", "fsType": "ext4", "readOnly": true } }),
        json!({ "storageos": { "volumeName": "v", "volumeNamespace": "n", "fsType": "ext4", "readOnly": true, "secretRef": secret } }),
        json!({ "gitRepo": { "repository": "r", "revision": "v", "directory": "d" } }),
    ]
}

#[tokio::test]
async fn what_no_kubelet_mounts_any_more_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::default();
    fake.serve(&dir.path().join("cri.sock"));
    for mut source in removed() {
        source["name"] = json!("old");
        let pod = testing::pod(json!({ "containers": [], "volumes": [source] }));
        let api = Api::new(&pod);
        let ctx = testing::context(api.client(), Config::default(), dir.path()).await;
        let error = setup(&ctx, &pod).await.unwrap_err();
        assert_eq!(error.reason(), "FailedMount");
        let text = error.to_string();
        assert!(
            text.starts_with("MountVolume.SetUp failed for volume \"old\" : "),
            "{text}"
        );
    }
}

#[test]
fn volumes_are_of_upstreams_plugins() {
    for (volume, expected) in [
        (
            json!({ "name": "v", "emptyDir": {} }),
            "kubernetes.io/empty-dir",
        ),
        (json!({ "name": "v", "secret": {} }), "kubernetes.io/secret"),
        (
            json!({ "name": "v", "projected": {} }),
            "kubernetes.io/projected",
        ),
        (
            json!({ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }),
            "kubernetes.io/csi",
        ),
    ] {
        let volume: Volume = testing::object(volume);
        assert_eq!(plugin_of(&volume), expected);
    }
}

/// A tenant's volumes whose server does not answer hold a few threads, and only that tenant's pods wait for them.
#[test]
fn servers_that_do_not_answer_hold_few_threads() {
    const PATIENCE: Duration = Duration::from_secs(20);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(2 * MAX_WITHIN_OF_NAMESPACE)
        .build()
        .unwrap();
    let of = |namespace: &str| {
        let mut pod = testing::pod(json!({ "containers": [] }));
        pod.metadata.namespace = Some(namespace.to_owned());
        pod
    };
    runtime.block_on(async {
        let (answer, begun) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::default()));
        let mut waiting = JoinSet::new();
        for _ in 0..4 * MAX_WITHIN_OF_NAMESPACE {
            let (pod, answer, begun) = (of("tenant"), answer.clone(), begun.clone());
            waiting.spawn(async move {
                let work = move || {
                    begun.fetch_add(1, Ordering::Relaxed);
                    answer.wait();
                    Ok(())
                };
                within(&pod, work).await
            });
        }
        let stuck = async {
            while begun.load(Ordering::Relaxed) < MAX_WITHIN_OF_NAMESPACE {
                tokio::task::yield_now().await;
            }
            // Those that are to come, if any are.
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        timeout(PATIENCE, stuck).await.expect("it begins");
        let other = async { within(&of("other"), || Ok(7)).await.unwrap() };
        let found = timeout(PATIENCE, other).await;
        answer.set(()).unwrap();
        assert_eq!(found.expect("a thread is free"), 7);
        while let Some(done) = waiting.join_next().await {
            done.unwrap().unwrap();
        }
    });
}
