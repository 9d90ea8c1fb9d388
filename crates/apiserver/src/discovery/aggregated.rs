//! Aggregated discovery: everything in two documents, with ETags.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use knarr_api::Served;
use serde_json::{Value, json};

use super::{Group, etag, verbs};
use crate::{
    body::Body,
    headers::Headers,
    respond::{self, Answer},
};

/// Versions of apidiscovery.k8s.io.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V2,
    V2beta1,
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Version::V2 => "v2",
            Version::V2beta1 => "v2beta1",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Version::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Version::V2beta1 => {
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
            }
        }
    }
}

/// The version asked for, if the client prefers aggregated discovery to anything else served.
pub fn wanted(accept: &str) -> Option<Version> {
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        if parts.next() != Some("application/json") {
            continue;
        }
        let params: Vec<&str> = parts.collect();
        if !params.contains(&"as=APIGroupDiscoveryList") {
            // Plain JSON comes first: the old form it is.
            return None;
        }
        if params.contains(&"v=v2") {
            return Some(Version::V2);
        }
        if params.contains(&"v=v2beta1") {
            return Some(Version::V2beta1);
        }
    }
    None
}

struct Document {
    bytes: Bytes,
    etag: HeaderValue,
}

/// The documents of a set of kinds, by path and version.
#[derive(Default)]
pub(crate) struct Aggregated([OnceLock<Document>; 4]);

impl Aggregated {
    /// Answers `/api` or `/apis`.
    pub(super) fn serve(
        &self,
        groups: &[Group],
        core: bool,
        version: Version,
        headers: &Headers<'_>,
    ) -> Answer {
        let at = usize::from(core) * 2 + version as usize;
        let document = self.0[at].get_or_init(|| {
            let bytes = Bytes::from(render(groups, core, version).to_string());
            let etag = etag(&bytes);
            Document { bytes, etag }
        });
        answer(document, version, headers)
    }
}

fn answer(document: &Document, version: Version, headers: &Headers<'_>) -> Answer {
    let known = headers.if_none_match;
    let unchanged = document
        .etag
        .to_str()
        .is_ok_and(|etag| known.split(',').any(|k| k.trim() == etag));
    let mut response: Response<Body> = match unchanged {
        true => respond::with_type(
            StatusCode::NOT_MODIFIED,
            version.content_type(),
            Body::empty(),
        ),
        false => respond::with_type(
            StatusCode::OK,
            version.content_type(),
            document.bytes.clone(),
        ),
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, document.etag.clone());
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(response)
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
    let mut metadata = json!({"creationTimestamp": null});
    if !group.name.is_empty() {
        metadata["name"] = json!(group.name);
    }
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, kinds)| {
            let mut kinds: Vec<&Served> = kinds.iter().collect();
            kinds.sort_by(|a, b| a.kind.resource.cmp(&b.kind.resource));
            json!({
                "version": version,
                "freshness": "Current",
                "resources": kinds.into_iter().map(resource).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({"metadata": metadata, "versions": versions})
}

fn resource(served: &Served) -> Value {
    let kind = &served.kind;
    let response_kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let own = response_kind(served.group(), served.version(), &kind.kind);
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
                .map_or_else(|| own.clone(), |(g, v, k)| response_kind(g, v, k));
            json!({"subresource": s.name, "responseKind": of, "verbs": verbs(s.verbs)})
        });
        entry["subresources"] = Value::Array(entries.collect());
    }
    entry
}
