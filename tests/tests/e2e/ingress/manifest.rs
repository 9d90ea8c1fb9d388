//! The pods, Services and Ingresses.

use serde_json::{Value, json};

const BUSYBOX: &str = "knarr/busybox:latest";
const HELLO: &str = "knarr/hello:latest";
/// Agrees to whatever a client asks to speak, and says it again.
const ECHO: &str = r#"printf 'while read -r line; do [ ${#line} -le 1 ] && break; done
printf "HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n"
exec cat
' > /tmp/echo; exec nc -ll -p 9000 -e sh /tmp/echo"#;

pub const HOST: &str = "hello.example.com";
pub const SECURE: &str = "secure.example.com";
pub const OTHER: &str = "other";
/// A port on which no pod listens.
const CLOSED_PORT: u16 = 9999;

/// Everything at once: a list in JSON, which is YAML.
pub fn text() -> String {
    list([pods(), services(), ingresses()].concat())
}

fn list(items: Vec<Value>) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn pod(name: &str, container: Value) -> Value {
    let spec =
        json!({"hostname": name, "terminationGracePeriodSeconds": 1, "containers": [container]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

fn pods() -> Vec<Value> {
    let hello = || {
        json!({
            "name": "hello", "image": HELLO, "imagePullPolicy": "IfNotPresent",
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
        })
    };
    let socket = json!({
        "name": "socket", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", ECHO],
    });
    vec![
        pod("alpha", hello()),
        pod("beta", hello()),
        pod("socket", socket),
    ]
}

fn service(name: &str, app: &str, target: u16) -> Value {
    let spec = json!({"selector": {"app": app}, "ports": [{"port": 80, "targetPort": target}]});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn services() -> Vec<Value> {
    let abroad = json!({"type": "ExternalName", "externalName": "localhost"});
    vec![
        service("alpha", "alpha", 8080),
        service("beta", "beta", 8080),
        service("socket", "socket", 9000),
        service("refusing", "alpha", CLOSED_PORT),
        service("nobody", "nobody", 8080),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "abroad"}, "spec": abroad}),
    ]
}

fn backend(service: &str) -> Value {
    json!({"service": {"name": service, "port": {"number": 80}}})
}

fn rule(host: &str, paths: &[(&str, &str)]) -> Value {
    let paths = paths.iter().map(
        |(path, service)| json!({"path": path, "pathType": "Prefix", "backend": backend(service)}),
    );
    json!({"host": host, "http": {"paths": paths.collect::<Vec<_>>()}})
}

fn ingress(namespace: &str, name: &str, annotations: Value, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": namespace, "name": name, "annotations": annotations}, "spec": spec,
    })
}

fn ingresses() -> Vec<Value> {
    let own =
        |name: &str, annotations: Value, spec: Value| ingress("default", name, annotations, spec);
    let nginx =
        |option: &str, value: &str| json!({format!("nginx.ingress.kubernetes.io/{option}"): value});
    let paths = [
        ("/", "alpha"),
        ("/socket", "socket"),
        ("/nobody", "nobody"),
        ("/refusing", "refusing"),
        ("/abroad", "abroad"),
    ];
    let one = |host: &str| json!({"rules": [rule(host, &[("/", "alpha")])]});
    let tls = json!({
        "tls": [{"hosts": [SECURE], "secretName": "secure"}], "rules": [rule(SECURE, &[("/", "alpha")])],
    });
    vec![
        own(
            "main",
            json!({}),
            json!({"rules": [rule(HOST, &paths), rule("*.wild.example.com", &[("/", "beta")])]}),
        ),
        own(
            "rewritten",
            nginx("rewrite-target", "/"),
            json!({"rules": [rule(HOST, &[("/beta", "beta")])]}),
        ),
        own("secure", json!({}), tls),
        own(
            "guarded",
            nginx("whitelist-source-range", "203.0.113.0/24"),
            one("guarded.example.com"),
        ),
        own(
            "auth",
            nginx("auth-url", "http://auth.example.com/"),
            one("auth.example.com"),
        ),
        own(
            "small",
            nginx("proxy-body-size", "8"),
            one("small.example.com"),
        ),
    ]
}

/// Of another namespace, for a path of a host that is not its own.
pub fn thief() -> String {
    let spec = json!({"rules": [rule(HOST, &[("/clientip", "phish")])]});
    ingress(OTHER, "thief", json!({}), spec).to_string()
}

/// For everything that no rule is for.
pub fn fallback() -> String {
    ingress(
        "default",
        "fallback",
        json!({}),
        json!({"defaultBackend": backend("beta")}),
    )
    .to_string()
}
