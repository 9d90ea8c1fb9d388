//! Discovery: which groups, versions and resources there are; made from a set of kinds, at first use.

mod aggregated;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use knarr_api::{
    Kind, Kinds, Served,
    apiregistration::priorities::{self, Priority},
    kind::{Subresource, Text, Verb},
};
use knarr_meta::types::{api_version, version_rank};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use aggregated::{Aggregated, Document, Version};

/// A group with its versions, the preferred one first.
#[derive(Clone)]
pub struct Group {
    pub name: Text,
    pub versions: Vec<GroupVersion>,
}

/// A version of a group, and what it serves.
#[derive(Clone)]
pub struct GroupVersion {
    pub name: Text,
    pub priority: Priority,
    pub contents: Contents,
}

/// What a group-version serves.
#[derive(Clone)]
pub enum Contents {
    Local(Vec<Served>),
    /// As another server told it.
    Remote(Arc<Remote>),
}

/// A group-version of another server.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    pub group: String,
    pub version: String,
    pub priority: Priority,
    /// APIResourceDiscovery objects: in aggregated discovery they stand as they are. That server itself is asked for its older form.
    pub resources: Vec<Value>,
    /// They could not be asked for: it serves perhaps more than is said here.
    pub stale: bool,
}

/// Groups in the order of discovery; the core group (empty name) first.
pub fn groups(kinds: &Kinds) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for served in kinds.iter().flat_map(Served::all) {
        add(&mut groups, served);
    }
    order(&mut groups);
    groups
}

/// Groups with those of other servers, which take the place of what is served here by the same names.
pub fn merged(groups: &[Group], remote: &[Arc<Remote>]) -> Vec<Group> {
    let mut groups = groups.to_vec();
    for remote in remote {
        let group = group_named(&mut groups, &remote.group.clone().into());
        group
            .versions
            .retain(|version| *version.name != *remote.version);
        group.versions.push(GroupVersion {
            name: remote.version.clone().into(),
            priority: remote.priority,
            contents: Contents::Remote(remote.clone()),
        });
    }
    order(&mut groups);
    groups
}

/// As upstream: by the highest priority of a group's versions, then by name; versions by priority, then `v2` before `v1` before
/// `v1beta1`, others behind them by name.
fn order(groups: &mut [Group]) {
    groups.sort_by_cached_key(|group| {
        let versions = group.versions.iter();
        let highest = versions.map(|version| version.priority.group).max();
        (!group.name.is_empty(), Reverse(highest), group.name.clone())
    });
    for group in groups {
        group.versions.sort_by_cached_key(|version| {
            let rank = version_rank(&version.name);
            (
                Reverse((version.priority.version, rank)),
                version.name.clone(),
            )
        });
    }
}

fn group_named<'g>(groups: &'g mut Vec<Group>, name: &Text) -> &'g mut Group {
    let at = groups.iter().position(|group| group.name == *name);
    let at = at.unwrap_or_else(|| {
        groups.push(Group {
            name: name.clone(),
            versions: Vec::new(),
        });
        groups.len() - 1
    });
    &mut groups[at]
}

fn add(groups: &mut Vec<Group>, served: Served) {
    let versions = &mut group_named(groups, &served.group_text()).versions;
    let same = |version: &&mut GroupVersion| version.name == served.version();
    if let Some(GroupVersion {
        contents: Contents::Local(kinds),
        ..
    }) = versions.iter_mut().find(same)
    {
        return kinds.push(served);
    }
    versions.push(GroupVersion {
        name: served.version_text(),
        priority: priorities::of(served.group(), served.version()),
        contents: Contents::Local(vec![served]),
    });
}

/// The APIVersions of `/api`; `address` is where clients reach the server.
pub fn versions(groups: &[Group], address: &str) -> Value {
    let versions: Vec<&str> = groups
        .iter()
        .filter(|g| g.name.is_empty())
        .flat_map(|g| g.versions.iter().map(|version| &*version.name))
        .collect();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// The APIGroupList of `/apis`.
pub fn group_list(groups: &[Group]) -> Value {
    let groups: Vec<Value> = groups
        .iter()
        .filter(|g| !g.name.is_empty())
        .map(group)
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// The APIGroup of `/apis/NAME`.
pub fn api_group(groups: &[Group], name: &str) -> Option<Value> {
    let found = groups.iter().find(|g| g.name == name && !name.is_empty())?;
    let mut document = group(found);
    document["kind"] = json!("APIGroup");
    document["apiVersion"] = json!("v1");
    Some(document)
}

/// An APIGroup, without its type.
fn group(group: &Group) -> Value {
    let version = |version: &str| json!({"groupVersion": api_version(&group.name, version), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(|v| version(&v.name)).collect();
    json!({"name": group.name, "preferredVersion": versions.first(), "versions": versions})
}

/// The APIResourceList of a version that is served here.
pub fn resource_list(groups: &[Group], name: &str, version: &str) -> Option<Value> {
    let group = groups.iter().find(|g| g.name == name)?;
    let found = group.versions.iter().find(|v| v.name == version)?;
    let Contents::Local(kinds) = &found.contents else {
        return None;
    };
    let mut resources = BTreeMap::new();
    for served in kinds {
        let kind = &served.kind;
        if !kind.verbs.is_empty() {
            resources.insert(kind.resource.to_string(), resource(served));
        }
        for subresource in kind.subresources.iter() {
            let name = format!("{}/{}", kind.resource, subresource.name);
            resources.insert(name.clone(), subresource_entry(served, subresource, &name));
        }
    }
    let mut document = json!({
        "kind": "APIResourceList",
        "groupVersion": api_version(name, version),
        "resources": resources.into_values().collect::<Vec<_>>(),
    });
    // The core's is as clients of the first releases knew it (upstream's `stripVersionNegotiatedSerializer`).
    if !name.is_empty() {
        document["apiVersion"] = json!("v1");
    }
    Some(document)
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

fn subresource_entry(served: &Served, subresource: &Subresource, name: &str) -> Value {
    let kind = &served.kind;
    let mut entry = json!({
        "name": name,
        "singularName": "",
        "namespaced": kind.namespaced(),
        "kind": subresource.kind.map_or(&*kind.kind, |(_, _, kind)| kind),
        "verbs": verbs(subresource.verbs),
    });
    if let Some((group, version, _)) = subresource.kind
        && (group, version) != (served.group(), served.version())
    {
        entry["group"] = json!(group);
        entry["version"] = json!(version);
    }
    entry
}

fn verbs(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|v| v.as_str()).collect()
}

/// Paths of groups and versions.
pub fn paths(groups: &[Group]) -> Vec<String> {
    let mut paths = Vec::new();
    for group in groups {
        if !group.name.is_empty() {
            paths.push(format!("/apis/{}", group.name));
        }
        for version in &group.versions {
            paths.push(match &*group.name {
                "" => format!("/api/{}", version.name),
                name => format!("/apis/{name}/{}", version.name),
            });
        }
    }
    paths
}

/// A strong validator of a document's bytes.
pub fn etag(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let digest = Sha256::digest(bytes);
    let mut text = String::with_capacity(66);
    text.push('"');
    for byte in digest.iter() {
        let _ = write!(text, "{byte:02X}");
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests;
