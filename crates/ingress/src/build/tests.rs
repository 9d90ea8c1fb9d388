use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::*;
use crate::{conditions::Head, regexes::Regexes, routes::Found};

/// An Ingress `NAMESPACE/NAME`, the older the smaller its day.
fn ingress(key: &str, day: u8, annotations: Value, spec: Value) -> Arc<Ingress> {
    let (namespace, name) = key.split_once('/').expect("namespace/name");
    let ingress = json!({
        "metadata": {
            "namespace": namespace, "name": name, "annotations": annotations,
            "creationTimestamp": format!("2030-01-{day:02}T00:00:00Z"),
        },
        "spec": spec,
    });
    Arc::new(serde_json::from_value(ingress).expect("an Ingress"))
}

fn rule(host: &str, path: &str, service: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    json!({"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend}]}})
}

fn built(ingresses: Vec<Arc<Ingress>>) -> Built {
    build(
        ingresses,
        Vec::new(),
        &mut Taking::new(&mut Regexes::default()),
        |_| Err("there is none".to_owned()),
    )
}

fn find(built: &Built, host: &str, path: &str) -> Option<Found> {
    let headers = HeaderMap::new();
    let head = Head {
        path,
        method: &Method::GET,
        headers: &headers,
        query: None,
    };
    built.table.find(host, &head)
}

fn service(built: &Built, host: &str, path: &str) -> String {
    let found = find(built, host, path);
    found.map_or("none".to_owned(), |found| {
        let services = found.route.targets.services();
        format!("{}/{}", found.route.namespace, services.join(","))
    })
}

fn problems(built: &Built, key: &str) -> Vec<String> {
    let (namespace, name) = key.split_once('/').expect("namespace/name");
    let key = Key {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let problems = built.problems.get(&key).into_iter().flatten();
    problems.cloned().collect()
}

#[test]
fn a_host_is_the_namespaces_that_had_it_first() {
    let thief = ingress(
        "b/late",
        2,
        json!({}),
        json!({"rules": [rule("h", "/login", "phish"), rule("own", "/", "own")]}),
    );
    let owner = ingress(
        "a/first",
        1,
        json!({}),
        json!({"rules": [rule("H", "/", "web")]}),
    );
    let second = ingress(
        "a/second",
        3,
        json!({}),
        json!({"rules": [rule("h", "/api", "api"), rule("h", "/", "other")]}),
    );
    let made = built(vec![thief.clone(), second, owner]);
    assert_eq!(service(&made, "h", "/login"), "a/web");
    assert_eq!(service(&made, "h", "/api"), "a/api");
    assert_eq!(service(&made, "own", "/"), "b/own");
    assert_eq!(
        problems(&made, "b/late"),
        ["the host h is an older Ingress' of another namespace"]
    );
    assert_eq!(
        problems(&made, "a/second"),
        ["the path / of h is an older rule's"]
    );
    // It may be shared.
    let shared = json!({"ingress.knarr.dev/share-host": "true"});
    let owner = ingress(
        "a/first",
        1,
        shared,
        json!({"rules": [rule("h", "/", "web")]}),
    );
    let made = built(vec![thief, owner]);
    assert_eq!(service(&made, "h", "/login"), "b/phish");
}

#[test]
fn rules_for_all_hosts_are_the_oldests_by_path() {
    let first = ingress("a/i", 1, json!({}), json!({"rules": [rule("", "/a", "a")]}));
    let second = ingress(
        "b/i",
        2,
        json!({}),
        json!({"rules": [rule("", "/b", "b"), rule("", "/a/", "x")]}),
    );
    let made = built(vec![second, first]);
    assert_eq!(service(&made, "h", "/a"), "a/a");
    assert_eq!(service(&made, "h", "/b/c"), "b/b");
    assert_eq!(
        problems(&made, "b/i"),
        ["the path /a/ of all hosts is an older rule's"]
    );
}

#[test]
fn default_backends() {
    let backend = |name: &str| json!({"service": {"name": name, "port": {"name": "web"}}});
    let all = ingress(
        "a/all",
        1,
        json!({}),
        json!({"defaultBackend": backend("all")}),
    );
    let other = ingress(
        "b/all",
        2,
        json!({}),
        json!({"defaultBackend": backend("b")}),
    );
    let host = ingress(
        "a/h",
        3,
        json!({}),
        json!({"defaultBackend": backend("own"), "rules": [rule("h", "/a", "a")]}),
    );
    let made = built(vec![all, other, host]);
    assert_eq!(service(&made, "x", "/"), "a/all");
    assert_eq!(service(&made, "h", "/a"), "a/a");
    assert_eq!(service(&made, "h", "/b"), "a/own");
    assert_eq!(
        problems(&made, "b/all"),
        ["the cluster's default backend is an older Ingress'"]
    );
}

#[test]
fn what_is_not_understood() {
    let auth = json!({"nginx.ingress.kubernetes.io/auth-url": "http://x/"});
    let guarded = ingress("a/i", 1, auth, json!({"rules": [rule("h", "/", "web")]}));
    let resource = json!({"rules": [{"host": "r", "http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "b"}}},
    ]}}]});
    let resource = ingress("a/r", 1, json!({}), resource);
    let made = built(vec![guarded, resource]);
    let found = find(&made, "h", "/").expect("a route");
    assert!(found.route.refused);
    assert_eq!(
        problems(&made, "a/i"),
        [
            "it is not served, since that may be to keep somebody out: nginx.ingress.kubernetes.io/auth-url",
            "the annotation nginx.ingress.kubernetes.io/auth-url is not understood",
        ]
    );
    assert_eq!(service(&made, "r", "/"), "none");
    assert_eq!(
        problems(&made, "a/r"),
        ["backends that are resources are not supported, only Services"]
    );
}

#[test]
fn expressions_are_bounded() {
    let path = |text: &str| json!({"path": text, "pathType": "ImplementationSpecific", "backend": {"service": {"name": "s"}}});
    let annotations = json!({"nginx.ingress.kubernetes.io/use-regex": "true"});
    let spec = |paths: Vec<Value>| json!({"rules": [{"host": "h", "http": {"paths": paths}}]});
    let bad = vec![path("/(a{1000}){1000}"), path("/("), path("/a|/b")];
    let made = built(vec![ingress("a/i", 1, annotations.clone(), spec(bad))]);
    assert_eq!(problems(&made, "a/i").len(), 2);
    assert_eq!(service(&made, "h", "/B"), "a/s");
    assert_eq!(service(&made, "h", "/c/a"), "none", "from the beginning on");
    let many = |count: usize| (0..count).map(|i| path(&format!("/x{i}."))).collect();
    let made = built(vec![ingress("a/i", 1, annotations.clone(), spec(many(60)))]);
    assert!(problems(&made, "a/i").is_empty());
    let made = built(vec![ingress("a/i", 1, annotations, spec(many(500)))]);
    assert_eq!(
        problems(&made, "a/i"),
        [
            "the regular expressions of h, or of the namespace, take too much together: some are left out"
        ]
    );
}

#[test]
fn redirects_to_https_are_for_hosts_with_tls() {
    let tls = json!({"tls": [{"hosts": ["h"], "secretName": "s"}], "rules": [rule("h", "/", "a"), rule("g", "/", "a")]});
    let made = built(vec![ingress("a/i", 1, json!({}), tls)]);
    let to_https = |host: &str| find(&made, host, "/").expect("a route").route.to_https;
    assert!(to_https("h"));
    assert!(!to_https("g"));
    assert_eq!(problems(&made, "a/i"), ["Secret s: there is none"]);
}

/// Hosts below a wildcard, of its namespace and of another's.
fn below(wildcard: u8, host: u8, annotations: Value) -> Built {
    let wide = ingress(
        "a/wide",
        wildcard,
        annotations,
        json!({
            "rules": [rule("*.corp.example", "/", "wide")],
            "tls": [{"hosts": ["*.corp.example"], "secretName": "s"}],
        }),
    );
    let own = ingress(
        "a/own",
        10,
        json!({}),
        json!({"rules": [rule("own.corp.example", "/", "own")]}),
    );
    let other = ingress(
        "b/other",
        host,
        json!({}),
        json!({"rules": [rule("Login.corp.example", "/", "phish"), rule("x.login.corp.example", "/", "deep")]}),
    );
    let made = rcgen::generate_simple_self_signed(["x".to_owned()]).expect("a certificate");
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = rustls::crypto::ring::default_provider();
    let key = CertifiedKey::from_der(vec![made.cert.der().clone()], key.into(), &provider);
    let key = Arc::new(key.expect("a key"));
    let ingresses = vec![wide, own, other];
    build(
        ingresses,
        Vec::new(),
        &mut Taking::new(&mut Regexes::default()),
        |_| Ok(key.clone()),
    )
}

#[test]
fn a_wildcard_is_for_the_hosts_below_it() {
    let made = below(1, 2, json!({}));
    assert_eq!(service(&made, "login.corp.example", "/"), "a/wide");
    assert_eq!(service(&made, "own.corp.example", "/"), "a/own");
    assert_eq!(service(&made, "x.login.corp.example", "/"), "b/deep");
    assert_eq!(
        problems(&made, "b/other"),
        [
            "the host login.corp.example is below *.corp.example, which is an older Ingress' of another namespace"
        ]
    );
    for host in ["login.corp.example", "own.corp.example"] {
        assert!(made.certificates.get(host).is_some(), "{host}");
    }
    assert!(made.certificates.get("x.login.corp.example").is_none());
}

#[test]
fn a_host_is_not_shown_with_another_namespaces_wildcard() {
    let made = below(2, 1, json!({}));
    assert_eq!(service(&made, "login.corp.example", "/"), "b/phish");
    assert!(made.certificates.get("login.corp.example").is_none());
    assert!(made.certificates.get("own.corp.example").is_some());
    // It may be shared, with its certificate.
    let made = below(1, 2, json!({"ingress.knarr.dev/share-host": "true"}));
    assert_eq!(service(&made, "login.corp.example", "/"), "b/phish");
    assert!(made.certificates.get("login.corp.example").is_some());
}

#[test]
fn hosts_that_are_gateways() {
    let claim = |day: u8, namespace: &str, host: &str| Claim {
        created: format!("2030-01-{day:02}T00:00:00Z").parse().ok(),
        namespace: namespace.to_owned(),
        host: host.to_owned(),
    };
    let claims = vec![
        claim(3, "g", "late.example"),
        claim(1, "g", "*.corp.example"),
        claim(1, "a", "mine.example"),
    ];
    let rules = json!({"rules": [
        rule("x.y.corp.example", "/", "phish"), rule("corp.example", "/", "own"),
        rule("late.example", "/", "first"), rule("mine.example", "/", "mine"),
    ]});
    let ingresses = vec![ingress("a/i", 2, json!({}), rules)];
    let mut regexes = Regexes::default();
    let made = build(ingresses, claims, &mut Taking::new(&mut regexes), |_| {
        Err("there is none".to_owned())
    });
    let cases = [
        ("x.y.corp.example", "none"),
        ("corp.example", "a/own"),
        ("late.example", "a/first"),
        ("mine.example", "a/mine"),
    ];
    for (host, expected) in cases {
        assert_eq!(service(&made, host, "/"), expected, "{host}");
    }
    assert_eq!(
        problems(&made, "a/i"),
        [
            "the host x.y.corp.example is below *.corp.example, which is an older Gateway's or route's of another namespace"
        ]
    );
    let mut owned: Vec<&str> = made.owners.keys().map(String::as_str).collect();
    owned.sort_unstable();
    assert_eq!(owned, ["corp.example", "late.example"]);
}

#[test]
fn backends_that_speak_another_protocol() {
    for (protocol, h2c) in [("GRPC", true), ("HTTP", false)] {
        let annotations = json!({"nginx.ingress.kubernetes.io/backend-protocol": protocol});
        let spec = json!({"rules": [rule("h", "/", "web")]});
        let made = built(vec![ingress("a/i", 1, annotations, spec)]);
        let route = find(&made, "h", "/").expect("a route").route;
        assert_eq!(route.targets.next().map(|target| target.h2c), Some(h2c));
    }
}
