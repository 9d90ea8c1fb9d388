use http::{HeaderMap, Method};

use super::*;
use crate::{
    annotations::Options,
    backend_ref::{BackendRef, PortRef},
    filters::Filters,
    route::{Target, Targets, Timeouts},
};

fn route(service: &str, rewrite: Option<&str>) -> Arc<Route> {
    Arc::new(Route {
        namespace: "x".to_owned(),
        targets: Targets::one(Target::new(BackendRef {
            namespace: "x".to_owned(),
            service: service.to_owned(),
            port: PortRef::Number(80),
        })),
        options: Arc::new(Options {
            rewrite_target: rewrite.map(str::to_owned),
            ..Options::default()
        }),
        to_https: false,
        refused: false,
        filters: Filters::default(),
        timeouts: Timeouts::default(),
    })
}

fn prefix(path: &str) -> Matcher {
    Matcher::Prefix(path.to_owned())
}

fn found(table: &Table, host: &str, path: &str) -> String {
    let path = path::normalize(path).expect("a path");
    find(table, host, &path).map_or("none".to_owned(), |found| {
        let service = found.route.targets.services().join(",");
        match found.rewritten {
            Some(path) => format!("{service} {path}"),
            None => service,
        }
    })
}

fn find(table: &Table, host: &str, path: &str) -> Option<Found> {
    let headers = HeaderMap::new();
    table.find(
        host,
        &Head {
            path,
            method: &Method::GET,
            headers: &headers,
            query: None,
        },
    )
}

fn plain(service: &str) -> Rule {
    Rule::plain(route(service, None))
}

#[test]
fn hosts_and_paths() {
    let mut draft = Draft::default();
    let host = draft.host("a.example.com");
    host.add(prefix(""), plain("root"));
    host.add(prefix("/foo"), plain("foo"));
    host.add(prefix("/foo/bar"), plain("bar"));
    host.add(Matcher::Exact("/foo".to_owned()), plain("exact"));
    draft.host("*.example.com").add(prefix("/w"), plain("wild"));
    draft.host("b.example.com").fallback = Some(route("default-b", None));
    draft.host("").add(prefix("/any"), plain("any"));
    let mut table = draft.table();
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
    let mut draft = Draft::default();
    let regex = |text: &str| {
        let regex = Regex::new(text).expect("an expression");
        Matcher::Regex(Measured { regex, bytes: 1024 })
    };
    let to = |service: &str, target: &str| Rule::plain(route(service, Some(target)));
    let host = draft.host("h");
    host.add(regex("^(?i)/api(/|$)(.*)"), to("api", "/$2"));
    host.add(regex("^(?i)/api/v(.)x(/.*)?$"), to("version", "/v$1x$"));
    host.add(prefix("/old"), to("old", "/new"));
    let bomb = format!("/{}", "$1".repeat(100_000));
    let host = draft.host("b");
    host.add(regex("^(?i)/(.*)$"), to("bomb", &bomb));
    let table = draft.table();
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
    let path = |length: usize| format!("/{}", "a".repeat(length));
    assert!(
        find(&table, "b", &path(8_000)).is_none(),
        "too long to be compared"
    );
    let found = find(&table, "b", &path(2_000)).expect("a route");
    let length = found.rewritten.expect("a path").len();
    assert!(length < 2 * MAX_PATH_BYTES, "{length}");
}

fn site(hosts: &[(&str, &str)]) -> Arc<Site> {
    let mut site = Site::default();
    for (host, service) in hosts {
        site.host(host).add(prefix(""), plain(service));
    }
    Arc::new(site)
}

#[test]
fn the_most_specific_site_decides_alone() {
    let mut draft = Draft::default();
    draft
        .host("a.example.com")
        .add(prefix("/i"), plain("ingress"));
    draft
        .host("*.one.example.com")
        .add(prefix(""), plain("one"));
    draft.host("").add(prefix("/i"), plain("any-ingress"));
    let mut table = draft.table();
    table.add("a.example.com", site(&[("a.example.com", "late")]));
    table.add("*.one.example.com", site(&[("*.one.example.com", "many")]));
    let wild = [("x.example.com", "x"), ("*.example.com", "wild")];
    table.add("*.example.com", site(&wild));
    table.add("", site(&[("only.example.org", "org")]));
    let cases = [
        ("a.example.com", "/i", "ingress"),
        ("a.example.com", "/", "none"),
        ("b.one.example.com", "/", "one"),
        ("c.b.one.example.com", "/", "many"),
        ("x.example.com", "/", "x"),
        ("y.x.example.com", "/i", "wild"),
        ("only.example.org", "/i", "any-ingress"),
        ("only.example.org", "/", "org"),
        ("else.example.org", "/", "none"),
    ];
    for (host, path, expected) in cases {
        assert_eq!(found(&table, host, path), expected, "{host}{path}");
    }
}

#[test]
fn the_rule_that_asks_for_most() {
    let mut site = Site::default();
    let conditions = |method: Option<Method>, headers: &[&'static str]| {
        let text = || crate::conditions::Text::Exact("1".to_owned());
        let headers = headers.iter().map(|name| {
            let name = http::HeaderName::from_static(name);
            (name, text())
        });
        Conditions {
            method,
            headers: headers.collect(),
            ..Conditions::default()
        }
    };
    let rule = |conditions, service: &str| Rule {
        conditions,
        route: route(service, None),
    };
    let host = site.host("h");
    host.add(prefix("/a"), rule(conditions(None, &["x"]), "x"));
    host.add(prefix("/a"), rule(conditions(None, &[]), "first"));
    host.add(prefix("/a"), rule(conditions(None, &[]), "second"));
    host.add(prefix("/a"), rule(conditions(None, &["x", "y"]), "both"));
    host.add(
        prefix("/a"),
        rule(conditions(Some(Method::PUT), &[]), "put"),
    );
    host.add(prefix("/a/b"), rule(conditions(None, &["z"]), "longer"));
    // What no rule of the host is for is the wildcard's.
    host.add(
        Matcher::Exact("/e".to_owned()),
        rule(conditions(None, &["x"]), "exact"),
    );
    site.host("")
        .add(prefix(""), rule(conditions(None, &[]), "rest"));
    let mut table = Table::default();
    table.add("", Arc::new(site));
    let cases: [(Method, &str, &[&'static str], &str); 8] = [
        (Method::GET, "/a", &[], "first"),
        (Method::GET, "/a", &["x"], "x"),
        (Method::GET, "/a", &["x", "y"], "both"),
        (Method::PUT, "/a", &["x", "y"], "put"),
        (Method::GET, "/a/b", &["x"], "x"),
        (Method::GET, "/a/b", &["z"], "longer"),
        (Method::GET, "/e", &["x"], "exact"),
        (Method::GET, "/e", &[], "rest"),
    ];
    for (method, path, headers, expected) in cases {
        let headers: HeaderMap = (headers.iter())
            .map(|name| {
                let value = http::HeaderValue::from_static("1");
                (http::HeaderName::from_static(name), value)
            })
            .collect();
        let head = Head {
            path,
            method: &method,
            headers: &headers,
            query: None,
        };
        let found = table.find("h", &head).expect("a route");
        assert_eq!(
            found.route.targets.services(),
            [expected],
            "{method} {path}"
        );
    }
}
