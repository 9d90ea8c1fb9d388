//! What the cluster keeps in order by itself, with kubectl: tokens that end and what they sign, classes that are used, stored versions,
//! what nodes are told.

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};
use knarr_testkit::eventually;
use serde_json::{Value, json};

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

const TOKEN: &str = "bootstrap-token-abc123";
const SIGNATURE: &str = "jws-kubeconfig-abc123";

#[test]
fn the_cluster_keeps_house() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        let system = Shell::new(cluster, newest()?, "kube-system");
        let public = Shell::new(cluster, newest()?, "kube-public");
        step("a token signs", || token_signs(&system, &public))?;
        step("it ends", || token_ends(&system, &public))?;
        step("a class stays while it is used", || class_is_used(&shell))?;
        step("stored objects are written again", || migrated(&shell))?;
        step("nodes are told", || nodes_are_told(&shell))
    });
}

/// Whether `cluster-info` has the token's signature, or has none.
fn signed(public: &Shell<'_>, wanted: bool) -> Result<()> {
    let map = public.get("configmap cluster-info")?;
    ensure!(map["data"]["kubeconfig"].is_string(), "{map}");
    ensure!(map["data"][SIGNATURE].is_string() == wanted, "{map}");
    Ok(())
}

fn token_signs(system: &Shell<'_>, public: &Shell<'_>) -> Result<()> {
    let token = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": TOKEN}, "type": "bootstrap.kubernetes.io/token",
        "stringData": {"token-id": "abc123", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"},
    });
    signed(public, false)?;
    system.apply(&token.to_string())?;
    eventually(SOON, "the signature", || signed(public, true))
}

/// An hour that has passed: nothing waits here.
fn token_ends(system: &Shell<'_>, public: &Shell<'_>) -> Result<()> {
    let end = Timestamp::now() - SignedDuration::from_hours(1);
    let patch =
        json!({"stringData": {"expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}});
    system.words(&[
        "patch",
        "secret",
        TOKEN,
        "--type=merge",
        "-p",
        &patch.to_string(),
    ])?;
    system.run(&format!("wait --for=delete secret/{TOKEN} --timeout=60s"))?;
    eventually(SOON, "no signature", || signed(public, false))
}

fn class_is_used(shell: &Shell<'_>) -> Result<()> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": "gold"},
        "driverName": "d.example.com", "parameters": {"tier": "gold"},
    });
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeAttributesClassName": "gold",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    shell.apply(&class.to_string())?;
    shell.apply(&claim.to_string())?;
    eventually(SOON, "the finalizer", || {
        let class = shell.get("volumeattributesclass gold")?;
        let finalizers = &class["metadata"]["finalizers"];
        ensure!(
            *finalizers == json!(["kubernetes.io/vac-protection"]),
            "{class}"
        );
        Ok(())
    })?;
    shell.run("delete volumeattributesclass gold --wait=false")?;
    let going = shell.get("volumeattributesclass gold")?;
    ensure!(
        going["metadata"]["deletionTimestamp"].is_string(),
        "{going}"
    );
    shell.run("delete pvc data")?;
    shell.run("wait --for=delete volumeattributesclass/gold --timeout=60s")?;
    Ok(())
}

fn migrated(shell: &Shell<'_>) -> Result<()> {
    shell.run("create configmap kept --from-literal=a=b")?;
    let revision = |map: &Value| map["metadata"]["resourceVersion"].clone();
    let before = shell.get("configmap kept")?;
    let migration = json!({
        "apiVersion": "storagemigration.k8s.io/v1", "kind": "StorageVersionMigration",
        "metadata": {"name": "maps"}, "spec": {"resource": {"group": "", "resource": "configmaps"}},
    });
    shell.apply(&migration.to_string())?;
    shell.run("wait --for=condition=Succeeded storageversionmigration/maps --timeout=60s")?;
    let after = shell.get("configmap kept")?;
    ensure!(after["data"] == before["data"], "{after}");
    // What is stored as it would be written is not written.
    ensure!(revision(&after) == revision(&before), "{after}");
    Ok(())
}

fn nodes_are_told(shell: &Shell<'_>) -> Result<()> {
    const TTL: &str = "node.alpha.kubernetes.io/ttl";
    let told = |value: &str| -> Result<()> {
        let nodes = shell.get("nodes")?;
        let told = &nodes["items"][0]["metadata"]["annotations"][TTL];
        ensure!(told == value, "{told}");
        Ok(())
    };
    eventually(SOON, "the annotation", || told("0"))?;
    shell.run(&format!("annotate nodes --all --overwrite {TTL}=77"))?;
    eventually(SOON, "the annotation as it was", || told("0"))
}
