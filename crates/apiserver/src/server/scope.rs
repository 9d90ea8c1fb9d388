//! Whether there is a route for a request of a resource: as upstream's router finds out, before anything is looked up.

use http::Method;
use knarr_api::Served;
use knarr_auth::request::RequestInfo;
use knarr_meta::status::Status;

use super::refusal::is_built_in;

/// Namespaced kinds need a namespace for all but list, watch and reviews of all; others must not have one. No route answers a HEAD:
/// only what is passed on takes one, and objects of definitions, which no router knows.
///
/// # Errors
/// 404 where there is no such path, 405 where it does not take the method.
pub fn check(method: &Method, info: &RequestInfo<'_>, served: &Served) -> Result<(), Status> {
    let namespaced = served.kind.namespaced();
    if !namespaced && !info.namespace.is_empty() && info.resource != "namespaces" {
        return Err(Status::path_not_found());
    }
    if namespaced && info.namespace.is_empty() {
        match info.verb {
            "list" | "watch" => {}
            "create" if info.name.is_empty() => return Err(Status::method_not_allowed()),
            "deletecollection" => return Err(Status::method_not_allowed()),
            _ => return Err(Status::path_not_found()),
        }
    }
    let part = info.subresource;
    let has_route = part.is_empty() || served.kind.subresource(part).is_some();
    match *method == Method::HEAD && served.kind.is_built_in() && has_route && part != "proxy" {
        true => Err(Status::method_not_allowed()),
        false => Ok(()),
    }
}

/// Pages that upstream's router has, beside those of groups.
const PAGES: [&str; 3] = [
    "/apis",
    "/.well-known/openid-configuration",
    "/openid/v1/jwks",
];

/// As [`check`], of what is no resource: discovery of the groups that are compiled in, and some pages.
///
/// # Errors
/// 405 for a HEAD of such a page.
pub fn check_page(method: &Method, path: &str) -> Result<(), Status> {
    let routed = || PAGES.contains(&path.trim_end_matches('/')) || is_built_in(path);
    match *method == Method::HEAD && routed() {
        true => Err(Status::method_not_allowed()),
        false => Ok(()),
    }
}
