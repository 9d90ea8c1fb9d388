//! Aggregated discovery: everything in two documents, with ETags.

use std::sync::OnceLock;

use bytes::Bytes;
use knarr_api::Served;
use serde_json::{Value, json};

use super::{Contents, Group, GroupVersion, etag, verbs};

/// Versions of apidiscovery.k8s.io.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V2,
    V2beta1,
}

impl Version {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Version::V2 => "v2",
            Version::V2beta1 => "v2beta1",
        }
    }
}

/// A document with its validator.
pub struct Document {
    pub bytes: Bytes,
    pub etag: String,
}

/// The documents of a set of kinds, by path and version.
#[derive(Default)]
pub struct Aggregated([OnceLock<Document>; 4]);

impl Aggregated {
    /// The document of `/api` (the `core` group), or of `/apis`.
    pub fn document(&self, groups: &[Group], core: bool, version: Version) -> &Document {
        let at = usize::from(core) * 2 + version as usize;
        self.0[at].get_or_init(|| {
            let bytes = Bytes::from(render(groups, core, version).to_string());
            let etag = etag(&bytes);
            Document { bytes, etag }
        })
    }
}

fn render(groups: &[Group], core: bool, version: Version) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .filter(|g| g.name.is_empty() == core)
        .map(group)
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{}", version.name()),
        "metadata": {},
        "items": items,
    })
}

fn group(group: &Group) -> Value {
    let mut metadata = json!({});
    if !group.name.is_empty() {
        metadata["name"] = json!(group.name);
    }
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    json!({"metadata": metadata, "versions": versions})
}

fn version(version: &GroupVersion) -> Value {
    let (resources, stale) = match &version.contents {
        Contents::Local(kinds) => {
            let mut kinds: Vec<&Served> = kinds.iter().collect();
            kinds.sort_by(|a, b| a.kind.resource.cmp(&b.kind.resource));
            (kinds.into_iter().map(resource).collect(), false)
        }
        Contents::Remote(remote) => (remote.resources.clone(), remote.stale),
    };
    json!({
        "version": version.name,
        "freshness": if stale { "Stale" } else { "Current" },
        "resources": resources,
    })
}

/// Upstream's built-in resources tell the group-version of a kind only where it is not the one they are in.
fn response_kind(served: &Served, group: &str, version: &str, kind: &str) -> Value {
    let is_own = (group, version) == (served.group(), served.version());
    let (group, version) = match is_own && served.kind.is_built_in() {
        true => ("", ""),
        false => (group, version),
    };
    json!({"group": group, "version": version, "kind": kind})
}

fn resource(served: &Served) -> Value {
    let kind = &served.kind;
    let own = response_kind(served, served.group(), served.version(), &kind.kind);
    let mut entry = json!({
        "resource": kind.resource,
        "responseKind": own,
        "scope": if kind.namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": verbs(kind.verbs),
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let mut all: Vec<_> = kind.subresources.iter().collect();
        all.sort_by_key(|s| s.name);
        let entries = all.into_iter().map(|s| {
            let of = s
                .kind
                .map_or_else(|| own.clone(), |(g, v, k)| response_kind(served, g, v, k));
            json!({"subresource": s.name, "responseKind": of, "verbs": verbs(s.verbs)})
        });
        entry["subresources"] = Value::Array(entries.collect());
    }
    entry
}
