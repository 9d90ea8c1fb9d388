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
    )
    .config;
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
    assert_eq!(Resolver::parse(text).searches, ["a.example", "lan"]);
    let text = "nameserver 127.0.0.53\nnameserver 9.9.9.9\nnameserver ::1\nsearch lan\n";
    let host = Resolver::parse(text);
    let servers = |spec: serde_json::Value| {
        let cluster = ["10.43.0.10".to_owned()];
        let formed = config(&pod(spec), &host, &cluster, "cluster.local");
        assert_eq!(formed.notes, [""; 0]);
        formed.config.servers
    };
    let default = json!({ "containers": [], "dnsPolicy": "Default" });
    assert_eq!(servers(default), ["10.43.0.10", "9.9.9.9"]);
    // The node's network has the node's loopback.
    let node = json!({ "containers": [], "hostNetwork": true, "dnsPolicy": "Default" });
    assert_eq!(servers(node), ["127.0.0.53", "9.9.9.9", "::1"]);
}

#[test]
fn what_resolvers_would_not_take_is_left_out_and_told() {
    let formed = |servers: &[&str], searches: Vec<String>| {
        let own = json!({ "nameservers": servers, "searches": searches });
        let spec = json!({ "containers": [], "dnsPolicy": "None", "dnsConfig": own });
        let formed = config(&pod(spec), &Resolver::default(), &[], "");
        let begins = |note: &String| note.split(':').next().unwrap_or_default().to_owned();
        let notes: Vec<String> = formed.notes.iter().map(begins).collect();
        (formed.config, notes)
    };
    let servers = ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"];
    let (config, notes) = formed(&servers, Vec::new());
    assert_eq!(config.servers, servers[..3]);
    let nameservers = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is";
    assert_eq!(notes, [nameservers]);

    let search = "Search Line limits were exceeded, some search paths have been omitted, the applied search line is";
    let many: Vec<String> = (0..33).map(|n| format!("d{n}")).collect();
    let (config, notes) = formed(&[], many.clone());
    assert_eq!(
        (config.searches.as_slice(), notes),
        (&many[..32], vec![search.to_owned()])
    );
    let (config, notes) = formed(&[], vec!["a".repeat(254), "b".repeat(253)]);
    assert_eq!(
        (config.searches, notes),
        (vec!["b".repeat(253)], vec![search.to_owned()])
    );
    // Eight of 253 bytes with a space each are 2031.
    let long: Vec<String> = (0..9).map(|n| n.to_string().repeat(253)).collect();
    let (config, notes) = formed(&[], long.clone());
    assert_eq!(
        (config.searches.as_slice(), notes),
        (&long[..8], vec![search.to_owned()])
    );
    let (config, notes) = formed(&servers[..3], long[..8].to_vec());
    assert_eq!(
        (config.servers.len(), config.searches.len(), notes.len()),
        (3, 8, 0)
    );
}
