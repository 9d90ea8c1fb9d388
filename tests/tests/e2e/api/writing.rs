//! Creating, replacing, deleting; dry runs, finalizers, subresources, namespaces.

use anyhow::{Result, ensure};
use knarr_testkit::eventually_async;
use serde_json::{Value, json};

use super::{Caller, names, revision};
use crate::support::{SOON, name};

const MERGE: &str = "application/merge-patch+json";

fn config_map(metadata: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}})
}

pub async fn create(api: &Caller<'_>) -> Result<()> {
    let path = api.core("configmaps");
    let made = api
        .post(
            &path,
            &config_map(&json!({"name": "a", "uid": "mine", "generation": 7})),
        )
        .await?
        .is(201)?
        .body;
    let metadata = &made["metadata"];
    ensure!(
        metadata["uid"].as_str().is_some_and(|uid| uid.len() == 36),
        "{metadata}"
    );
    ensure!(metadata["namespace"] == api.namespace, "{metadata}");
    api.post(&path, &config_map(&json!({"name": "a"})))
        .await?
        .fails(409, "AlreadyExists", "configmaps \"a\" already exists")?;
    let made = api
        .post(&path, &config_map(&json!({"generateName": "b-"})))
        .await?
        .is(201)?
        .body;
    ensure!(
        name(&made).starts_with("b-") && name(&made).len() == 7,
        "{made}"
    );
    let other = config_map(&json!({"name": "c", "namespace": "elsewhere"}));
    api.post(&path, &other).await?.fails(
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    )?;
    api.post(&path, &config_map(&json!({}))).await?.is(422)?;
    let elsewhere = "/api/v1/namespaces/elsewhere/configmaps";
    api.post(elsewhere, &config_map(&json!({"name": "c"})))
        .await?
        .fails(404, "NotFound", "namespaces \"elsewhere\" not found")?;
    Ok(())
}

pub async fn update(api: &Caller<'_>) -> Result<()> {
    let path = api.core("configmaps/a");
    let first = api.config_map("a", json!({})).await?;
    // Nothing changed: nothing is written.
    let same = api.put(&path, &first).await?.is(200)?;
    ensure!(same.revision()? == revision(&first)?, "a no-op was written");
    let mut second = first.clone();
    second["data"]["a"] = "2".into();
    let second = api.put(&path, &second).await?.is(200)?.body;
    ensure!(revision(&second)? > revision(&first)?, "{second}");
    let mut stale = first.clone();
    stale["data"]["a"] = "3".into();
    api.put(&path, &stale).await?.fails(
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
    )?;
    // Without a revision the last one wins.
    stale["metadata"]["resourceVersion"] = Value::Null;
    ensure!(api.put(&path, &stale).await?.is(200)?.body["data"]["a"] == "3");
    let other = api.core("configmaps/b");
    let answer = api.put(&other, &stale).await?.is(400)?;
    ensure!(
        answer
            .text
            .contains("the name of the object (a) does not match the name on the URL (b)"),
        "{}",
        answer.text
    );
    api.put(&other, &config_map(&json!({"name": "b"})))
        .await?
        .is(404)?;
    Ok(())
}

pub async fn dry_run(api: &Caller<'_>) -> Result<()> {
    let path = api.core("configmaps");
    let made = api
        .post(
            &format!("{path}?dryRun=All"),
            &config_map(&json!({"name": "a"})),
        )
        .await?
        .is(201)?
        .body;
    let metadata = &made["metadata"];
    ensure!(
        !metadata["uid"].is_null() && metadata["resourceVersion"].is_null(),
        "{made}"
    );
    api.get(&format!("{path}/a")).await?.is(404)?;
    api.config_map("b", json!({})).await?;
    api.delete(&format!("{path}/b?dryRun=All")).await?.is(200)?;
    let patch = json!({"data": {"a": "2"}});
    let patched = api
        .patch(&format!("{path}/b?dryRun=All"), MERGE, &patch)
        .await?
        .is(200)?
        .body;
    ensure!(patched["data"]["a"] == "2", "{patched}");
    ensure!(api.get(&format!("{path}/b")).await?.is(200)?.body["data"]["a"] == "1");
    let message = "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"x\"]: supported values: \"All\"";
    api.post(
        &format!("{path}?dryRun=x"),
        &config_map(&json!({"name": "c"})),
    )
    .await?
    .fails(422, "Invalid", message)?;
    Ok(())
}

pub async fn delete(api: &Caller<'_>) -> Result<()> {
    let path = api.core("configmaps/a");
    let made = api.config_map("a", json!({})).await?;
    let uid = made["metadata"]["uid"].as_str().unwrap_or_default();
    let options =
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "another"}});
    let answer = api
        .send("DELETE", &path, &[super::JSON], &options.to_string())
        .await?
        .is(409)?;
    ensure!(
        answer
            .text
            .contains("the UID in the precondition (another) does not match the UID in record"),
        "{}",
        answer.text
    );
    let options =
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}});
    let answer = api
        .send("DELETE", &path, &[super::JSON], &options.to_string())
        .await?
        .is(200)?;
    ensure!(
        answer.body["status"] == "Success" && answer.body["details"]["uid"] == uid,
        "{}",
        answer.text
    );
    api.delete(&path)
        .await?
        .fails(404, "NotFound", "configmaps \"a\" not found")?;

    for number in 0..4 {
        api.config_map(
            &format!("many-{number}"),
            json!({"odd": format!("{}", number % 2)}),
        )
        .await?;
    }
    api.delete(&format!("{}?labelSelector=odd%3D1", api.core("configmaps")))
        .await?
        .is(200)?;
    let left = api
        .get(&format!("{}?labelSelector=odd", api.core("configmaps")))
        .await?
        .is(200)?
        .body;
    ensure!(names(&left) == ["many-0", "many-2"], "{:?}", names(&left));
    Ok(())
}

pub async fn finalizers(api: &Caller<'_>) -> Result<()> {
    let path = api.core("configmaps/held");
    let metadata = json!({"name": "held", "finalizers": ["example.com/hold"]});
    api.post(&api.core("configmaps"), &config_map(&metadata))
        .await?
        .is(201)?;
    let deleted = api.delete(&path).await?.is(200)?.body;
    ensure!(
        deleted["metadata"]["deletionTimestamp"].is_string(),
        "{deleted}"
    );
    let patch = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    let answer = api.patch(&path, MERGE, &patch).await?.is(422)?;
    ensure!(
        answer
            .text
            .contains("no new finalizers can be added if the object is being deleted"),
        "{}",
        answer.text
    );
    api.patch(&path, MERGE, &json!({"metadata": {"finalizers": null}}))
        .await?
        .is(200)?;
    api.get(&path).await?.is(404)?;

    // What is owned goes with its owner.
    let owner = api.config_map("owner", json!({})).await?;
    let reference = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"],
    }]);
    let owned = config_map(&json!({"name": "owned", "ownerReferences": reference}));
    api.post(&api.core("configmaps"), &owned).await?.is(201)?;
    api.delete(&api.core("configmaps/owner")).await?.is(200)?;
    eventually_async(SOON, "the owned object is gone", async || {
        api.get(&api.core("configmaps/owned"))
            .await?
            .is(404)
            .map(drop)
    })
    .await
}

pub async fn subresources(api: &Caller<'_>) -> Result<()> {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {
                "metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "a", "image": "knarr/busybox:latest"}]},
            },
        },
    });
    let path = api.apps("deployments/a");
    let made = api
        .post(&api.apps("deployments"), &deployment)
        .await?
        .is(201)?
        .body;
    ensure!(made["metadata"]["generation"] == 1, "{made}");
    // The main resource ignores status, and status ignores the rest.
    let patch = json!({"spec": {"paused": true}, "status": {"replicas": 9}});
    let patched = api.patch(&path, MERGE, &patch).await?.is(200)?.body;
    ensure!(
        patched["metadata"]["generation"] == 2 && patched["status"]["replicas"] != 9,
        "{patched}"
    );
    let patch = json!({"spec": {"paused": false}, "status": {"observedGeneration": 77}});
    let patched = api
        .patch(&format!("{path}/status"), MERGE, &patch)
        .await?
        .is(200)?
        .body;
    ensure!(
        patched["spec"]["paused"] == true && patched["metadata"]["generation"] == 2,
        "{patched}"
    );
    let patched = api
        .patch(&path, MERGE, &json!({"metadata": {"labels": {"b": "c"}}}))
        .await?
        .is(200)?
        .body;
    ensure!(
        patched["metadata"]["generation"] == 2,
        "a label raised the generation"
    );

    let scale = api.get(&format!("{path}/scale")).await?.is(200)?.body;
    ensure!(
        scale["kind"] == "Scale" && scale["apiVersion"] == "autoscaling/v1",
        "{scale}"
    );
    ensure!(scale["status"]["selector"] == "app=a", "{scale}");
    let patched = api
        .patch(
            &format!("{path}/scale"),
            MERGE,
            &json!({"spec": {"replicas": 1}}),
        )
        .await?
        .is(200)?
        .body;
    ensure!(patched["spec"]["replicas"] == 1, "{patched}");
    ensure!(api.get(&path).await?.is(200)?.body["spec"]["replicas"] == 1);
    Ok(())
}

pub async fn namespaces(api: &Caller<'_>) -> Result<()> {
    let all = api.get("/api/v1/namespaces").await?.is(200)?.body;
    for wanted in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        ensure!(names(&all).contains(&wanted), "no namespace {wanted}");
    }
    let system = api
        .get("/api/v1/namespaces/kube-system/services/kube-dns")
        .await?
        .is(200)?
        .body;
    ensure!(system["spec"]["clusterIP"] == "10.43.0.10", "{system}");
    let kubernetes = api
        .get("/api/v1/namespaces/default/endpoints/kubernetes")
        .await?
        .is(200)?
        .body;
    ensure!(
        kubernetes["subsets"][0]["addresses"][0]["ip"] == knarr_testkit::NODE_IP,
        "{kubernetes}"
    );
    for wanted in ["configmaps/kube-root-ca.crt", "serviceaccounts/default"] {
        eventually_async(SOON, wanted, async || {
            api.get(&api.core(wanted)).await?.is(200).map(drop)
        })
        .await?;
    }
    // A namespace that something holds refuses what is new, and goes when it is let go.
    let base = "/api/v1/namespaces/ending";
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ending"}});
    api.post("/api/v1/namespaces", &object).await?.is(201)?;
    let held = config_map(&json!({"name": "held", "finalizers": ["example.com/hold"]}));
    api.post(&format!("{base}/configmaps"), &held)
        .await?
        .is(201)?;
    api.post(
        &format!("{base}/configmaps"),
        &config_map(&json!({"name": "free"})),
    )
    .await?
    .is(201)?;
    let deleted = api.delete(base).await?.is(200)?.body;
    ensure!(deleted["status"]["phase"] == "Terminating", "{deleted}");
    let refused = api
        .post(
            &format!("{base}/configmaps"),
            &config_map(&json!({"name": "late"})),
        )
        .await?
        .is(403)?;
    ensure!(
        refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating",
        "{}",
        refused.text
    );
    eventually_async(SOON, "what is not held is gone", async || {
        api.get(&format!("{base}/configmaps/free"))
            .await?
            .is(404)
            .map(drop)
    })
    .await?;
    api.patch(
        &format!("{base}/configmaps/held"),
        MERGE,
        &json!({"metadata": {"finalizers": null}}),
    )
    .await?
    .is(200)?;
    eventually_async(SOON, "the namespace is gone", async || {
        api.get(base).await?.is(404).map(drop)
    })
    .await
}
