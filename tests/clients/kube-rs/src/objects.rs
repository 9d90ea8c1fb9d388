//! Objects, watches and server-side apply.

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::{
    Api, Client, Discovery,
    api::{
        DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
        WatchParams,
    },
    core::{GroupVersionKind, PartialObjectMeta},
    discovery,
    runtime::{WatchStreamExt, reflector, watcher},
};
use serde_json::json;

use crate::{
    NAMESPACE,
    steps::{Steps, eventually, want},
};

pub fn add(steps: &mut Steps, client: &Client) {
    steps.add("namespace", namespace(client.clone()));
    steps.add("discovery", discover(client.clone()));
    steps.add("api-verbs", verbs(client.clone()));
    steps.add("dynamic-object", dynamic(client.clone()));
    steps.add("watch", watch(client.clone()));
    steps.add(
        "watcher-lists",
        watches(client.clone(), "listed", watcher::Config::default()),
    );
    let streaming = watcher::Config::default().streaming_lists();
    steps.add(
        "watcher-streams-list",
        watches(client.clone(), "streamed", streaming),
    );
    steps.add("metadata-watcher", metadata_watches(client.clone()));
    steps.add("reflector", reflects(client.clone()));
    steps.add("apply", apply(client.clone()));
    steps.add("apply-conflict", conflict(client.clone()));
}

pub fn maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn map(name: &str, value: &str) -> Result<ConfigMap> {
    Ok(serde_json::from_value(
        json!({"metadata": {"name": name}, "data": {"key": value}}),
    )?)
}

fn value(map: &ConfigMap) -> Option<&str> {
    map.data.as_ref()?.get("key").map(String::as_str)
}

async fn namespace(client: Client) -> Result<()> {
    let object = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &object)
        .await?;
    let accounts = Api::<ServiceAccount>::namespaced(client, NAMESPACE);
    eventually(async || Ok(accounts.get("default").await.map(drop)?)).await
}

async fn discover(client: Client) -> Result<()> {
    let found = Discovery::new(client).run().await?;
    let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let (resource, _) = found
        .resolve_gvk(&kind)
        .context("there are no Deployments")?;
    want("the resource", resource.plural.as_str(), "deployments")
}

async fn verbs(client: Client) -> Result<()> {
    let api = maps(&client);
    let mut made = api
        .create(&PostParams::default(), &map("verbs", "first")?)
        .await?;
    made.data = map("verbs", "second")?.data;
    api.replace("verbs", &PostParams::default(), &made).await?;
    let patch = Patch::Merge(json!({"data": {"patched": "yes"}}));
    let patched = api.patch("verbs", &PatchParams::default(), &patch).await?;
    want("the key", value(&patched), Some("second"))?;
    let page = api.list(&ListParams::default().limit(1)).await?;
    want("the length of a page", page.items.len(), 1)?;
    if page.metadata.continue_.unwrap_or_default().is_empty() {
        bail!("the first of two pages has no continue token");
    }
    api.delete("verbs", &DeleteParams::default()).await?;
    want("what is left", api.get_opt("verbs").await?.is_some(), false)
}

async fn dynamic(client: Client) -> Result<()> {
    let kind = GroupVersionKind::gvk("", "v1", "ConfigMap");
    let (resource, _) = discovery::pinned_kind(&client, &kind).await?;
    let api = Api::<DynamicObject>::namespaced_with(client, NAMESPACE, &resource);
    let object = DynamicObject::new("dynamic", &resource).data(json!({"data": {"key": "value"}}));
    let made = api.create(&PostParams::default(), &object).await?;
    want("the key", &made.data["data"]["key"], &json!("value"))
}

/// Makes, changes and deletes a config map.
async fn change(api: &Api<ConfigMap>, name: &str) -> Result<()> {
    api.create(&PostParams::default(), &map(name, "first")?)
        .await?;
    let patch = Patch::Merge(json!({"data": {"key": "second"}}));
    api.patch(name, &PatchParams::default(), &patch).await?;
    api.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

async fn watch(client: Client) -> Result<()> {
    let api = maps(&client);
    let version = api
        .list(&ListParams::default())
        .await?
        .metadata
        .resource_version;
    let parameters = WatchParams::default()
        .fields("metadata.name=watched")
        .timeout(20);
    let events = api.watch(&parameters, &version.unwrap_or_default()).await?;
    change(&api, "watched").await?;
    let names = events.try_filter_map(async |event| {
        Ok(match event {
            WatchEvent::Added(_) => Some("added"),
            WatchEvent::Modified(_) => Some("modified"),
            WatchEvent::Deleted(_) => Some("deleted"),
            WatchEvent::Bookmark(_) => None,
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        })
    });
    let seen: Vec<&str> = names.take(3).try_collect().await?;
    want("what is seen", seen, vec!["added", "modified", "deleted"])
}

/// A watcher tells of what there is, then of what becomes of one object.
async fn watches(client: Client, name: &'static str, config: watcher::Config) -> Result<()> {
    let api = maps(&client);
    let before = format!("{name}-before");
    api.create(&PostParams::default(), &map(&before, "")?)
        .await?;
    let events = watcher(api.clone(), config);
    pin_mut!(events);
    let mut initial = false;
    loop {
        match events.next().await.context("the watcher has ended")?? {
            watcher::Event::InitApply(found) if found.metadata.name.as_deref() == Some(&before) => {
                initial = true
            }
            watcher::Event::InitDone => break,
            _ => {}
        }
    }
    want("whether what there is is told", initial, true)?;
    change(&api, name).await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let (what, found) = match events.next().await.context("the watcher has ended")?? {
            watcher::Event::Apply(found) => ("apply", found),
            watcher::Event::Delete(found) => ("delete", found),
            watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::InitDone => {
                bail!("it began anew")
            }
        };
        if found.metadata.name.as_deref() == Some(name) {
            seen.push(what);
        }
    }
    want("what is seen", seen, vec!["apply", "apply", "delete"])
}

async fn metadata_watches(client: Client) -> Result<()> {
    let api = Api::<PartialObjectMeta<ConfigMap>>::namespaced(client, NAMESPACE);
    let events = watcher(api, watcher::Config::default()).applied_objects();
    pin_mut!(events);
    let found = events.next().await.context("the watcher has ended")??;
    want("whether it has a name", found.metadata.name.is_some(), true)
}

async fn reflects(client: Client) -> Result<()> {
    let api = maps(&client);
    let (reader, writer) = reflector::store();
    let events =
        reflector(writer, watcher(api.clone(), watcher::Config::default())).applied_objects();
    let driven = tokio::spawn(events.for_each(|_| std::future::ready(())));
    api.create(&PostParams::default(), &map("reflected", "value")?)
        .await?;
    let key = reflector::ObjectRef::new("reflected").within(NAMESPACE);
    let found = eventually(async || reader.get(&key).context("it is not in the store")).await;
    driven.abort();
    want("the key", value(&*found?), Some("value"))
}

fn apply_of(data: serde_json::Value) -> Patch<serde_json::Value> {
    Patch::Apply(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": data}),
    )
}

async fn apply(client: Client) -> Result<()> {
    let api = maps(&client);
    let by = PatchParams::apply("one");
    api.patch(
        "applied",
        &by,
        &apply_of(json!({"key": "first", "gone": ""})),
    )
    .await?;
    let applied = api
        .patch("applied", &by, &apply_of(json!({"key": "second"})))
        .await?;
    want("the data", applied.data, map("", "second")?.data)
}

async fn conflict(client: Client) -> Result<()> {
    let api = maps(&client);
    let patch = apply_of(json!({"key": "by another"}));
    match api
        .patch("applied", &PatchParams::apply("another"), &patch)
        .await
    {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => bail!("applying what another manager has: {other:?}"),
    }
    api.patch("applied", &PatchParams::apply("another").force(), &patch)
        .await?;
    Ok(())
}
