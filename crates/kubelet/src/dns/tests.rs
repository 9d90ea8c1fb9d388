use serde_json::json;

use super::*;
use crate::testing::pod;

fn check(spec: serde_json::Value, servers: &[&str], searches: &[&str], options: &[&str]) {
    let host = Resolver::parse("# a comment\nnameserver 1.1.1.1\nsearch lan\noptions rotate\n");
    let config = config(
        &pod(spec.clone()),
        &host,
        &["10.43.0.10".to_owned()],
        "cluster.local",
    );
    assert_eq!(config.servers, servers, "{spec}");
    assert_eq!(config.searches, searches, "{spec}");
    assert_eq!(config.options, options, "{spec}");
}

#[test]
fn policies() {
    let cluster = [
        "shop.svc.cluster.local",
        "svc.cluster.local",
        "cluster.local",
        "lan",
    ];
    check(
        json!({ "containers": [] }),
        &["10.43.0.10"],
        &cluster,
        &["ndots:5"],
    );
    check(
        json!({ "containers": [], "dnsPolicy": "Default" }),
        &["1.1.1.1"],
        &["lan"],
        &["rotate"],
    );
    check(
        json!({ "containers": [], "hostNetwork": true }),
        &["1.1.1.1"],
        &["lan"],
        &["rotate"],
    );
    let host =
        json!({ "containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet" });
    check(host, &["10.43.0.10"], &cluster, &["ndots:5"]);
    let own = json!({ "containers": [], "dnsPolicy": "None", "dnsConfig": {
        "nameservers": ["9.9.9.9"], "searches": ["x"], "options": [{ "name": "ndots", "value": "2" }, { "name": "edns0" }],
    } });
    check(own, &["9.9.9.9"], &["x"], &["ndots:2", "edns0"]);
    let more = json!({ "containers": [], "dnsConfig": { "searches": ["lan", "y"], "options": [{ "name": "ndots", "value": "1" }] } });
    let searches = [
        "shop.svc.cluster.local",
        "svc.cluster.local",
        "cluster.local",
        "lan",
        "y",
    ];
    check(more, &["10.43.0.10"], &searches, &["ndots:1"]);
}

#[test]
fn a_resolver_on_the_nodes_loopback_is_no_pods() {
    let text = "search a.example. . lan\n";
    assert_eq!(Resolver::parse(text).searches, ["a.example", ".", "lan"]);
    let text = "nameserver 127.0.0.53\nnameserver 9.9.9.9\nnameserver ::1\nsearch lan\n";
    let host = Resolver::parse(text);
    let servers = |spec: serde_json::Value| {
        let cluster = ["10.43.0.10".to_owned()];
        config(&pod(spec), &host, &cluster, "cluster.local").servers
    };
    let default = json!({ "containers": [], "dnsPolicy": "Default" });
    assert_eq!(servers(default), ["10.43.0.10", "9.9.9.9"]);
    // The node's network has the node's loopback.
    let node = json!({ "containers": [], "hostNetwork": true, "dnsPolicy": "Default" });
    assert_eq!(servers(node), ["127.0.0.53", "9.9.9.9", "::1"]);
}
