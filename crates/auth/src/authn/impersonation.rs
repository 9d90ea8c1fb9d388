//! `Impersonate-*` headers: acting as someone else, where RBAC allows the verb `impersonate` on everything that is assumed.

use http::{HeaderMap, HeaderName};
use knarr_meta::{field::quote, status::Status};

use super::{ANONYMOUS, UNAUTHENTICATED, service_account};
use crate::{
    AUTHENTICATED, UserInfo, authz,
    escape::{self, Form},
    headers::{text, texts},
    request::{Authorizer, RequestInfo},
};

const PREFIX: &str = "impersonate-";
const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "impersonate-extra-";
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

/// What the headers ask for.
#[derive(Debug, Default)]
struct Wanted<'h> {
    name: &'h str,
    uid: &'h str,
    groups: Vec<&'h str>,
    /// Decoded key and values.
    extra: Vec<(String, Vec<&'h str>)>,
}

impl<'h> Wanted<'h> {
    /// `None` without such headers. One that cannot be understood is an error: without it the request would run as the
    /// impersonator.
    fn parse(headers: &'h HeaderMap) -> Result<Option<Wanted<'h>>, Status> {
        let mut any = false;
        let mut extra = Vec::new();
        for header in headers.keys().filter(|h| h.as_str().starts_with(PREFIX)) {
            any = true;
            if let Some(key) = header.as_str().strip_prefix(EXTRA_PREFIX) {
                let key = escape::decode(key, Form::Path)?.into_owned();
                extra.push((key, texts(headers, header)?));
            } else if ![USER, GROUP, UID].contains(header) {
                return Err(Status::bad_request(format!(
                    "unknown impersonation header {header}"
                )));
            }
        }
        if !any {
            return Ok(None);
        }
        let wanted = Wanted {
            name: text(headers, &USER)?,
            uid: text(headers, &UID)?,
            groups: texts(headers, &GROUP)?,
            extra,
        };
        match wanted.name.is_empty() {
            true => Err(Status::bad_request(format!(
                "requested {} without impersonating a user name",
                wanted.in_go()
            ))),
            false => Ok(Some(wanted)),
        }
    }

    /// As Go writes a `user.DefaultInfo` out, which upstream's answer shows (constrained_impersonation.go).
    fn in_go(&self) -> String {
        let list = |texts: &[&str]| {
            let quoted: Vec<String> = texts.iter().map(|text| quote(text)).collect();
            format!("[]string{{{}}}", quoted.join(", "))
        };
        let groups = match self.groups.is_empty() {
            true => "[]string(nil)".to_owned(),
            false => list(&self.groups),
        };
        let mut extra: Vec<_> = self.extra.iter().collect();
        extra.sort();
        let extra: Vec<String> = extra
            .into_iter()
            .map(|(key, values)| format!("{}:{}", quote(key), list(values)))
            .collect();
        let extra = match extra.is_empty() {
            true => "(nil)".to_owned(),
            false => format!("{{{}}}", extra.join(", ")),
        };
        format!(
            "&user.DefaultInfo{{Name:\"\", UID:{}, Groups:{groups}, Extra:map[string][]string{extra}}}",
            quote(self.uid)
        )
    }
}

/// The user that the request acts as; `Ok(None)` without such headers. The caller removes the headers before it proxies a
/// request ([`strip`]).
pub fn impersonate(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    headers: &HeaderMap,
) -> Result<Option<UserInfo>, Status> {
    let Some(wanted) = Wanted::parse(headers)? else {
        return Ok(None);
    };
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
        name: wanted.name.to_owned(),
        uid: wanted.uid.to_owned(),
        ..UserInfo::default()
    };
    match split_service_account(wanted.name) {
        Some((namespace, account)) => {
            ask(RequestInfo {
                resource: "serviceaccounts",
                namespace,
                name: account,
                ..RequestInfo::default()
            })?;
            if wanted.groups.is_empty() {
                acting.groups = service_account(namespace, account).groups;
                acting.groups.retain(|group| group != AUTHENTICATED);
            }
        }
        None => ask(RequestInfo {
            resource: "users",
            name: wanted.name,
            ..RequestInfo::default()
        })?,
    }
    for group in &wanted.groups {
        ask(RequestInfo {
            resource: "groups",
            name: group,
            ..RequestInfo::default()
        })?;
        acting.groups.push((*group).to_owned());
    }
    assume_details(&wanted, &mut acting, ask)?;
    complete_groups(&mut acting);
    Ok(Some(acting))
}

/// What else is known of a user: extra values and the uid.
fn assume_details(
    wanted: &Wanted<'_>,
    acting: &mut UserInfo,
    ask: impl Fn(RequestInfo<'_>) -> Result<(), Status>,
) -> Result<(), Status> {
    let authentication = RequestInfo {
        group: AUTHENTICATION_GROUP,
        version: "v1",
        ..RequestInfo::default()
    };
    for (key, values) in &wanted.extra {
        for value in values {
            ask(RequestInfo {
                resource: "userextras",
                subresource: key,
                name: value,
                ..authentication.clone()
            })?;
            let all = acting.extra.entry(key.clone()).or_default();
            all.push((*value).to_owned());
        }
    }
    if !wanted.uid.is_empty() {
        ask(RequestInfo {
            resource: "uids",
            name: wanted.uid,
            ..authentication
        })?;
    }
    Ok(())
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
        .filter(|name| name.as_str().starts_with(PREFIX))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}
