//! Bringing a status to the API: the difference as one strategic merge patch, nothing when there is none.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Map, Value, json};

use crate::context;

const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Lists that a strategic patch merges by this key; all others are replaced as a whole.
const MERGED: [(&str, &str); 3] = [("conditions", "type"), ("podIPs", "ip"), ("hostIPs", "ip")];

/// What came of a write.
#[derive(Debug)]
pub(crate) enum Written {
    /// The pod as it is now.
    Done(Box<Pod>),
    /// The pod is gone, or another has its name.
    Gone,
    /// To be tried again.
    Failed(String),
}

/// The patch from `old` to `new`; `None` when they are the same.
pub(crate) fn difference(old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let (old, new) = (tree(old), tree(new));
    let mut patch = Map::new();
    for (key, value) in &new {
        let before = old.get(key);
        if before == Some(value) {
            continue;
        }
        let merged = MERGED.iter().find(|(list, _)| list == key);
        // A patch says their order, or new ones come before those that are there.
        if let (Some((_, by)), Some(_)) = (merged, before) {
            let of = |item: &Value| json!({ *by: item.get(by) });
            let order = value.as_array().into_iter().flatten().map(of).collect();
            patch.insert(format!("$setElementOrder/{key}"), order);
        }
        let value = match (merged, before) {
            (Some((_, by)), Some(before)) => merge(before, value, by),
            (None, Some(before)) => within(before, value),
            (_, None) => value.clone(),
        };
        patch.insert(key.clone(), value);
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn tree(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Changed and new fields of an object, and nothing for each that is gone: a patch leaves alone what it does not name.
fn within(old: &Value, new: &Value) -> Value {
    let (Some(old), Some(fields)) = (old.as_object(), new.as_object()) else {
        return new.clone();
    };
    let mut patch = Map::new();
    for (key, value) in fields
        .iter()
        .filter(|(key, value)| old.get(*key) != Some(value))
    {
        let value = old
            .get(key)
            .map_or_else(|| value.clone(), |old| within(old, value));
        patch.insert(key.clone(), value);
    }
    for key in old.keys().filter(|key| !fields.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// Changed and new elements, and a deletion for each that is gone.
fn merge(old: &Value, new: &Value, by: &str) -> Value {
    let (Some(old), Some(new)) = (old.as_array(), new.as_array()) else {
        return new.clone();
    };
    let same = |a: &Value, b: &Value| a.get(by) == b.get(by);
    let mut list: Vec<Value> = Vec::new();
    for item in new {
        let before = old.iter().find(|o| same(o, item));
        if before == Some(item) {
            continue;
        }
        let mut item = item.clone();
        // A field that is gone has to be said to be gone.
        if let (Some(before), Some(item)) =
            (before.and_then(Value::as_object), item.as_object_mut())
        {
            for key in before.keys() {
                item.entry(key.clone()).or_insert(Value::Null);
            }
        }
        list.push(item);
    }
    for item in old.iter().filter(|o| !new.iter().any(|n| same(o, n))) {
        list.push(json!({ "$patch": "delete", by: item.get(by) }));
    }
    Value::Array(list)
}

/// Writes the difference.
pub(crate) async fn write(client: kube::Client, pod: &Pod, status: Value) -> Written {
    let api: Api<Pod> = Api::namespaced(client, context::namespace(pod));
    let patch = json!({ "metadata": { "uid": context::uid(pod) }, "status": status });
    let patch = Patch::Strategic(&patch);
    let params = PatchParams::default();
    let call = api.patch_status(context::name(pod), &params, &patch);
    match tokio::time::timeout(WRITE_TIMEOUT, call).await {
        Ok(Ok(pod)) => Written::Done(Box::new(pod)),
        Ok(Err(error)) if knarr_client::errors::is_not_found(&error) => Written::Gone,
        // Another uid under the name shows as a conflict, and so does a write that came in between.
        Ok(Err(error)) if knarr_client::errors::is_conflict(&error) && is_gone(&api, pod).await => {
            Written::Gone
        }
        Ok(Err(error)) => Written::Failed(knarr_client::errors::message(&error)),
        Err(_) => Written::Failed("context deadline exceeded".to_owned()),
    }
}

/// Whether the API says that it has no such pod, or another under its name. An error says nothing.
pub(crate) async fn is_gone(api: &Api<Pod>, pod: &Pod) -> bool {
    match tokio::time::timeout(WRITE_TIMEOUT, api.get_opt(context::name(pod))).await {
        Ok(Ok(found)) => found.is_none_or(|found| found.metadata.uid != pod.metadata.uid),
        Ok(Err(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
