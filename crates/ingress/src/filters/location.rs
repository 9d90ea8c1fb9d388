//! Other hosts and paths than the client's: for the backend, or for the client to ask anew.

use http::{HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What a path must not have in it unencoded (RFC 3986, 3.3).
pub const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A request, as it is to be written anew.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub tls: bool,
    /// Of ours, by which it came.
    pub port: u16,
    /// As URLs write it.
    pub host: &'a str,
    /// As the client wrote it.
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// By which the rule was found, if it was by one.
    pub prefix: Option<&'a str>,
}

/// A path in the place of the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    Full(String),
    /// In the place of the prefix by which the rule was found.
    Prefix(String),
}

impl PathChange {
    /// As URLs write it.
    pub fn apply(&self, seen: &Seen<'_>) -> String {
        let path = match self {
            Self::Full(path) => encode(path),
            Self::Prefix(replacement) => {
                let rest = rest(seen.path, seen.prefix.unwrap_or_default());
                format!("{}{rest}", encode(replacement.trim_end_matches('/')))
            }
        };
        match path.starts_with('/') {
            true => path,
            false => format!("/{path}"),
        }
    }
}

/// What is encoded already is left as it is.
fn encode(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    match decoded == path {
        true => utf8_percent_encode(path, NOT_IN_PATHS).to_string(),
        false => path.to_owned(),
    }
}

/// What is behind a prefix, as the client wrote it where that is plain; else as it is meant, so that nothing can lead out of the
/// new prefix.
fn rest(path: &str, prefix: &str) -> String {
    let plain = !path.contains("//")
        && !path.contains('%')
        && !path.split('/').any(|part| matches!(part, "." | ".."));
    if plain && let Some(rest) = path.strip_prefix(prefix) {
        return rest.to_owned();
    }
    let meant = crate::path::normalize(path).unwrap_or_default();
    let rest = meant.strip_prefix(prefix).unwrap_or_default();
    utf8_percent_encode(rest, NOT_IN_PATHS).to_string()
}

/// For the backend.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    pub host: Option<HeaderValue>,
    pub path: Option<PathChange>,
}

/// For the client.
#[derive(Clone, Debug, Default)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<PathChange>,
    pub status: StatusCode,
}

impl Redirect {
    /// The URL to ask instead.
    pub fn location(&self, seen: &Seen<'_>) -> String {
        let own = if seen.tls { "https" } else { "http" };
        let scheme = self.scheme.as_deref().unwrap_or(own);
        let usual = if scheme == "https" { 443 } else { 80 };
        // A scheme of its own has its own port.
        let port = self.port.unwrap_or(match self.scheme {
            Some(_) => usual,
            None => seen.port,
        });
        let port = match port == usual {
            true => String::new(),
            false => format!(":{port}"),
        };
        let host = self.host.as_deref().unwrap_or(seen.host);
        let path = match &self.path {
            Some(change) => change.apply(seen),
            None => seen.path.to_owned(),
        };
        let query = seen.query.map(|query| format!("?{query}"));
        format!("{scheme}://{host}{port}{path}{}", query.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen<'a>(path: &'a str, prefix: &'a str) -> Seen<'a> {
        Seen {
            tls: false,
            port: 80,
            host: "h",
            path,
            query: None,
            prefix: Some(prefix),
        }
    }

    #[test]
    fn prefixes_in_the_place_of_others() {
        // The prefix is kept without a slash at its end.
        let cases = [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/bar", "", "/xyz", "/xyz/bar"),
            ("/foo/a%2Fb", "/foo", "/xyz", "/xyz/a/b"),
            ("/foo/x/../a", "/foo", "/xyz", "/xyz/a"),
            ("/y/../foo/a", "/foo", "/xyz", "/xyz/a"),
            ("/%66oo/a b", "/foo", "/xyz", "/xyz/a%20b"),
        ];
        for (path, prefix, replacement, expected) in cases {
            let change = PathChange::Prefix(replacement.to_owned());
            assert_eq!(
                change.apply(&seen(path, prefix)),
                expected,
                "{path} {replacement}"
            );
        }
        let full = |path: &str| PathChange::Full(path.to_owned()).apply(&seen("/a", ""));
        assert_eq!(full("/b c"), "/b%20c");
        assert_eq!(full("/b%20c"), "/b%20c");
        assert_eq!(full("b"), "/b");
    }

    #[test]
    fn where_clients_are_sent() {
        let plain = Redirect::default();
        let to = |scheme: Option<&str>, host: Option<&str>, port| Redirect {
            scheme: scheme.map(str::to_owned),
            host: host.map(str::to_owned),
            port,
            ..plain.clone()
        };
        let cases = [
            (to(None, None, None), 80, "http://h/a?b"),
            (to(None, None, None), 8080, "http://h:8080/a?b"),
            (to(None, Some("o"), None), 80, "http://o/a?b"),
            (to(Some("https"), None, None), 8080, "https://h/a?b"),
            (to(Some("https"), None, Some(443)), 80, "https://h/a?b"),
            (
                to(Some("https"), None, Some(8443)),
                80,
                "https://h:8443/a?b",
            ),
            (to(Some("http"), None, None), 8080, "http://h/a?b"),
            (to(None, None, Some(8443)), 80, "http://h:8443/a?b"),
            (to(None, None, Some(80)), 8080, "http://h/a?b"),
        ];
        for (redirect, port, expected) in cases {
            let seen = Seen {
                port,
                query: Some("b"),
                ..seen("/a", "")
            };
            assert_eq!(redirect.location(&seen), expected);
        }
        let secure = Seen {
            tls: true,
            port: 443,
            ..seen("/a", "")
        };
        assert_eq!(plain.location(&secure), "https://h/a");
    }
}
