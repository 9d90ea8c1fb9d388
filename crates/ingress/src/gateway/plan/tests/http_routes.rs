//! Routes.

use super::*;

const FINE: &str = "Accepted ResolvedRefs";

fn to(gateway: &str, service: &str) -> Value {
    json!({
        "parentRefs": [{"name": gateway, "namespace": "g"}],
        "rules": [{"backendRefs": backend(service)}],
    })
}

fn all() -> Value {
    json!({"namespaces": {"from": "All"}})
}

#[test]
fn routes_are_attached_or_told_why_not() {
    let selected =
        json!({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"name": "a"}}}});
    let listeners = json!([
        http_listener(json!({"name": "all", "allowedRoutes": all(), "hostname": "*.example"})),
        http_listener(json!({"name": "same", "port": 8080})),
        http_listener(json!({"name": "selected", "port": 8081, "allowedRoutes": selected})),
        http_listener(json!({"name": "grpc", "port": 8082,
            "allowedRoutes": {"namespaces": {"from": "All"}, "kinds": [{"kind": "GRPCRoute"}]}})),
    ]);
    let cases = [
        (json!({"sectionName": "all"}), "a", "h.example", FINE),
        (json!({"port": 80}), "a", "h.example", FINE),
        (json!({}), "a", "h.example", FINE),
        (
            json!({"sectionName": "all"}),
            "a",
            "h.org",
            "!Accepted=NoMatchingListenerHostname ResolvedRefs",
        ),
        (
            json!({"sectionName": "same"}),
            "a",
            "h.org",
            "!Accepted=NotAllowedByListeners ResolvedRefs",
        ),
        (json!({"sectionName": "selected"}), "a", "h.org", FINE),
        (
            json!({"sectionName": "selected"}),
            "b",
            "h.org",
            "!Accepted=NotAllowedByListeners ResolvedRefs",
        ),
        (
            json!({"sectionName": "grpc"}),
            "a",
            "h.org",
            "!Accepted=NotAllowedByListeners ResolvedRefs",
        ),
        (
            json!({"sectionName": "none"}),
            "a",
            "h.org",
            "!Accepted=NoMatchingParent ResolvedRefs",
        ),
        (
            json!({"sectionName": "all", "port": 81}),
            "a",
            "h.example",
            "!Accepted=NoMatchingParent ResolvedRefs",
        ),
    ];
    for (parent, namespace, host, expected) in cases {
        let mut spec = to("g", "web");
        spec["hostnames"] = json!([host]);
        for (name, value) in parent.as_object().expect("fields") {
            spec["parentRefs"][0][name] = value.clone();
        }
        let route = format!("{namespace}/r");
        let mut scene = Scene::new()
            .gateway("g/g", listeners.clone())
            .http_route(&route, spec);
        let plan = scene.plan();
        assert_eq!(
            of_http(&plan, &route),
            [format!("g {expected}")],
            "{parent}"
        );
        let attached = of_gateway(&plan, "g/g");
        let attached = attached.iter().any(|line| line.contains(" 1 ["));
        assert_eq!(attached, expected == FINE, "{parent}");
    }
    // Others' Gateways are not ours to speak of.
    let mut scene = Scene::new().http_route("a/r", to("other", "web"));
    assert!(of_http(&scene.plan(), "a/r").is_empty());
}

#[test]
fn what_is_named_and_is_not_there() {
    let named = |field: &str, value: Value| {
        let mut backend = json!({"name": "web", "port": 80});
        backend[field] = value;
        backend
    };
    let cases = [
        (named("name", json!("none")), "BackendNotFound"),
        (named("port", json!(81)), "BackendNotFound"),
        (named("port", json!(53)), "BackendNotFound"),
        (named("port", json!(443)), "UnsupportedProtocol"),
        (named("kind", json!("Bucket")), "InvalidKind"),
        (named("namespace", json!("b")), "RefNotPermitted"),
    ];
    for (backend, reason) in cases {
        let spec = json!({
            "parentRefs": [{"name": "g", "namespace": "g"}],
            "rules": [{"backendRefs": [backend, {"name": "other", "port": 80}]}],
        });
        let mut scene = Scene::new()
            .gateway(
                "g/g",
                json!([http_listener(json!({"allowedRoutes": all()}))]),
            )
            .http_route("a/r", spec);
        let plan = scene.plan();
        assert_eq!(
            of_http(&plan, "a/r"),
            [format!("g Accepted !ResolvedRefs={reason}")]
        );
        // The rest is served.
        assert_eq!(asked(&table(plan, 80), "h", "/", None), "a/other");
    }
    let mut spec = to("g", "web");
    spec["rules"][0]["backendRefs"][0]["namespace"] = json!("b");
    let mut scene = Scene::new()
        .grant("b/grant", ("HTTPRoute", "a"), "Service")
        .gateway(
            "g/g",
            json!([http_listener(json!({"allowedRoutes": all()}))]),
        )
        .http_route("a/r", spec);
    assert_eq!(of_http(&scene.plan(), "a/r"), [format!("g {FINE}")]);
}

#[test]
fn what_is_not_supported_is_refused() {
    let filter = |filter: Value| json!({"filters": [filter], "backendRefs": backend("web")});
    let redirect = json!({"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}});
    let path =
        |type_: &str, value: &str| json!({"matches": [{"path": {"type": type_, "value": value}}]});
    let header = |name: &str| json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": [name]}});
    let unsupported = "UnsupportedValue";
    let cases = [
        (json!({"retry": {"attempts": 1}}), unsupported),
        (json!({"sessionPersistence": {}}), unsupported),
        (json!({"timeouts": {"request": "1y"}}), unsupported),
        (filter(json!({"type": "ExtensionRef"})), unsupported),
        (filter(json!({"type": "Sometime"})), unsupported),
        (filter(header("connection")), unsupported),
        (filter(json!({"type": "URLRewrite"})), unsupported),
        (filter(redirect.clone()), "IncompatibleFilters"),
        (
            json!({"filters": [redirect, {"type": "URLRewrite", "urlRewrite": {"hostname": "h"}}]}),
            "IncompatibleFilters",
        ),
        (
            json!({"filters": [header("a"), header("b")]}),
            "IncompatibleFilters",
        ),
        (path("Exactly", "/"), unsupported),
        (path("Exact", "x"), unsupported),
        (path("RegularExpression", "("), unsupported),
        (path("RegularExpression", "(a{1000}){1000}"), unsupported),
        (
            json!({"matches": [{"headers": [{"name": "a b", "value": "x"}]}]}),
            unsupported,
        ),
        (
            json!({"backendRefs": [{"name": "web", "port": 80, "filters": [{"type": "CORS", "cors": {}}]}]}),
            unsupported,
        ),
    ];
    for (rule, reason) in cases {
        let spec = json!({"parentRefs": [{"name": "g", "namespace": "g"}], "rules": [rule]});
        let mut scene = Scene::new()
            .gateway(
                "g/g",
                json!([http_listener(json!({"allowedRoutes": all()}))]),
            )
            .http_route("a/r", spec);
        let plan = scene.plan();
        let told = of_http(&plan, "a/r");
        assert_eq!(
            told,
            [format!("g !Accepted={reason} ResolvedRefs")],
            "{rule}"
        );
        assert_eq!(asked(&table(plan, 80), "h", "/", None), "none", "{rule}");
    }
}

#[test]
fn the_oldest_and_most_specific_rule_decides() {
    let listeners = json!([
        http_listener(json!({"name": "wide", "allowedRoutes": all(), "hostname": "*.example"})),
        http_listener(json!({"name": "narrow", "allowedRoutes": all(), "hostname": "n.example"})),
    ]);
    let route = |host: &str, service: &str, path: &str| {
        let mut spec = to("g", service);
        spec["hostnames"] = json!([host]);
        spec["rules"][0]["matches"] = json!([{"path": {"type": "PathPrefix", "value": path}}]);
        spec
    };
    let mut scene = Scene::new()
        .gateway("g/g", listeners)
        .http_route("a/old", route("*.example", "web", "/long/path"))
        .http_route("b/late", route("*.example", "web", "/long/path"))
        .http_route("a/exact", route("h.example", "other", "/"));
    let plan = scene.plan();
    let told = of_gateway(&plan, "g/g");
    assert!(
        told[1].starts_with("wide 3") && told[2].starts_with("narrow 2"),
        "{told:?}"
    );
    let table = table(plan, 80);
    let cases = [
        ("x.example", "/long/path", "a/web"),
        ("h.example", "/long/path", "a/other"),
        ("n.example", "/long/path/x", "a/web"),
        ("n.example", "/", "none"),
        ("x.org", "/", "none"),
    ];
    for (host, path, expected) in cases {
        assert_eq!(asked(&table, host, path, None), expected, "{host}{path}");
    }
}

#[test]
fn calls_by_service_method_and_header() {
    let matches = |method: Value, service: &str| json!({"matches": [{"method": method}], "backendRefs": backend(service)});
    let header = json!({
        "matches": [{"headers": [{"name": "X-A", "value": "1"}]}], "backendRefs": backend("other"),
    });
    let spec = json!({"parentRefs": [{"name": "g", "namespace": "g"}], "rules": [
        matches(json!({"service": "s.S", "method": "M"}), "web"),
        matches(json!({"service": "s.T"}), "other"),
        matches(json!({"method": "Any"}), "web"),
        matches(json!({"type": "RegularExpression", "service": "s\\.[UV]"}), "web"),
        header,
    ]});
    let mut scene = Scene::new()
        .gateway(
            "g/g",
            json!([http_listener(json!({"allowedRoutes": all()}))]),
        )
        .grpc_route("a/r", spec);
    let plan = scene.plan();
    let told = of_route(&plan, &Subject::GrpcRoute(key("a/r")));
    assert_eq!(told, [format!("g {FINE}")]);
    let table = table(plan, 80);
    let with = Some(("x-a", "1"));
    let cases = [
        ("/s.S/M", None, "a/web"),
        ("/s.S/N", None, "none"),
        ("/s.S/N", with, "a/other"),
        ("/s.T/M", None, "a/other"),
        ("/s.W/Any", None, "a/web"),
        ("/s.V/M", None, "a/web"),
        ("/s.W/M", None, "none"),
    ];
    for (path, header, expected) in cases {
        assert_eq!(asked(&table, "h", path, header), expected, "{path}");
    }
    let found = table.sites("h")[0].isolated;
    assert!(found);
}

#[test]
fn a_host_that_is_an_ingress_is_told() {
    let mut spec = to("g", "web");
    spec["hostnames"] = json!(["ingress.example", "own.example"]);
    let mut scene = Scene::new()
        .gateway(
            "g/g",
            json!([http_listener(json!({"allowedRoutes": all()}))]),
        )
        .http_route("a/r", spec);
    let message = |scene: &mut Scene| {
        let plan = scene.plan();
        let status = &plan.statuses[&Subject::HttpRoute(key("a/r"))].status;
        let Status::Route { parents } = status else {
            panic!("{status:?}")
        };
        parents[0].1[0].message.clone()
    };
    scene.owners = [("ingress.example".to_owned(), "a".to_owned())].into();
    assert_eq!(message(&mut scene), "");
    scene.owners = [("ingress.example".to_owned(), "b".to_owned())].into();
    assert_eq!(
        message(&mut scene),
        "ingress.example is an older Ingress' of another namespace there"
    );
}
