//! Discovery: which groups, versions and resources there are; made from a set of kinds, at first use.

mod aggregated;

use std::{cmp::Reverse, collections::BTreeMap};

use http::{HeaderValue, StatusCode};
use knarr_api::{
    Kind, Kinds, Served,
    kind::{Subresource, Text, Verb},
};
use knarr_meta::types::api_version;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    core::Core,
    negotiate::{self, Shapes},
    registry::Snapshot,
    respond::{self, Answer},
    route::ApiRequest,
};

pub(crate) use aggregated::Aggregated;

/// A group with its versions, newest first, and what each serves.
pub(crate) struct Group {
    name: Text,
    versions: Vec<(Text, Vec<Served>)>,
}

/// Groups in the order of the kinds; the core group (empty name) first.
pub(crate) fn groups(kinds: &Kinds) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for served in kinds.iter().flat_map(Served::all) {
        add(&mut groups, served);
    }
    groups.sort_by_key(|g| !g.name.is_empty());
    for group in &mut groups {
        // v2 before v1 before v1beta1.
        group
            .versions
            .sort_by_key(|(version, _)| Reverse(version_rank(version)));
    }
    groups
}

fn add(groups: &mut Vec<Group>, served: Served) {
    let at = groups
        .iter()
        .position(|g| g.name == served.group())
        .unwrap_or_else(|| {
            groups.push(Group {
                name: served.group_text(),
                versions: Vec::new(),
            });
            groups.len() - 1
        });
    let versions = &mut groups[at].versions;
    match versions
        .iter_mut()
        .find(|(version, _)| *version == served.version())
    {
        Some((_, kinds)) => kinds.push(served),
        None => versions.push((served.version_text(), vec![served])),
    }
}

/// Stability, then number: `v2` > `v1` > `v1beta2` > `v1beta1` > `v1alpha1`.
fn version_rank(version: &str) -> (u8, u32, u32) {
    let rest = version.trim_start_matches('v');
    let (stability, major, minor) = match (rest.split_once("beta"), rest.split_once("alpha")) {
        (Some((major, minor)), _) => (1, major, minor),
        (None, Some((major, minor))) => (0, major, minor),
        (None, None) => (2, rest, "0"),
    };
    (
        stability,
        major.parse().unwrap_or(0),
        minor.parse().unwrap_or(0),
    )
}

/// Answers discovery paths; `None` for others.
pub fn serve(
    core: &Core,
    snapshot: &Snapshot,
    path: &str,
    request: &ApiRequest<'_>,
) -> Option<Answer> {
    let groups = snapshot.groups();
    if let "/api" | "/apis" = path
        && let Some(version) = aggregated::wanted(request.headers.accept)
    {
        let documents = &snapshot.aggregated;
        return Some(documents.serve(groups, path == "/api", version, request.headers));
    }
    let mut parts = path.strip_prefix('/')?.split('/');
    let document = match (parts.next()?, parts.next(), parts.next(), parts.next()) {
        ("api", None, None, None) => versions(core, groups),
        ("api", Some(version), None, None) => resource_list(groups, "", version)?,
        ("apis", None, None, None) => group_list(groups),
        ("apis", Some(name), None, None) => {
            let found = groups.iter().find(|g| g.name == name && !name.is_empty())?;
            with_type(group(found), "APIGroup")
        }
        ("apis", Some(name), Some(version), None) if !name.is_empty() => {
            resource_list(groups, name, version)?
        }
        _ => return None,
    };
    let accepted = negotiate::of(request, Shapes::None);
    Some(accepted.map(|accepted| respond::tree(StatusCode::OK, &document, accepted)))
}

/// Paths for `GET /`.
pub fn paths(snapshot: &Snapshot) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for group in snapshot.groups() {
        if !group.name.is_empty() {
            paths.push(format!("/apis/{}", group.name));
        }
        for (version, _) in &group.versions {
            paths.push(match &*group.name {
                "" => format!("/api/{version}"),
                name => format!("/apis/{name}/{version}"),
            });
        }
    }
    paths.sort();
    paths
}

fn versions(core: &Core, groups: &[Group]) -> Value {
    let versions: Vec<&str> = groups
        .iter()
        .filter(|g| g.name.is_empty())
        .flat_map(|g| g.versions.iter().map(|(version, _)| &**version))
        .collect();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": core.advertised}],
    })
}

fn group_list(groups: &[Group]) -> Value {
    let groups: Vec<Value> = groups
        .iter()
        .filter(|g| !g.name.is_empty())
        .map(group)
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn with_type(mut value: Value, kind: &str) -> Value {
    value["kind"] = json!(kind);
    value["apiVersion"] = json!("v1");
    value
}

fn group(group: &Group) -> Value {
    let version = |version: &str| json!({"groupVersion": api_version(&group.name, version), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(|(v, _)| version(v)).collect();
    json!({"name": group.name, "preferredVersion": versions.first(), "versions": versions})
}

fn resource_list(groups: &[Group], name: &str, version: &str) -> Option<Value> {
    let group = groups.iter().find(|g| g.name == name)?;
    let (_, kinds) = group.versions.iter().find(|(v, _)| *v == version)?;
    let mut resources = BTreeMap::new();
    for served in kinds {
        let kind = &served.kind;
        if !kind.verbs.is_empty() {
            resources.insert(kind.resource.to_string(), resource(served));
        }
        for subresource in kind.subresources.iter() {
            let name = format!("{}/{}", kind.resource, subresource.name);
            resources.insert(name.clone(), subresource_entry(kind, subresource, &name));
        }
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(name, version),
        "resources": resources.into_values().collect::<Vec<_>>(),
    }))
}

fn resource(served: &Served) -> Value {
    let kind = &served.kind;
    let mut entry = json!({
        "name": kind.resource,
        "singularName": kind.singular,
        "namespaced": kind.namespaced(),
        "kind": kind.kind,
        "verbs": verbs(kind.verbs),
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    if kind.storage.is_some() {
        entry["storageVersionHash"] = json!(storage_version_hash(kind));
    }
    entry
}

/// Upstream's hash of the stored version: the first eight bytes of SHA-256 over `group/version/kind`, base64.
fn storage_version_hash(kind: &Kind) -> String {
    use base64::Engine;
    let text = format!("{}/{}/{}", kind.group, kind.version, kind.kind);
    let digest = Sha256::digest(text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

fn subresource_entry(kind: &Kind, subresource: &Subresource, name: &str) -> Value {
    let mut entry = json!({
        "name": name,
        "singularName": "",
        "namespaced": kind.namespaced(),
        "kind": subresource.kind.map_or(&*kind.kind, |(_, _, kind)| kind),
        "verbs": verbs(subresource.verbs),
    });
    if let Some((group, version, _)) = subresource.kind {
        entry["group"] = json!(group);
        entry["version"] = json!(version);
    }
    entry
}

fn verbs(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|v| v.as_str()).collect()
}

/// A strong validator of a document's bytes.
pub(crate) fn etag(bytes: &[u8]) -> HeaderValue {
    use std::fmt::Write;
    let digest = Sha256::digest(bytes);
    let mut text = String::with_capacity(66);
    text.push('"');
    for byte in digest.iter() {
        let _ = write!(text, "{byte:02X}");
    }
    text.push('"');
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests;
