//! `Impersonate-*` headers: acting as someone else, where RBAC allows the verb `impersonate` on everything that is assumed.

use http::HeaderMap;
use knarr_meta::status::Status;
use percent_encoding::percent_decode_str;

use super::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, service_account};
use crate::{
    authz,
    request::{Authorizer, RequestInfo, UserInfo},
};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

/// The user that the request acts as; `Ok(None)` without such headers. The caller removes the headers before it proxies a
/// request ([`strip`]).
pub fn impersonate(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    headers: &HeaderMap,
) -> Result<Option<UserInfo>, Status> {
    if !headers
        .keys()
        .any(|name| name.as_str().starts_with("impersonate-"))
    {
        return Ok(None);
    }
    let first = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let all = |name: &str| {
        headers
            .get_all(name)
            .into_iter()
            .filter_map(|v| v.to_str().ok())
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let (name, uid, groups) = (first(USER), first(UID), all(GROUP));
    let extra_headers: Vec<&str> = headers
        .keys()
        .map(|key| key.as_str())
        .filter(|key| key.starts_with(EXTRA_PREFIX))
        .collect();
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra_headers.is_empty() {
            return Ok(None);
        }
        return Err(Status::internal(
            "requested to impersonate groups, extra or uid without impersonating a user",
        ));
    }

    let ask = |request: RequestInfo<'_>| {
        authz::check(
            authorizer,
            user,
            &RequestInfo {
                is_resource: true,
                verb: "impersonate",
                ..request
            },
        )
    };
    let mut acting = UserInfo {
        name: name.clone(),
        uid: uid.clone(),
        ..UserInfo::default()
    };
    match split_service_account(&name) {
        Some((namespace, account)) => {
            ask(RequestInfo {
                resource: "serviceaccounts",
                namespace,
                name: account,
                ..RequestInfo::default()
            })?;
            if groups.is_empty() {
                acting.groups = service_account(namespace, account).groups;
                acting.groups.retain(|group| group != AUTHENTICATED);
            }
        }
        None => ask(RequestInfo {
            resource: "users",
            name: &name,
            ..RequestInfo::default()
        })?,
    }
    for group in groups {
        ask(RequestInfo {
            resource: "groups",
            name: &group,
            ..RequestInfo::default()
        })?;
        acting.groups.push(group);
    }
    let authentication = RequestInfo {
        group: AUTHENTICATION_GROUP,
        version: "v1",
        ..RequestInfo::default()
    };
    for header in extra_headers {
        let encoded = &header[EXTRA_PREFIX.len()..];
        let key = percent_decode_str(encoded)
            .decode_utf8()
            .map_or_else(|_| encoded.to_owned(), |key| key.into_owned());
        for value in all(header) {
            ask(RequestInfo {
                resource: "userextras",
                subresource: &key,
                name: &value,
                ..authentication.clone()
            })?;
            acting.extra.entry(key.clone()).or_default().push(value);
        }
    }
    if !uid.is_empty() {
        ask(RequestInfo {
            resource: "uids",
            name: &uid,
            ..authentication
        })?;
    }
    complete_groups(&mut acting);
    Ok(Some(acting))
}

/// Everyone is either authenticated or not, whatever groups were asked for.
fn complete_groups(user: &mut UserInfo) {
    let has = |wanted: &str| user.groups.iter().any(|group| group == wanted);
    if user.name == ANONYMOUS {
        if !has(UNAUTHENTICATED) {
            user.groups.push(UNAUTHENTICATED.into());
        }
    } else if !has(AUTHENTICATED) && !has(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
}

/// Namespace and name of `system:serviceaccount:<namespace>:<name>`.
fn split_service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    let valid = knarr_meta::names::dns1123_label(namespace).is_empty()
        && knarr_meta::names::dns1123_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

/// Removes the headers, so that nothing behind the server sees them.
pub fn strip(headers: &mut HeaderMap) {
    let names: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}
