//! Answers for who asks which groups, versions and resources there are.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header};
use knarr_auth::{headers::Headers, route::ApiRequest};
use knarr_registry::{
    catalog::Snapshot,
    discovery::{self, Document, Version},
};

use crate::{
    body::Body,
    core::Core,
    negotiate::{self, Objects, Shapes},
    respond::{self, Answer},
};

/// Answers discovery paths, but those of group-versions that other servers serve; `None` for others.
pub fn serve(
    core: &Core,
    snapshot: &Arc<Snapshot>,
    path: &str,
    request: &ApiRequest<'_>,
) -> Option<Answer> {
    let view = core.aggregation.view(snapshot);
    let groups = view.groups();
    if let "/api" | "/apis" = path
        && let Some(version) = wanted(request.headers.accept)
    {
        let document = view.aggregated().document(groups, path == "/api", version);
        return Some(answer(document, version, request.headers));
    }
    let mut parts = path.strip_prefix('/')?.split('/');
    let document = match (parts.next()?, parts.next(), parts.next(), parts.next()) {
        ("api", None, None, None) => discovery::versions(groups, &core.advertised),
        ("api", Some(version), None, None) => discovery::resource_list(groups, "", version)?,
        ("apis", None, None, None) => discovery::group_list(groups),
        ("apis", Some(name), None, None) => discovery::api_group(groups, name)?,
        ("apis", Some(name), Some(version), None) if !name.is_empty() => {
            discovery::resource_list(groups, name, version)?
        }
        _ => return None,
    };
    let accepted = negotiate::of(request, Shapes::None, Objects::BuiltIn);
    let answer = accepted.map(|accepted| respond::tree(StatusCode::OK, &document, accepted));
    Some(answer.map_err(knarr_meta::Status::from))
}

/// Paths for `GET /`.
pub fn paths(core: &Core, snapshot: &Arc<Snapshot>) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/flagz",
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/statusz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    paths.extend(discovery::paths(core.aggregation.view(snapshot).groups()));
    paths.sort();
    paths
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

/// The media type of a version's documents.
fn content_type(version: Version) -> &'static str {
    match version {
        Version::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Version::V2beta1 => {
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
        }
    }
}

/// An ETag as a header has it.
pub(crate) fn validator(etag: &str) -> HeaderValue {
    HeaderValue::from_str(etag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn answer(document: &Document, version: Version, headers: &Headers<'_>) -> Answer {
    let known = headers.if_none_match;
    let unchanged = known.split(',').any(|k| k.trim() == document.etag);
    let mut response: Response<Body> = match unchanged {
        true => respond::with_type(
            StatusCode::NOT_MODIFIED,
            content_type(version),
            Body::empty(),
        ),
        false => respond::with_type(
            StatusCode::OK,
            content_type(version),
            document.bytes.clone(),
        ),
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, validator(&document.etag));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_aggregated_discovery_only_when_asked_first() {
        use Version::{V2, V2beta1};
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        assert_eq!(wanted(&format!("{v2},{beta},application/json")), Some(V2));
        assert_eq!(wanted(&format!("{beta},application/json")), Some(V2beta1));
        assert_eq!(wanted("application/json"), None);
        assert_eq!(wanted(&format!("application/json,{v2}")), None);
    }
}
