//! The pods and Services.

use std::path::Path;

use serde_json::{Value, json};

const BUSYBOX: &str = "knarr/busybox:latest";
const HELLO: &str = "knarr/hello:latest";

/// Where the host's perl is in pods: busybox can neither serve UDP nor choose a client's port.
pub const PERL: &str = "/perl";
/// Answers every packet with the pod's name.
const NAME_SERVER: &str = r#"socket(S, PF_INET, SOCK_DGRAM, 0) or die; bind(S, pack_sockaddr_in(9000, INADDR_ANY)) or die; $SIG{TERM} = sub { exit };
while (my $caller = recv(S, my $text, 1500, 0)) { send(S, $ENV{POD_NAME}, 0, $caller) }"#;

pub const CLUSTER_PORT: u16 = 30081;
pub const LOCAL_PORT: u16 = 30082;
pub const FAR_PORT: u16 = 30083;
pub const NAMES_PORT: u16 = 30084;
pub const LATE_PORT: u16 = 30085;
/// A port of the node that leads to pod alpha, and one of its 127.0.0.1 that leads to beta.
pub const HOST_PORT: u16 = 18_090;
pub const LOCAL_HOST_PORT: u16 = 18_091;
pub const NEAR_CHECK: u16 = 31001;
pub const REMOTE_CHECK: u16 = 31002;
/// Of a balancer that is not knarr's: the test plays it.
const BALANCER_CLASS: &str = "example.com/balancer";
/// An external address of a Service without endpoints.
pub const VOID_IP: &str = "198.51.100.8";

/// An external address that two Services name.
pub const TWIN_IP: &str = "198.51.100.9";

/// Everything at once: a list in JSON, which is YAML.
pub fn text() -> String {
    let items = [pods(), plain_services(), odd_services()].concat();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn pods() -> Vec<Value> {
    let shy = json!({
        "hostname": "shy", "subdomain": "early",
        "containers": [{
            "name": "main", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "echo shy > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"],
            "readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1},
        }],
    });
    let caller = json!({"containers": [with_perl(json!({"name": "main", "command": ["sleep", "3600"]}))], "volumes": volumes()});
    vec![
        web("alpha", 8080, json!({"hostPort": HOST_PORT})),
        web(
            "beta",
            8081,
            json!({"hostPort": LOCAL_HOST_PORT, "hostIP": "127.0.0.1"}),
        ),
        pod("shy", "shy", shy),
        pod("caller", "caller", caller),
    ]
}

fn pod(name: &str, app: &str, mut spec: Value) -> Value {
    spec["terminationGracePeriodSeconds"] = 1.into();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}, "spec": spec})
}

/// A pod that serves pages and names. The port of the pages has the same name everywhere, but not the same number.
fn web(name: &str, port: u16, mut container_port: Value) -> Value {
    container_port["name"] = "web".into();
    container_port["containerPort"] = port.into();
    let hello = json!({
        "name": "hello", "image": HELLO, "imagePullPolicy": "IfNotPresent", "args": [format!("--port={port}")],
        "ports": [container_port],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "web"}, "periodSeconds": 1},
    });
    let names = with_perl(json!({
        "name": "names", "command": [PERL, "-MSocket", "-e", NAME_SERVER],
        "ports": [{"name": "names", "containerPort": 9000, "protocol": "UDP"}],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    }));
    let spec = json!({"hostname": name, "subdomain": "headless", "containers": [hello, names], "volumes": volumes()});
    pod(name, "pair", spec)
}

/// Perl and its libraries, as far as this machine has them at these places.
fn places() -> impl Iterator<Item = (String, &'static str, &'static str)> {
    let all = [
        ("/usr/bin/perl", PERL),
        ("/usr/lib", "/usr/lib"),
        ("/lib", "/lib"),
        ("/lib64", "/lib64"),
    ];
    let found = all.into_iter().filter(|(host, _)| Path::new(host).exists());
    found
        .enumerate()
        .map(|(i, (host, inside))| (format!("place-{i}"), host, inside))
}

fn volumes() -> Vec<Value> {
    places()
        .map(|(name, host, _)| json!({"name": name, "hostPath": {"path": host}}))
        .collect()
}

fn with_perl(mut container: Value) -> Value {
    let mounts = places()
        .map(|(name, _, inside)| json!({"name": name, "mountPath": inside, "readOnly": true}));
    container["volumeMounts"] = mounts.collect();
    container["image"] = BUSYBOX.into();
    container["imagePullPolicy"] = "IfNotPresent".into();
    container
}

fn service(name: &str, app: Option<&str>, mut spec: Value) -> Value {
    if let Some(app) = app {
        spec["selector"] = json!({"app": app});
    }
    if spec["ports"].is_null() {
        spec["ports"] = json!([{"name": "web", "port": 80, "targetPort": "web"}]);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

/// Services in front of the pair of pods.
fn plain_services() -> Vec<Value> {
    let pair = |name: &str, spec: Value| service(name, Some("pair"), spec);
    let names = |node_port: u16| json!([{"name": "names", "port": 9000, "targetPort": "names", "protocol": "UDP", "nodePort": node_port}]);
    let node_port = |number: u16, policy: &str| {
        json!({
            "type": "NodePort", "externalTrafficPolicy": policy,
            "ports": [{"name": "web", "port": 80, "targetPort": "web", "nodePort": number}],
        })
    };
    let sticky = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}});
    let near = json!({
        "type": "LoadBalancer", "loadBalancerClass": BALANCER_CLASS,
        "externalTrafficPolicy": "Local", "healthCheckNodePort": NEAR_CHECK,
    });
    let headless = json!({
        "clusterIP": "None",
        "ports": [{"name": "web", "port": 80, "targetPort": "web"}, {"name": "names", "port": 9000, "targetPort": "names", "protocol": "UDP"}],
    });
    vec![
        pair("pair", json!({})),
        pair("sticky", sticky),
        pair("anywhere", node_port(CLUSTER_PORT, "Cluster")),
        pair("here", node_port(LOCAL_PORT, "Local")),
        pair("near", near),
        pair("headless", headless),
        pair("twin-a", json!({"externalIPs": [TWIN_IP]})),
        pair("twin-b", json!({"externalIPs": [TWIN_IP]})),
        pair(
            "names",
            json!({"type": "NodePort", "ports": names(NAMES_PORT)}),
        ),
        service(
            "late",
            Some("late"),
            json!({"type": "NodePort", "ports": names(LATE_PORT)}),
        ),
    ]
}

/// Services without a selector, without endpoints, without an address.
fn odd_services() -> Vec<Value> {
    let external = |target: &str| json!({"type": "ExternalName", "externalName": target});
    let far = json!({
        "type": "NodePort", "externalTrafficPolicy": "Local",
        "ports": [{"name": "web", "port": 80, "nodePort": FAR_PORT}],
    });
    let remote = json!({
        "type": "LoadBalancer", "loadBalancerClass": BALANCER_CLASS,
        "externalTrafficPolicy": "Local", "healthCheckNodePort": REMOTE_CHECK,
    });
    // Without a selector it would be of both families, which a cluster of one cannot keep once it has a selector.
    let listed = json!({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"});
    let early = json!({"clusterIP": "None", "publishNotReadyAddresses": true});
    vec![
        service("early", Some("shy"), early),
        service("hidden", Some("shy"), json!({"clusterIP": "None"})),
        service("alias", None, external("pair.default.svc.cluster.local")),
        service("abroad", None, external("example.invalid")),
        service("manual", None, json!({})),
        service("listed", None, listed),
        service("far", None, far),
        service("remote", None, remote),
        service("inside", None, json!({"internalTrafficPolicy": "Local"})),
        service("void", None, json!({"externalIPs": [VOID_IP]})),
    ]
}

/// A Service in front of the pair of pods that wants the node's address.
pub fn balanced(name: &str, port: u16) -> Value {
    let ports = json!([{"name": "web", "port": port, "targetPort": "web"}]);
    service(
        name,
        Some("pair"),
        json!({"type": "LoadBalancer", "ports": ports}),
    )
}

/// A slice that a user makes, of one endpoint.
pub fn slice(service: &str, address: &str, node: Option<&str>) -> Value {
    let mut endpoint = json!({"addresses": [address], "conditions": {"ready": true}});
    if let Some(node) = node {
        endpoint["nodeName"] = node.into();
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{service}-by-hand"), "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": [endpoint],
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
    })
}

/// An Endpoints object that a user makes.
pub fn endpoints(service: &str, addresses: &[Value], port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": service},
        "subsets": [{"addresses": addresses, "ports": [{"name": "web", "port": port}]}],
    })
}
