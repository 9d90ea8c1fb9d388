//! Who asks, as aggregated servers are told it: upstream's `SetAuthProxyHeaders`.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};
use knarr_auth::{UserInfo, authz::MASTERS};
use knarr_meta::status::Status;

const PREFIX: &str = "x-remote-";
const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA_PREFIX: &str = "x-remote-extra-";

/// Who this server is to those that it asks of its own accord.
pub fn aggregator() -> UserInfo {
    UserInfo {
        name: "system:kube-aggregator".to_owned(),
        groups: vec![MASTERS.to_owned()],
        ..UserInfo::default()
    }
}

/// Says who asks, in the place of whatever the client said of itself.
///
/// # Errors
/// 400 for a user whose name cannot stand in a header.
pub fn tell(headers: &mut HeaderMap, user: &UserInfo) -> Result<(), Status> {
    strip(headers);
    headers.insert(USER, value(&user.name)?);
    if !user.uid.is_empty() {
        headers.insert(UID, value(&user.uid)?);
    }
    for group in &user.groups {
        headers.append(GROUP, value(group)?);
    }
    for (key, values) in &user.extra {
        let name = format!("{EXTRA_PREFIX}{}", escaped(key));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(refused)?;
        for one in values {
            headers.append(name.clone(), value(one)?);
        }
    }
    Ok(())
}

fn strip(headers: &mut HeaderMap) {
    let claimed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(PREFIX))
        .cloned()
        .collect();
    for name in claimed {
        headers.remove(name);
    }
}

fn value(text: &str) -> Result<HeaderValue, Status> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> Status {
    Status::bad_request(format!(
        "the user's name, groups or extra cannot be passed on: {error}"
    ))
}

/// A key as part of a header's name: what may not stand there, and `%`, as `%XX`.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() => out.push(char::from(b)),
            b'!' | b'#' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
            | b'|' | b'~' => out.push(char::from(byte)),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_a_client_says_of_itself_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for name in [
            "X-Remote-User",
            "X-Remote-Group",
            "X-Remote-Uid",
            "X-Remote-Extra-Scopes",
            "X-Remote-Anything",
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.insert(name, HeaderValue::from_static("system:masters"));
        }
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let user = UserInfo {
            name: "jané".to_owned(),
            groups: vec!["a".to_owned(), "b".to_owned()],
            extra: BTreeMap::from([
                (
                    "example.com/x%y".to_owned(),
                    vec!["1".to_owned(), "2".to_owned()],
                ),
                ("plain".to_owned(), vec!["3".to_owned()]),
            ]),
            ..UserInfo::default()
        };
        tell(&mut headers, &user).expect("headers");
        let mut told: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        told.sort();
        let wanted = [
            "accept: */*",
            "x-remote-extra-example.com%2fx%25y: 1",
            "x-remote-extra-example.com%2fx%25y: 2",
            "x-remote-extra-plain: 3",
            "x-remote-group: a",
            "x-remote-group: b",
            "x-remote-user: jané",
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn who_cannot_be_named_is_refused() {
        let user = UserInfo {
            name: "a\r\nX-Remote-User: b".to_owned(),
            ..UserInfo::default()
        };
        let error = tell(&mut HeaderMap::new(), &user).expect_err("refused");
        assert_eq!(error.code, 400);
    }
}
