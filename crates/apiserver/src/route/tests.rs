use expect_test::{Expect, expect};

use super::*;

fn check(method: Method, uri: &str, wanted: Expect) {
    let (path, raw) = uri.split_once('?').unwrap_or((uri, ""));
    let path = decode_path(path);
    let query = Query::parse(raw);
    let (info, rest) = parse(&method, &path, &query);
    let got = match info.is_resource {
        false => format!("{} {}", info.verb, info.path),
        true => format!(
            "{} {}/{} {}/{}/{}/{} [{rest}] {}",
            info.verb,
            info.group,
            info.version,
            info.namespace,
            info.resource,
            info.name,
            info.subresource,
            info.field_selector
        ),
    };
    wanted.assert_eq(&got);
}

#[test]
fn parses_paths_as_upstream() {
    use Method as M;
    check(M::GET, "/", expect!["get /"]);
    check(M::GET, "/api", expect!["get /api"]);
    check(M::GET, "/api/v1", expect!["get /api/v1"]);
    check(M::GET, "/apis/apps/v1", expect!["get /apis/apps/v1"]);
    check(M::POST, "/healthz", expect!["post /healthz"]);
    check(M::GET, "/api/v1/pods", expect!["list /v1 /pods// [] "]);
    check(M::HEAD, "/api/v1/pods/", expect!["list /v1 /pods// [] "]);
    check(
        M::GET,
        "/api/v1/pods?watch=true",
        expect!["watch /v1 /pods// [] "],
    );
    check(
        M::GET,
        "/api/v1/pods?watch=false",
        expect!["list /v1 /pods// [] "],
    );
    check(
        M::GET,
        "/api/v1/watch/namespaces/n/pods/p",
        expect!["watch /v1 n/pods/p/ [] "],
    );
    check(
        M::GET,
        "/api/v1/namespaces/n/pods/p",
        expect!["get /v1 n/pods/p/ [] "],
    );
    check(
        M::GET,
        "/api/v1/namespaces/n/pods?fieldSelector=metadata.name%3Dp",
        expect!["list /v1 n/pods/p/ [] metadata.name%3Dp"],
    );
    check(
        M::POST,
        "/api/v1/namespaces/n/pods/p/binding",
        expect!["create /v1 n/pods/p/binding [] "],
    );
    check(
        M::GET,
        "/api/v1/namespaces",
        expect!["list /v1 /namespaces// [] "],
    );
    check(
        M::GET,
        "/api/v1/namespaces/n",
        expect!["get /v1 n/namespaces/n/ [] "],
    );
    check(
        M::PUT,
        "/api/v1/namespaces/n/finalize",
        expect!["update /v1 n/namespaces/n/finalize [] "],
    );
    check(
        M::PATCH,
        "/apis/apps/v1/namespaces/n/deployments/d/scale",
        expect!["patch apps/v1 n/deployments/d/scale [] "],
    );
    check(
        M::DELETE,
        "/apis/apps/v1/namespaces/n/deployments",
        expect!["deletecollection apps/v1 n/deployments// [] "],
    );
    check(
        M::DELETE,
        "/apis/apps/v1/namespaces/n/deployments/d",
        expect!["delete apps/v1 n/deployments/d/ [] "],
    );
    check(
        M::GET,
        "/api/v1/nodes/a/proxy/stats/summary?x=1",
        expect!["get /v1 /nodes/a/proxy [stats/summary] "],
    );
    check(
        M::GET,
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
        expect!["get rbac.authorization.k8s.io/v1 /clusterroles/system:node/ [] "],
    );
}

#[test]
fn finds_aliases() {
    let events = Served::find("events.k8s.io", "v1", "events").expect("served");
    assert_eq!(
        (events.kind.group, events.group(), events.api_version()),
        ("", "events.k8s.io", "events.k8s.io/v1".into())
    );
    assert!(Served::find("apps", "v1", "pods").is_none());
}
