//! PATCH: its types, and strategic merging.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Caller;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

pub async fn types(api: &Caller<'_>) -> Result<()> {
    let path = api.core("configmaps/a");
    api.config_map("a", json!({"x": "y"})).await?;
    let cases = [
        (
            JSON_PATCH,
            json!([{"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "2"}]),
            json!({"a": "2"}),
        ),
        (
            JSON_PATCH,
            json!([{"op": "add", "path": "/data/b~1c", "value": "3"}]),
            json!({"a": "2", "b/c": "3"}),
        ),
        (
            MERGE,
            json!({"data": {"b/c": null, "d": "4"}}),
            json!({"a": "2", "d": "4"}),
        ),
        (
            STRATEGIC,
            json!({"data": {"d": "5"}}),
            json!({"a": "2", "d": "5"}),
        ),
        (
            STRATEGIC,
            json!({"data": {"$patch": "replace", "e": "6"}}),
            json!({"e": "6"}),
        ),
    ];
    for (kind, patch, wanted) in cases {
        // A slash is no character of a key: such a patch is computed, then refused.
        let answer = api.patch(&path, kind, &patch).await?;
        if wanted.get("b/c").is_some() {
            answer.is(422)?;
            continue;
        }
        let found = answer.is(200)?.body["data"].clone();
        ensure!(
            found == wanted,
            "{kind} {patch}: {found} instead of {wanted}"
        );
    }
    let failed = json!([{"op": "test", "path": "/data/e", "value": "wrong"}]);
    api.patch(&path, JSON_PATCH, &failed).await?.is(422)?;
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"e": "7"}});
    api.patch(&path, MERGE, &stale).await?.is(409)?;
    api.patch(&path, "text/plain", &json!({})).await?.is(415)?;
    api.patch(&path, JSON_PATCH, &json!({"not": "a list"}))
        .await?
        .is(400)?;
    api.patch(&api.core("configmaps/none"), MERGE, &json!({}))
        .await?
        .is(404)?;
    // An apply says whose it is, and what it is.
    api.patch(&path, APPLY, &json!({})).await?.is(422)?;
    let by_me = format!("{path}?fieldManager=me");
    api.patch(&by_me, APPLY, &json!({})).await?.is(400)?;
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"f": "8"}});
    let applied = api.patch(&by_me, APPLY, &config).await?.is(200)?;
    ensure!(
        applied.body["data"] == json!({"e": "6", "f": "8"}),
        "{}",
        applied.text
    );
    Ok(())
}

pub async fn strategic(api: &Caller<'_>) -> Result<()> {
    let container = |name: &str| json!({"name": name, "image": "knarr/busybox:latest", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "finalizers": ["example.com/a", "example.com/b"]},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {
                "metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [container("one"), container("two")]},
            },
        },
    });
    let path = api.apps("deployments/a");
    api.post(&api.apps("deployments"), &deployment)
        .await?
        .is(201)?;
    let template = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    // Lists merge by their keys.
    let patch = template(
        json!({"containers": [{"name": "two", "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}]}),
    );
    let containers = api.patch(&path, STRATEGIC, &patch).await?.is(200)?.body["spec"]["template"]["spec"]["containers"].clone();
    ensure!(
        containers[0]["env"].as_array().map(Vec::len) == Some(2),
        "{containers}"
    );
    let mut env: Vec<(String, String)> = containers[1]["env"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| (e["name"].to_string(), e["value"].to_string()))
        .collect();
    env.sort();
    let wanted = [("\"A\"", "\"1\""), ("\"B\"", "\"3\""), ("\"C\"", "\"4\"")];
    ensure!(
        env.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(wanted),
        "{env:?}"
    );
    // One is taken out, and the rest ordered.
    let patch = template(
        json!({"$setElementOrder/containers": [{"name": "two"}], "containers": [{"$patch": "delete", "name": "one"}]}),
    );
    let containers = api.patch(&path, STRATEGIC, &patch).await?.is(200)?.body["spec"]["template"]["spec"]["containers"].clone();
    ensure!(
        containers.as_array().map(Vec::len) == Some(1) && containers[0]["name"] == "two",
        "{containers}"
    );
    // Lists of plain values lose single ones.
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}});
    let finalizers =
        api.patch(&path, STRATEGIC, &patch).await?.is(200)?.body["metadata"]["finalizers"].clone();
    ensure!(finalizers == json!(["example.com/b"]), "{finalizers}");
    // What is not kept is dropped.
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let strategy =
        api.patch(&path, STRATEGIC, &patch).await?.is(200)?.body["spec"]["strategy"].clone();
    ensure!(strategy == json!({"type": "Recreate"}), "{strategy}");
    let patch = json!({"metadata": {"finalizers": null}});
    api.patch(&path, MERGE, &patch).await?.is(200)?;
    Ok(())
}
