//! Which route a request takes: by host, then by path.
//!
//! The host decides alone, an exact one before a wildcard, whose first label stands for one: what has no path there goes to that
//! host's default backend, and never to another host's rules nor to the default of all others. Among paths an exact one comes first, then regular
//! expressions by their length, then the longest prefix.

use std::{collections::HashMap, sync::Arc};

use regex::{Captures, Regex};

use crate::{annotations::Options, path, regexes::Measured};

/// Longest path that is compared with regular expressions.
const MAX_REGEX_PATH_BYTES: usize = 2 << 10;
/// Bytes of regular expressions times bytes of a path: what is more than that, a few milliseconds, makes way for others.
const LIGHT: usize = 4 << 20;
/// Longer than any request's.
const MAX_PATH_BYTES: usize = 64 << 10;

/// A Service's port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendRef {
    pub namespace: String,
    pub service: String,
    pub port: PortRef,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortRef {
    Name(String),
    Number(i32),
}

/// Where requests go, and what is done with them.
#[derive(Clone, Debug)]
pub struct Route {
    /// Of the Ingress.
    pub namespace: String,
    pub backend: BackendRef,
    pub options: Arc<Options>,
    /// Plain requests are sent to HTTPS.
    pub to_https: bool,
    /// It must not be served, since an annotation is not understood that keeps somebody out.
    pub refused: bool,
}

/// The rules of a host.
#[derive(Debug, Default)]
pub struct Host {
    exact: HashMap<String, Arc<Route>>,
    /// Without a slash at their end, `/` being the empty one.
    prefix: HashMap<String, Arc<Route>>,
    /// The longest first.
    regex: Vec<(Regex, Arc<Route>)>,
    /// What they take together.
    regex_bytes: usize,
    longest_prefix: usize,
    pub fallback: Option<Arc<Route>>,
}

/// How a path is compared.
#[derive(Clone, Debug)]
pub enum Matcher {
    Exact(String),
    Prefix(String),
    Regex(Measured),
}

/// A route and what the path was for it.
#[derive(Clone, Debug)]
pub struct Found {
    pub route: Arc<Route>,
    /// The path by which to ask the backend, if not the client's own.
    pub rewritten: Option<String>,
}

/// All routes.
#[derive(Debug, Default)]
pub struct Table {
    hosts: HashMap<String, Host>,
    /// Of requests that no rule is for.
    pub fallback: Option<Arc<Route>>,
}

impl Host {
    pub fn add(&mut self, matcher: Matcher, route: Arc<Route>) {
        match matcher {
            Matcher::Exact(path) => {
                self.exact.insert(path, route);
            }
            Matcher::Prefix(path) => {
                self.longest_prefix = self.longest_prefix.max(path.len());
                self.prefix.insert(path, route);
            }
            Matcher::Regex(Measured { regex, bytes }) => {
                self.regex_bytes = self.regex_bytes.saturating_add(bytes);
                let longer = |(other, _): &(Regex, _)| other.as_str().len() >= regex.as_str().len();
                let at = self.regex.partition_point(longer);
                self.regex.insert(at, (regex, route));
            }
        }
    }

    fn find(&self, path: &str) -> Option<Found> {
        if let Some(route) = self.exact.get(path) {
            return Some(Found::literally(route));
        }
        // Whoever has regular expressions wants no such paths.
        if !self.regex.is_empty() && path.len() > MAX_REGEX_PATH_BYTES {
            return None;
        }
        for (regex, route) in &self.regex {
            if let Some(captures) = regex.captures(path) {
                let target = route.options.rewrite_target.as_ref();
                let rewritten = target.map(|target| expand(target, &captures));
                return Some(Found {
                    route: route.clone(),
                    rewritten,
                });
            }
        }
        let route = path::prefixes(path, self.longest_prefix).find_map(|p| self.prefix.get(p))?;
        Some(Found::literally(route))
    }
}

impl Found {
    fn literally(route: &Arc<Route>) -> Self {
        Self {
            rewritten: route.options.rewrite_target.clone(),
            route: route.clone(),
        }
    }
}

/// A target with `$1` as nginx reads it: one digit. What is repeated may be long, and is repeated as often as somebody likes: nobody
/// gets more of it than a request can say, and that is then no path.
fn expand(target: &str, captures: &Captures<'_>) -> String {
    let mut path = String::new();
    let mut characters = target.chars().peekable();
    while let Some(character) = characters.next() {
        let digit = characters.peek().and_then(|next| next.to_digit(10));
        match digit.filter(|_| character == '$') {
            Some(digit) => {
                characters.next();
                let group = usize::try_from(digit).ok();
                let group = group.and_then(|group| captures.get(group));
                path.push_str(group.map_or("", |group| group.as_str()));
            }
            None => path.push(character),
        }
        if path.len() > MAX_PATH_BYTES {
            break;
        }
    }
    path
}

impl Table {
    /// The rules of a host: `a.example.com`, `*.example.com`, or the empty one for all others.
    pub fn host(&mut self, name: &str) -> &mut Host {
        self.hosts.entry(name.to_owned()).or_default()
    }

    /// The route of a request: `host` in lower case without a port, `path` as [`path::normalize`] makes it.
    pub fn find(&self, host: &str, path: &str) -> Option<Found> {
        let own = self.hosts.get(host).or_else(|| {
            let (_, parent) = host.split_once('.')?;
            self.hosts.get(&format!("*.{parent}"))
        });
        let found = |host: &Host| {
            let found = host.find(path);
            found.or_else(|| host.fallback.as_ref().map(Found::literally))
        };
        let found = |host: &Host| match host.regex_bytes.saturating_mul(path.len()) > LIGHT {
            true => knarr_tasks::heavy(|| found(host)),
            false => found(host),
        };
        if let Some(own) = own {
            // It is somebody's: what he leaves out is nobody else's, under his name and with his cookies.
            return found(own);
        }
        let any = self.hosts.get("").and_then(found);
        any.or_else(|| self.fallback.as_ref().map(Found::literally))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(service: &str, rewrite: Option<&str>) -> Arc<Route> {
        Arc::new(Route {
            namespace: "x".to_owned(),
            backend: BackendRef {
                namespace: "x".to_owned(),
                service: service.to_owned(),
                port: PortRef::Number(80),
            },
            options: Arc::new(Options {
                rewrite_target: rewrite.map(str::to_owned),
                ..Options::default()
            }),
            to_https: false,
            refused: false,
        })
    }

    fn prefix(path: &str) -> Matcher {
        Matcher::Prefix(path.to_owned())
    }

    fn found(table: &Table, host: &str, path: &str) -> String {
        let path = path::normalize(path).expect("a path");
        table.find(host, &path).map_or("none".to_owned(), |found| {
            let service = &found.route.backend.service;
            match found.rewritten {
                Some(path) => format!("{service} {path}"),
                None => service.clone(),
            }
        })
    }

    #[test]
    fn hosts_and_paths() {
        let mut table = Table::default();
        let host = table.host("a.example.com");
        host.add(prefix(""), route("root", None));
        host.add(prefix("/foo"), route("foo", None));
        host.add(prefix("/foo/bar"), route("bar", None));
        host.add(Matcher::Exact("/foo".to_owned()), route("exact", None));
        table
            .host("*.example.com")
            .add(prefix("/w"), route("wild", None));
        table.host("b.example.com").fallback = Some(route("default-b", None));
        table.host("").add(prefix("/any"), route("any", None));
        let cases = [
            ("a.example.com", "/", "root"),
            ("a.example.com", "/foo", "exact"),
            ("a.example.com", "/foo/", "foo"),
            ("a.example.com", "/foobar", "root"),
            ("a.example.com", "/foo/bar/x", "bar"),
            ("a.example.com", "/x/../foo/bar", "bar"),
            ("a.example.com", "/any", "root"),
            ("c.example.com", "/w", "wild"),
            // One label, and only where no exact host is.
            ("c.d.example.com", "/w", "none"),
            ("example.com", "/w", "none"),
            ("b.example.com", "/w", "default-b"),
            ("c.example.com", "/any", "none"),
            ("elsewhere", "/any/x", "any"),
            ("elsewhere", "/x", "none"),
        ];
        for (host, path, expected) in cases {
            assert_eq!(found(&table, host, path), expected, "{host}{path}");
        }
        table.fallback = Some(route("default", None));
        assert_eq!(found(&table, "elsewhere", "/x"), "default");
        // Of a host that somebody has, nobody else gets the rest.
        assert_eq!(found(&table, "c.example.com", "/x"), "none");
    }

    #[test]
    fn rewritten_paths() {
        let mut table = Table::default();
        let regex = |text: &str| {
            let regex = Regex::new(text).expect("an expression");
            Matcher::Regex(Measured { regex, bytes: 1024 })
        };
        let host = table.host("h");
        host.add(regex("^(?i)/api(/|$)(.*)"), route("api", Some("/$2")));
        host.add(
            regex("^(?i)/api/v(.)x(/.*)?$"),
            route("version", Some("/v$1x$")),
        );
        host.add(prefix("/old"), route("old", Some("/new")));
        let cases = [
            ("/api", "api /"),
            ("/API/a/b", "api /a/b"),
            ("/apix", "none"),
            ("/api/v1x", "version /v1x$"),
            ("/old/a", "old /new"),
        ];
        for (path, expected) in cases {
            assert_eq!(found(&table, "h", path), expected, "{path}");
        }
        let bomb = format!("/{}", "$1".repeat(100_000));
        table
            .host("b")
            .add(regex("^(?i)/(.*)$"), route("bomb", Some(&bomb)));
        let path = |length: usize| format!("/{}", "a".repeat(length));
        assert!(
            table.find("b", &path(8_000)).is_none(),
            "too long to be compared"
        );
        let found = table.find("b", &path(2_000)).expect("a route");
        let length = found.rewritten.expect("a path").len();
        assert!(length < 2 * MAX_PATH_BYTES, "{length}");
    }
}
