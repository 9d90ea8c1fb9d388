//! The pods, Services, Gateways and routes.

use serde_json::{Value, json};

const HELLO: &str = "knarr/hello:latest";
const API: &str = "gateway.networking.k8s.io/v1";

pub const HOST: &str = "hello.example.com";
pub const SECURE: &str = "secure.example.com";
pub const OTHER: &str = "other";

/// Everything at once: a list in JSON, which is YAML.
pub fn text() -> String {
    let items = [workloads(), gateways(), routes()].concat();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn workloads() -> Vec<Value> {
    let pod = |name: &str| {
        let container = json!({
            "name": "hello", "image": HELLO, "imagePullPolicy": "IfNotPresent",
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
        });
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"hostname": name, "terminationGracePeriodSeconds": 1, "containers": [container]},
        })
    };
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
        })
    };
    vec![
        pod("alpha"),
        pod("beta"),
        service("alpha"),
        service("beta"),
        service("nobody"),
    ]
}

fn gateway(name: &str, listeners: Value) -> Value {
    json!({
        "apiVersion": API, "kind": "Gateway", "metadata": {"name": name},
        "spec": {"gatewayClassName": "knarr", "listeners": listeners},
    })
}

fn gateways() -> Vec<Value> {
    let guests = json!({"namespaces": {
        "from": "Selector", "selector": {"matchLabels": {"guests": "welcome"}},
    }});
    let web = json!([
        {"name": "http", "port": 80, "protocol": "HTTP"},
        {"name": "guests", "port": 80, "protocol": "HTTP", "hostname": "guest.example.com", "allowedRoutes": guests},
        {"name": "https", "port": 8443, "protocol": "HTTPS", "hostname": SECURE,
            "tls": {"certificateRefs": [{"name": "secure"}]}},
    ]);
    let bad = json!([
        {"name": "taken", "port": 6443, "protocol": "HTTP"},
        {"name": "protocol", "port": 9000, "protocol": "TCP"},
    ]);
    vec![
        gateway("web", web),
        gateway(
            "ports",
            json!([{"name": "http", "port": 8081, "protocol": "HTTP"}]),
        ),
        gateway("bad", bad),
    ]
}

fn route(kind: &str, name: &str, parent: Value, hosts: &[&str], rules: Value) -> Value {
    json!({
        "apiVersion": API, "kind": kind, "metadata": {"name": name},
        "spec": {"parentRefs": [parent], "hostnames": hosts, "rules": rules},
    })
}

fn prefix(path: &str) -> Value {
    json!({"path": {"type": "PathPrefix", "value": path}})
}

fn to(service: &str) -> Value {
    json!([{"name": service, "port": 80}])
}

fn routes() -> Vec<Value> {
    let web = |section: &str| json!({"name": "web", "sectionName": section});
    let redirect = json!({"type": "RequestRedirect", "requestRedirect": {
        "scheme": "https", "statusCode": 301,
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
    }});
    let rewrite = json!({"type": "URLRewrite", "urlRewrite": {
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"},
    }});
    let delay = json!({"type": "URLRewrite", "urlRewrite": {
        "path": {"type": "ReplaceFullPath", "replaceFullPath": "/delay"},
    }});
    let header = json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": {
        "set": [{"name": "X-Served-By", "value": "gateway"}],
    }});
    let main = json!([
        {"matches": [prefix("/")], "backendRefs": to("alpha")},
        {
            "matches": [
                {"headers": [{"name": "x-to", "value": "beta"}]},
                {"queryParams": [{"name": "to", "value": "beta"}]},
            ],
            "backendRefs": to("beta"),
        },
        {"matches": [prefix("/beta")], "filters": [rewrite], "backendRefs": to("beta")},
        {"matches": [prefix("/old")], "filters": [redirect]},
        {"matches": [prefix("/renamed")], "filters": [rewrite, header], "backendRefs": to("alpha")},
        {"matches": [prefix("/nobody")], "backendRefs": to("nobody")},
        {"matches": [prefix("/slow")], "filters": [delay], "timeouts": {"request": "200ms"}, "backendRefs": to("alpha")},
    ]);
    let call = json!([{
        "matches": [{"method": {"service": "echo.Echo", "method": "Say"}}], "backendRefs": to("nobody"),
    }]);
    let retrying = json!([{"retry": {"attempts": 2}, "backendRefs": to("alpha")}]);
    let lost = json!([{"matches": [prefix("/lost")], "backendRefs": to("lost")}]);
    let ports = json!({"name": "ports"});
    vec![
        route("HTTPRoute", "main", web("http"), &[HOST], main),
        route(
            "HTTPRoute",
            "retrying",
            web("http"),
            &["retrying.example.com"],
            retrying,
        ),
        route("HTTPRoute", "lost", web("http"), &[HOST], lost),
        route(
            "HTTPRoute",
            "more",
            web("http"),
            &["more.example.com"],
            json!([{"backendRefs": to("alpha")}]),
        ),
        route(
            "HTTPRoute",
            "secure",
            web("https"),
            &[],
            json!([{"backendRefs": to("alpha")}]),
        ),
        route(
            "HTTPRoute",
            "beta",
            ports,
            &[],
            json!([{"backendRefs": to("beta")}]),
        ),
        route(
            "GRPCRoute",
            "calls",
            web("http"),
            &["grpc.example.com"],
            call,
        ),
    ]
}

/// Of another namespace, to a Service of this one.
pub fn guest() -> String {
    let rules = json!([{"backendRefs": [{"name": "beta", "namespace": "default", "port": 80}]}]);
    let parent = json!({"name": "web", "namespace": "default", "sectionName": "guests"});
    route("HTTPRoute", "guest", parent, &[], rules).to_string()
}

/// A path that is none.
pub fn bad_route() -> String {
    let rules = json!([{"matches": [prefix("none")], "backendRefs": to("alpha")}]);
    route("HTTPRoute", "none", json!({"name": "web"}), &[], rules).to_string()
}

/// Lets routes of the other namespace lead to Services of this one.
pub fn grant() -> String {
    json!({
        "apiVersion": API, "kind": "ReferenceGrant", "metadata": {"name": "guests"},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": OTHER}],
            "to": [{"group": "", "kind": "Service"}],
        },
    })
    .to_string()
}

/// An Ingress for a host.
pub fn ingress(name: &str, host: &str) -> String {
    let backend = json!({"service": {"name": "alpha", "port": {"number": 80}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
        "spec": {"rules": [{"host": host, "http": {"paths": paths}}]},
    })
    .to_string()
}
