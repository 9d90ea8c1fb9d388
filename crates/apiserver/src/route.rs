//! From method and path to what is asked: upstream's `RequestInfo`, and the kind that answers.

use std::borrow::Cow;

use http::Method;
use knarr_api::{Kind, kind::Alias};
use percent_encoding::percent_decode_str;

use crate::{query::Query, request::RequestInfo};

/// Subresources of namespaces: their paths look like those of resources in a namespace.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// The path with escapes decoded, as every rule sees it.
pub fn decode_path(path: &str) -> Cow<'_, str> {
    match path.contains('%') {
        true => percent_decode_str(path).decode_utf8_lossy(),
        false => Cow::Borrowed(path),
    }
}

/// Parses what RBAC sees. `rest` of the result: what follows a subresource (`proxy/…`), without leading slash.
pub fn parse<'a>(
    method: &Method,
    path: &'a str,
    query: &'a Query<'a>,
) -> (RequestInfo<'a>, &'a str) {
    let mut info = RequestInfo {
        path,
        verb: lower(method),
        ..RequestInfo::default()
    };
    let mut parts = path.trim_matches('/').split('/');
    let versioned = match parts.next() {
        Some("api") => true,
        Some("apis") => {
            info.group = parts.next().unwrap_or("");
            true
        }
        _ => false,
    };
    let version = parts.next().unwrap_or("");
    let Some(first) = parts.next().filter(|_| versioned) else {
        info.group = "";
        return (info, "");
    };
    info.is_resource = true;
    info.version = version;
    let mut current: Vec<&str> = std::iter::once(first).chain(parts).collect();
    info.verb = verb(method);
    if current[0] == "watch" && current.len() > 1 {
        current.remove(0);
        info.verb = "watch";
    }
    if current[0] == "namespaces" && current.len() > 1 {
        info.namespace = current[1];
        if current.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&current[2]) {
            current.drain(..2);
        }
    }
    info.resource = current[0];
    info.name = current.get(1).copied().unwrap_or("");
    info.subresource = current.get(2).copied().unwrap_or("");
    let rest = current.get(3).map_or("", |part| {
        // The parts are slices of the path.
        let at = part.as_ptr() as usize - path.as_ptr() as usize;
        &path[at..]
    });
    if info.name.is_empty() && info.verb == "get" {
        info.verb = if query.flag("watch") { "watch" } else { "list" };
    }
    if info.name.is_empty() && info.verb == "delete" {
        info.verb = "deletecollection";
    }
    if matches!(info.verb, "list" | "watch" | "deletecollection") {
        info.field_selector = query.raw_value("fieldSelector");
    }
    if matches!(info.verb, "list" | "watch") && info.name.is_empty() {
        info.name = exact_name(query.get("fieldSelector")).unwrap_or("");
    }
    (info, rest)
}

/// The kind a resource path means, in the group and version asked for.
#[derive(Clone, Copy)]
pub struct Served {
    pub kind: &'static Kind,
    /// The version served, where it is not the stored one.
    pub alias: Option<&'static Alias>,
}

impl Served {
    pub fn find(group: &str, version: &str, resource: &str) -> Option<Served> {
        knarr_api::find_served(group, version, resource).map(|(kind, alias)| Served { kind, alias })
    }

    pub fn group(&self) -> &'static str {
        self.alias.map_or(self.kind.group, |a| a.group)
    }

    pub fn version(&self) -> &'static str {
        self.alias.map_or(self.kind.version, |a| a.version)
    }

    pub fn api_version(&self) -> String {
        knarr_meta::types::api_version(self.group(), self.version())
    }

    pub fn definition(&self) -> &'static str {
        self.alias.map_or(self.kind.definition, |a| a.definition)
    }
}

/// The name of `metadata.name=NAME` in a field selector, if it is there and may be a path segment.
fn exact_name(selector: &str) -> Option<&str> {
    let mut terms = selector.split(',');
    let value = terms.find_map(|term| term.strip_prefix("metadata.name="))?;
    let value = value.strip_prefix('=').unwrap_or(value);
    (!value.contains(['/', '%', '\\']) && !matches!(value, "" | "." | "..")).then_some(value)
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn lower(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
