//! How refusals are answered, those of paths that nothing serves among them.
//!
//! Upstream has a Status for paths of the groups that are compiled in. All others fall through a chain of servers to one that answers
//! with a page of plain text, which makes clients say what they asked for (`the server could not find the requested resource (get
//! foos.example.com)`): of definitions that are gone, or not yet served, this is what their users get to see.

use http::{HeaderValue, Response, StatusCode, header};
use knarr_api::{Served, built_in_kinds};
use knarr_auth::{request::RequestInfo, route::ApiRequest};
use knarr_meta::status::Status;

use crate::{
    body::Body,
    core::Core,
    negotiate::{self, Objects, Shapes},
    respond,
};

const PAGE: &str = "404 page not found\n";
const DOCUMENTS: &str = "/openapi/v3/";

/// The answer of a request that was refused. `served` is the kind that the path is of, if there is one.
pub fn answer(
    status: &Status,
    core: &Core,
    request: &ApiRequest<'_>,
    served: Option<&Served>,
) -> Response<Body> {
    if is_page(status, core, &request.info, served) {
        return page(&request.info);
    }
    let accepted = negotiate::of(request, Shapes::None, Objects::BuiltIn);
    respond::error(status, accepted.unwrap_or(respond::JSON))
}

/// Whether this refusal is answered with a page.
fn is_page(status: &Status, core: &Core, info: &RequestInfo<'_>, served: Option<&Served>) -> bool {
    if status.code != 404 || *status != Status::path_not_found() {
        return false;
    }
    match served {
        Some(served) => !served.kind.is_built_in(),
        // A part of this process that is a server of its own has a Status for all that it does not know.
        None => {
            let locals = &core.aggregation.locals;
            !is_built_in(info.path) && locals.find(info.group, info.version).is_none()
        }
    }
}

/// Whether the path is of a group that is compiled in.
pub fn is_built_in(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    match (parts.next(), parts.next()) {
        (Some("api" | "version"), _) => true,
        (Some("apis"), Some(group)) => built_in_kinds().iter().any(|kind| *kind.group == *group),
        _ => false,
    }
}

/// The page; there is nothing on that of a schema.
fn page(info: &RequestInfo<'_>) -> Response<Body> {
    if info.path.starts_with(DOCUMENTS) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    let mut response = respond::text(StatusCode::NOT_FOUND, PAGE);
    let nosniff = HeaderValue::from_static("nosniff");
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
