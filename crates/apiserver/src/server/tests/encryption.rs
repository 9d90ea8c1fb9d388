//! What is encrypted in the store, and with which keys.

use std::time::Duration;

use knarr_encryption::{
    Options,
    testing::{Behaviour, Plugin},
};

use knarr_store::Op;

use super::{super::rotation::Phase, *};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const ONE: &str = "{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZg==}";
const TWO: &str = "{name: two, secret: ZmVkY2JhOTg3NjU0MzIxMA==}";
const LIMIT: Duration = Duration::from_secs(60);

const BOTH: &str = "secrets, configmaps";

/// A server whose configuration says this of some resources.
async fn with(dir: tempfile::TempDir, resources: &str, providers: &str) -> Cluster {
    let path = dir.path().join("encryption.yaml");
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [{resources}]\n  providers: [{providers}]\n"
    );
    std::fs::write(&path, text).expect("a file");
    let store = Embedded::open(dir.path().join("store"), Default::default());
    let config = Config {
        node_name: "test".into(),
        encryption: Options {
            config_file: Some(path),
            ..Options::default()
        },
        ..Config::on_loopback(dir.path().join("pki"))
    };
    let server = Server::new(config, Arc::new(store.expect("a store"))).await;
    Cluster {
        server: server.expect("a server"),
        dir,
    }
}

/// Ends a server and gives its directory to the next one.
async fn ended(cluster: Cluster) -> tempfile::TempDir {
    let Cluster { server, dir } = cluster;
    let token = CancellationToken::new();
    token.cancel();
    server.run(token).await.expect("an orderly end");
    dir
}

async fn stored(cluster: &Cluster, key: &str) -> String {
    let store = &cluster.server.core.registry.store;
    let range = store.range(key, None, 1, None).await.expect("a range");
    let value = range.kvs.first().map(|kv| kv.value.clone());
    String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
}

async fn rotated(cluster: &Cluster) -> usize {
    let rotation = cluster.server.rotation();
    rotation.begin().expect("a rotation");
    let waited = tokio::time::timeout(LIMIT, async {
        while rotation.progress().phase == Phase::Writing {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("a rotation in time");
    let progress = rotation.progress();
    assert_eq!(progress.error, None);
    progress.done
}

fn secret(name: &str) -> Value {
    json!({"metadata": {"name": name}, "stringData": {"k": "v"}})
}

/// As kubeadm's etcd has them; on a store of one's own a plain Secret changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_store_without_encryption_is_left_so() {
    for shared in [true, false] {
        let cluster = Cluster::new().await;
        let theirs = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {
            "namespace": "default", "name": "theirs", "uid": "b4f6a2c0-0000-4000-8000-000000000001",
            "creationTimestamp": "2026-01-01T00:00:00Z"}});
        let op = Op::put("/registry/secrets/default/theirs", theirs.to_string());
        let stored_theirs = cluster.server.core.registry.store.commit(op).await;
        stored_theirs.expect("stored");
        let dir = ended(cluster).await;
        let server = open_with(dir.path(), |config| config.shared_store = shared).await;
        let cluster = Cluster { server, dir };
        assert_eq!(cluster.get(&format!("{SECRETS}/theirs")).await.code, 200);
        cluster.create(SECRETS, secret("ours")).await;
        let ours = stored(&cluster, "/registry/secrets/default/ours").await;
        assert_eq!(ours.starts_with("k8s:enc:"), !shared, "{ours}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_taken_up_and_rotated() {
    let cluster = Cluster::new().await;
    cluster.create(SECRETS, secret("own")).await;
    let key = "/registry/secrets/default/own";
    assert!(
        stored(&cluster, key)
            .await
            .starts_with("k8s:enc:aesgcm:v1:local:")
    );
    let providers = format!("{{aescbc: {{keys: [{ONE}]}}}}, {{identity: {{}}}}");
    let cluster = with(ended(cluster).await, BOTH, &providers).await;
    assert_eq!(cluster.get(&format!("{SECRETS}/own")).await.code, 200);
    cluster.create(CONFIGMAPS, configmap("c")).await;
    let map = "/registry/configmaps/default/c";
    assert!(
        stored(&cluster, map)
            .await
            .starts_with("k8s:enc:aescbc:v1:one:")
    );
    // A write that changes nothing stores anew what is encrypted otherwise.
    let own = cluster.get(&format!("{SECRETS}/own")).await.body;
    let uri = format!("{SECRETS}/own");
    let same = cluster.call(Method::PUT, &uri, own.clone()).await;
    assert_eq!(same.code, 200, "{}", same.body);
    assert_ne!(version(&same.body), version(&own));
    assert!(
        stored(&cluster, key)
            .await
            .starts_with("k8s:enc:aescbc:v1:one:")
    );
    let providers = format!("{{aescbc: {{keys: [{TWO}, {ONE}]}}}}, {{identity: {{}}}}");
    let cluster = with(ended(cluster).await, BOTH, &providers).await;
    assert!(rotated(&cluster).await >= 2);
    for key in [key, map] {
        assert!(
            stored(&cluster, key)
                .await
                .starts_with("k8s:enc:aescbc:v1:two:")
        );
    }
    assert_eq!(rotated(&cluster).await, 0, "there is nothing left");
    let providers = format!("{{identity: {{}}}}, {{aescbc: {{keys: [{TWO}]}}}}");
    let cluster = with(ended(cluster).await, BOTH, &providers).await;
    assert!(rotated(&cluster).await >= 2);
    assert!(stored(&cluster, map).await.starts_with('{'));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_key_is_replaced() {
    let cluster = Cluster::new().await;
    cluster.create(SECRETS, secret("a")).await;
    let before = stored(&cluster, "/registry/secrets/default/a").await;
    assert!(rotated(&cluster).await >= 1);
    assert_ne!(
        stored(&cluster, "/registry/secrets/default/a").await,
        before
    );
    assert_eq!(cluster.server.pki().encryption_keys().all().len(), 2);
    // Both keys are there after a restart, too, and what the new one has written is read.
    let dir = ended(cluster).await;
    let cluster = Cluster {
        server: open(dir.path()).await,
        dir,
    };
    assert_eq!(cluster.get(&format!("{SECRETS}/a")).await.code, 200);
    assert_eq!(cluster.get("/healthz/stored-objects").await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_wait_for_their_plugin() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("kms.sock");
    let kms = kms(&socket);
    let plugin = Plugin::start(&socket, Behaviour::default());
    let cluster = with(dir, "secrets", &kms).await;
    cluster.create(SECRETS, secret("s")).await;
    assert!(
        stored(&cluster, "/registry/secrets/default/s")
            .await
            .starts_with("k8s:enc:kms:v2:k:")
    );
    assert_eq!(cluster.get("/readyz/kms-providers").await.code, 200);
    let dir = ended(cluster).await;
    drop(plugin);
    // Who lists is told that there is more than can be read now, and others do not notice.
    let cluster = with(dir, "secrets", &kms).await;
    assert_eq!(cluster.get(SECRETS).await.code, 503);
    assert_eq!(cluster.get(&format!("{SECRETS}/s")).await.code, 503);
    assert_eq!(cluster.get("/api/v1/namespaces").await.code, 200);
    assert_eq!(cluster.get("/readyz/kms-providers").await.code, 500);
    assert_eq!(cluster.get("/readyz?exclude=kms-providers").await.code, 200);
    let _plugin = Plugin::start(&socket, Behaviour::default());
    let waited = tokio::time::timeout(LIMIT, async {
        while cluster.get(&format!("{SECRETS}/s")).await.code != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waited.await.expect("readable again in time");
    assert_eq!(cluster.get(SECRETS).await.code, 200);
}

fn kms(socket: &std::path::Path) -> String {
    format!(
        "{{kms: {{apiVersion: v2, name: k, endpoint: 'unix://{}', timeout: 500ms}}}}, {{identity: {{}}}}",
        socket.display()
    )
}

/// What another server has written with a key that nobody can be asked for now.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_now_is_not_told_as_deleted() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let socket = dirs[0].path().join("kms.sock");
    let plugin = Plugin::start(&socket, Behaviour::default());
    let [one, other] = dirs;
    let cluster = with(one, "secrets", &kms(&socket)).await;
    let made = cluster.create(SECRETS, secret("s")).await;
    let other = with(other, "secrets", &kms(&socket)).await;
    other.create(SECRETS, secret("s")).await;
    let key = "/registry/secrets/default/s";
    let store = &other.server.core.registry.store;
    let theirs = store.range(key, None, 1, None).await.expect("a range");
    let from = version(&made);
    let mut watch = cluster
        .watch(&format!("{SECRETS}?watch=true&resourceVersion={from}"))
        .await;
    plugin.behave(|now| now.hangs = true);
    let put = knarr_store::Op::put(key, theirs.kvs[0].value.clone());
    let store = &cluster.server.core.registry.store;
    store.commit(put).await.expect("committed");
    let told = watch.next().await;
    assert!(told.is_none(), "the watch ends: {told:?}");
    assert_eq!(cluster.get(SECRETS).await.code, 503);
    assert_eq!(
        cluster.get(&format!("{SECRETS}?watch=true")).await.code,
        503
    );
    plugin.behave(|now| now.hangs = false);
    let waited = tokio::time::timeout(LIMIT, async {
        while cluster.get(&format!("{SECRETS}/s")).await.code != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waited.await.expect("readable again in time");
    // Who comes back sees a change.
    let mut watch = cluster
        .watch(&format!("{SECRETS}?watch=true&resourceVersion={from}"))
        .await;
    assert!(watch.short().await.starts_with("MODIFIED s "));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_by_webhooks_and_policies_that_cannot_be_read() {
    const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";
    for (resource, object) in [
        (
            "validatingwebhookconfigurations",
            json!({"metadata": {"name": "x"}, "webhooks": []}),
        ),
        (
            "mutatingwebhookconfigurations",
            json!({"metadata": {"name": "x"}, "webhooks": []}),
        ),
        (
            "validatingadmissionpolicybindings",
            json!({"metadata": {"name": "x"}, "spec": {"policyName": "x", "validationActions": ["Deny"]}}),
        ),
        (
            "validatingadmissionpolicies",
            json!({"metadata": {"name": "x"}, "spec": {
                "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}]},
                "validations": [{"expression": "false"}],
            }}),
        ),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("kms.sock");
        let plugin = Plugin::start(&socket, Behaviour::default());
        let encrypted = "'*.admissionregistration.k8s.io'";
        let cluster = with(dir, encrypted, &kms(&socket)).await;
        let uri = format!("{CONFIGURATIONS}/{resource}");
        cluster.create(&uri, object).await;
        cluster.create(CONFIGMAPS, configmap("a")).await;
        let dir = ended(cluster).await;
        drop(plugin);
        let cluster = with(dir, encrypted, &kms(&socket)).await;
        let refused = cluster.call(Method::POST, CONFIGMAPS, configmap("b")).await;
        assert_eq!(refused.code, 403, "{resource}: {}", refused.body);
        let message = refused.body["message"].as_str().unwrap_or_default();
        assert!(
            message.ends_with("not yet ready to handle request"),
            "{message}"
        );
        let _plugin = Plugin::start(&socket, Behaviour::default());
        let waited = tokio::time::timeout(LIMIT, async {
            while cluster
                .call(Method::POST, CONFIGMAPS, configmap("b"))
                .await
                .code
                != 201
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        waited.await.expect("ready again in time");
    }
}

/// A write that was encrypted when the key was replaced, and came into the store after all others were written anew.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_left_with_a_key_that_is_forgotten() {
    let cluster = Cluster::new().await;
    cluster.create(SECRETS, secret("s")).await;
    let key = "/registry/secrets/default/s";
    let store = cluster.server.core.registry.store.clone();
    let late = store.range(key, None, 1, None).await.expect("a range");
    assert!(rotated(&cluster).await >= 1);
    let put = knarr_store::Op::put(key, late.kvs[0].value.clone());
    store.commit(put).await.expect("committed");
    let waited = tokio::time::timeout(LIMIT, async {
        while cluster.server.rotation().progress().phase != Phase::Done {
            let revision = store.revision().await.expect("a revision");
            if store.compacted() < revision {
                store.compact(revision).await.expect("compacted");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waited.await.expect("an end");
    assert_eq!(cluster.server.pki().encryption_keys().all().len(), 1);
    assert_eq!(cluster.get(&format!("{SECRETS}/s")).await.code, 200);
    drop(store);
    let dir = ended(cluster).await;
    let cluster = Cluster {
        server: open(dir.path()).await,
        dir,
    };
    assert_eq!(cluster.get(&format!("{SECRETS}/s")).await.code, 200);
}
