//! The headers themselves: what they ask for, and how they are taken away.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use knarr_meta::{field::quote, status::Status};

use crate::{
    UserInfo,
    escape::{self, Form},
    headers::{text, texts},
};

const PREFIX: &str = "impersonate-";
const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// What the headers ask for, as it stands there. `None` without such headers.
///
/// # Errors
/// 400 for one that cannot be understood: without it the request would run as the impersonator.
pub(super) fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let mut any = false;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for header in headers.keys().filter(|h| h.as_str().starts_with(PREFIX)) {
        any = true;
        if let Some(key) = header.as_str().strip_prefix(EXTRA_PREFIX) {
            let key = escape::decode(key, Form::Path)?.into_owned();
            let values = extra.entry(key).or_default();
            values.extend(texts(headers, header)?.into_iter().map(str::to_owned));
        } else if ![USER, GROUP, UID].contains(header) {
            return Err(Status::bad_request(format!(
                "unknown impersonation header {header}"
            )));
        }
    }
    if !any {
        return Ok(None);
    }
    let groups = texts(headers, &GROUP)?;
    let wanted = UserInfo {
        name: text(headers, &USER)?.to_owned(),
        uid: text(headers, &UID)?.to_owned(),
        groups: groups.into_iter().map(str::to_owned).collect(),
        extra,
    };
    match wanted.name.is_empty() {
        true => Err(Status::bad_request(format!(
            "requested {} without impersonating a user name",
            in_go(&wanted)
        ))),
        false => Ok(Some(wanted)),
    }
}

/// As Go writes a `user.DefaultInfo` out, which upstream's answer shows (constrained_impersonation.go).
fn in_go(user: &UserInfo) -> String {
    let list = |texts: &[String]| {
        let quoted: Vec<String> = texts.iter().map(|text| quote(text)).collect();
        format!("[]string{{{}}}", quoted.join(", "))
    };
    let groups = match user.groups.is_empty() {
        true => "[]string(nil)".to_owned(),
        false => list(&user.groups),
    };
    let extra: Vec<String> = (user.extra.iter())
        .map(|(key, values)| format!("{}:{}", quote(key), list(values)))
        .collect();
    let extra = match extra.is_empty() {
        true => "(nil)".to_owned(),
        false => format!("{{{}}}", extra.join(", ")),
    };
    format!(
        "&user.DefaultInfo{{Name:\"\", UID:{}, Groups:{groups}, Extra:map[string][]string{extra}}}",
        quote(&user.uid)
    )
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
