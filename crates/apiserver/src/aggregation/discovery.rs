//! What other servers serve, as they tell it: upstream's `handler_discovery.go`.
//!
//! Only what is known of discovery's objects is kept, and only of the group-version that was asked for.

use std::collections::HashMap;

use http::{StatusCode, header};
use knarr_webhook::Backend;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ask::{PLAIN, Question, Reply, ask},
    routes::Route,
};

/// Most bytes of an answer: all that upstream's own server serves is a fifth of it.
const MAX_BYTES: usize = 1 << 20;

/// Most resources of a group-version, and most subresources of them: everybody's discovery carries them.
const MAX_RESOURCES: usize = 1_000;

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// What a server said of a group-version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Empty where it had none.
    etag: String,
    pub resources: Vec<Value>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

/// APIResourceDiscovery.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Resource {
    resource: String,
    /// Never absent: old clients fail without it.
    response_kind: Option<GroupVersionKind>,
    scope: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    singular_resource: String,
    verbs: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty")]
    short_names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty")]
    categories: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty")]
    subresources: Option<Vec<Subresource>>,
}

/// APISubresourceDiscovery.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Subresource {
    subresource: String,
    response_kind: Option<GroupVersionKind>,
    #[serde(skip_serializing_if = "is_empty")]
    accepted_types: Option<Vec<GroupVersionKind>>,
    verbs: Option<Vec<String>>,
}

fn is_empty<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    items: Option<Vec<Group>>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    versions: Option<Vec<Version>>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    version: String,
    #[serde(default)]
    resources: Option<Vec<Resource>>,
}

/// An entry of an APIResourceList, the older form.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Listed {
    name: String,
    singular_name: String,
    namespaced: bool,
    group: String,
    version: String,
    kind: String,
    verbs: Option<Vec<String>>,
    short_names: Option<Vec<String>>,
    categories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Option<Vec<Listed>>,
}

/// Whether a body is an APIGroupDiscoveryList of the version that is understood.
fn is_aggregated(told: &Reply) -> bool {
    let mut parts = told.header(header::CONTENT_TYPE).split(';').map(str::trim);
    let json = parts.next() == Some(PLAIN);
    let params: Vec<&str> = parts.collect();
    let wanted = ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"];
    json && wanted.iter().all(|param| params.contains(param))
}

/// Asks for JSON of up to [`MAX_BYTES`].
async fn ask_plainly(backend: &Backend, path: &str) -> Result<Reply, String> {
    let question = Question {
        path,
        accept: PLAIN,
        etag: "",
        max_bytes: MAX_BYTES,
    };
    ask(backend, question).await
}

/// One look whether a server serves a group-version.
pub async fn check(route: &Route, backend: &Backend) -> Result<(), String> {
    let path = route.root();
    let url = format!("{}{path}", backend.origin());
    let failed = |why: String| format!("failing or missing response from {url}: {why}");
    let told = ask_plainly(backend, &path).await.map_err(failed)?;
    match told.code.is_success() {
        true => Ok(()),
        false => Err(failed(format!(
            "bad status from {url}: {}",
            told.code.as_u16()
        ))),
    }
}

/// Asks what a group-version serves: in the aggregated form, or in the older one where the server has no other.
pub async fn fetch(route: &Route, backend: &Backend, before: &Found) -> Result<Found, String> {
    let question = Question {
        path: "/apis",
        accept: AGGREGATED,
        etag: &before.etag,
        max_bytes: MAX_BYTES,
    };
    let told = ask(backend, question).await?;
    match told.code {
        StatusCode::NOT_MODIFIED if !before.etag.is_empty() => return Ok(before.clone()),
        StatusCode::SERVICE_UNAVAILABLE => {
            let origin = backend.origin();
            return Err(format!(
                "service {origin} returned non-success response code: 503"
            ));
        }
        StatusCode::OK if is_aggregated(&told) => {
            let list: GroupList = parse(&told.body)?;
            return Ok(Found {
                etag: told.header(header::ETAG).to_owned(),
                resources: of_aggregated(list, route)?,
            });
        }
        _ => {}
    }
    let path = route.root();
    let told = ask_plainly(backend, &path).await?;
    if told.code != StatusCode::OK {
        let code = told.code.as_u16();
        return Err(format!(
            "failed to download legacy discovery for {path}: {code}"
        ));
    }
    let list: ResourceList = parse(&told.body)?;
    Ok(Found {
        etag: String::new(),
        resources: of_list(list, route)?,
    })
}

/// The hash of the OpenAPI v3 document of a group-version; `None` where the server has none.
pub async fn schema(route: &Route, backend: &Backend) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        #[serde(rename = "serverRelativeURL")]
        server_relative_url: String,
    }
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        paths: HashMap<String, Entry>,
    }
    let told = ask_plainly(backend, "/openapi/v3").await?;
    if told.code != StatusCode::OK {
        return Ok(None);
    }
    let index: Index = parse(&told.body)?;
    let entry = index.paths.get(route.root().trim_start_matches('/'));
    let hash = entry.and_then(|entry| entry.server_relative_url.split_once("?hash="));
    // It becomes part of a URL.
    let plain = |hash: &&str| hash.len() <= 256 && hash.bytes().all(|b| b.is_ascii_alphanumeric());
    let hash = hash.map(|(_, hash)| hash).filter(plain);
    Ok(entry.map(|_| hash.unwrap_or_default().to_owned()))
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn of_aggregated(list: GroupList, route: &Route) -> Result<Vec<Value>, String> {
    let groups = list.items.unwrap_or_default().into_iter();
    let versions = groups
        .filter(|group| group.metadata.name == route.group)
        .flat_map(|group| group.versions.unwrap_or_default());
    let mut found = versions.filter(|version| version.version == route.version);
    let resources = found.next().and_then(|version| version.resources);
    let resources = resources.unwrap_or_default();
    let subresources = resources
        .iter()
        .map(|one| one.subresources.as_ref().map_or(0, Vec::len));
    bounded(subresources.fold(resources.len(), usize::saturating_add))?;
    Ok(resources.into_iter().map(shown).collect())
}

fn bounded(resources: usize) -> Result<(), String> {
    if resources > MAX_RESOURCES {
        return Err(format!(
            "{resources} resources and subresources are more than the {MAX_RESOURCES} that a group-version may have"
        ));
    }
    Ok(())
}

fn of_list(list: ResourceList, route: &Route) -> Result<Vec<Value>, String> {
    let all = list.resources.unwrap_or_default();
    bounded(all.len())?;
    let mut resources: Vec<Resource> = Vec::new();
    for listed in all {
        let (name, subresource) = match listed.name.split_once('/') {
            Some((name, subresource)) => (name, Some(subresource.to_owned())),
            None => (listed.name.as_str(), None),
        };
        let scope = match listed.namespaced {
            true => "Namespaced",
            false => "Cluster",
        };
        let at = resources.iter().position(|one| one.resource == name);
        let at = at.unwrap_or_else(|| {
            resources.push(Resource {
                resource: name.to_owned(),
                scope: scope.to_owned(),
                ..Resource::default()
            });
            resources.len().saturating_sub(1)
        });
        let or = |given: String, own: &str| match given.is_empty() {
            true => own.to_owned(),
            false => given,
        };
        let kind = GroupVersionKind {
            group: or(listed.group, &route.group),
            version: or(listed.version, &route.version),
            kind: listed.kind,
        };
        let Some(resource) = resources.get_mut(at) else {
            continue;
        };
        match subresource {
            Some(subresource) => {
                let all = resource.subresources.get_or_insert_default();
                all.push(Subresource {
                    subresource,
                    response_kind: Some(kind),
                    accepted_types: None,
                    verbs: listed.verbs,
                });
            }
            None => {
                resource.response_kind = Some(kind);
                resource.singular_resource = listed.singular_name;
                resource.verbs = listed.verbs;
                resource.short_names = listed.short_names;
                resource.categories = listed.categories;
            }
        }
    }
    Ok(resources.into_iter().map(shown).collect())
}

/// With what clients rely on.
fn shown(mut resource: Resource) -> Value {
    resource.response_kind.get_or_insert_default();
    resource.verbs.get_or_insert_default();
    for subresource in resource.subresources.iter_mut().flatten() {
        subresource.response_kind.get_or_insert_default();
        subresource.verbs.get_or_insert_default();
    }
    serde_json::to_value(resource).unwrap_or_default()
}

#[cfg(test)]
mod tests;
