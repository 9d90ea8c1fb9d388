//! From method, path and query to what is asked: upstream's `RequestInfo`, and the kind that answers.

use std::borrow::Cow;

use http::{Method, request::Parts};
use knarr_meta::{fields::FieldSelector, names, status::Status};

use crate::{
    escape::{self, Form},
    headers::Headers,
    query::Query,
    request::{RequestInfo, Selectors},
};

/// Subresources of namespaces: their paths look like those of resources in a namespace.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// What a request says, decoded, before anybody asks what it means. Errors are 400.
pub struct Decoded<'r> {
    pub path: Cow<'r, str>,
    pub query: Query<'r>,
    pub headers: Headers<'r>,
    /// Selectors that cannot be parsed are answered only to who may ask at all.
    selectors: Result<Selectors, Status>,
}

impl<'r> Decoded<'r> {
    pub fn new(parts: &'r Parts) -> Result<Decoded<'r>, Status> {
        let query = Query::parse(parts.uri.query().unwrap_or(""))?;
        Ok(Decoded {
            path: escape::decode(parts.uri.path(), Form::Path)?,
            selectors: Selectors::parse(query.get("labelSelector"), query.get("fieldSelector")),
            query,
            headers: Headers::parse(&parts.headers)?,
        })
    }
}

/// A request, parsed once. The authorizer judges `info`; what the handlers serve comes from here too, so that there is nothing
/// else that a request could say to one of them and not to the other.
pub struct ApiRequest<'r> {
    pub info: RequestInfo<'r>,
    /// The decoded path with what slashes it has at its end: a proxied page's links depend on them.
    pub path: &'r str,
    /// What follows a subresource in the path (`proxy/…`), without leading slash.
    pub rest: &'r str,
    pub query: &'r Query<'r>,
    pub headers: &'r Headers<'r>,
    selectors: &'r Result<Selectors, Status>,
}

impl<'r> ApiRequest<'r> {
    /// 404 or 405 for paths that mean nothing.
    pub fn parse(method: &Method, decoded: &'r Decoded<'_>) -> Result<ApiRequest<'r>, Status> {
        let (mut info, rest) = parse_path(method, &decoded.path)?;
        let watched_by_path = info.verb == "watch";
        if info.is_resource && info.name.is_empty() && info.verb == "get" {
            let watch = decoded.query.flag("watch");
            info.verb = if watch { "watch" } else { "list" };
        }
        if info.is_resource && info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection";
        }
        if let Ok(selectors) = &decoded.selectors
            && matches!(info.verb, "list" | "watch" | "deletecollection")
        {
            select(&mut info, selectors, watched_by_path)?;
        }
        Ok(ApiRequest {
            info,
            path: &decoded.path,
            rest,
            query: &decoded.query,
            headers: &decoded.headers,
            selectors: &decoded.selectors,
        })
    }

    /// The selectors that were authorized, for handlers.
    pub fn selectors(&self) -> Result<&Selectors, Status> {
        match self.selectors {
            Ok(_) => Ok(&self.info.selectors),
            Err(status) => Err(status.clone()),
        }
    }
}

/// A name in the path and one in the field selector are the same, or the request is refused.
fn select<'r>(
    info: &mut RequestInfo<'r>,
    selectors: &'r Selectors,
    watched_by_path: bool,
) -> Result<(), Status> {
    info.selectors = Cow::Borrowed(selectors);
    let selected = selectors.fields.exact("metadata.name");
    if watched_by_path && !info.name.is_empty() {
        if selectors.fields.is_empty() {
            info.selectors.to_mut().fields = FieldSelector::one("metadata.name", info.name);
        } else if selected != Some(info.name) {
            return Err(Status::bad_request(
                "fieldSelector metadata.name doesn't match requested name",
            ));
        }
    } else if let Some(name) = selected
        && info.verb != "deletecollection"
        && !name.is_empty()
        && names::path_segment(name, false).is_empty()
    {
        info.name = name;
    }
    Ok(())
}

/// Parses what RBAC sees of method and path, and what follows a subresource. Selectors and collections are not looked at.
fn parse_path<'a>(method: &Method, path: &'a str) -> Result<(RequestInfo<'a>, &'a str), Status> {
    let mut info = RequestInfo {
        // Pages are served with or without a slash at the end: rules must not tell them apart either.
        path: match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        },
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
        return Ok((info, ""));
    };
    info.is_resource = true;
    info.version = version;
    let mut current: Vec<&str> = std::iter::once(first).chain(parts).collect();
    info.verb = verb(method);
    let watch = current[0] == "watch";
    if watch {
        current.remove(0);
        info.verb = "watch";
    }
    if current.first() == Some(&"namespaces") && current.len() > 1 {
        info.namespace = current[1];
        if current.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&current[2]) {
            current.drain(..2);
            // A namespace is in no namespace: rights in one must not reach another.
            if current[0] == "namespaces" {
                return Err(Status::path_not_found());
            }
        }
    }
    info.resource = current
        .first()
        .copied()
        .ok_or_else(Status::path_not_found)?;
    info.name = current.get(1).copied().unwrap_or("");
    info.subresource = current.get(2).copied().unwrap_or("");
    if watch {
        // The old form of a watch: it has no subresources, and no method but GET, by which it could do more than watch.
        if !info.subresource.is_empty() {
            return Err(Status::path_not_found());
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Status::method_not_allowed());
        }
    }
    let rest = current.get(3).map_or("", |part| {
        // The parts are slices of the path.
        let at = part.as_ptr() as usize - path.as_ptr() as usize;
        &path[at..]
    });
    Ok((info, rest))
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
