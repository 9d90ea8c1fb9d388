use std::process::Command;

use expect_test::expect;

use super::*;
use crate::{
    model::{Endpoint, ServicePort},
    range::Range,
    rules,
};

/// Endpoints enough for a map.
const MANY: [u8; 12] = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

fn key(name: &str) -> ServiceKey {
    ServiceKey {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn wanted(name: &str, cluster_ip: u8, endpoints: &[u8], affinity: Option<i32>) -> ServiceRules {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|last| Endpoint {
            address: Ipv4Addr::new(10, 42, 0, *last),
            port: 8080,
        })
        .collect();
    let address = |last| Ipv4Addr::new(198, 51, 100, last);
    let port = ServicePort {
        name: "http".to_owned(),
        protocol: "tcp",
        port: 80,
        cluster_ips: vec![Ipv4Addr::new(10, 43, 0, cluster_ip)],
        external_ips: Vec::new(),
        // Of one service only, so that the tests of others stay short.
        guarded_ips: affinity.iter().map(|_| address(cluster_ip)).collect(),
        source_ranges: vec![
            Range::new(address(0), 24),
            Range::new(Ipv4Addr::new(10, 0, 0, 0), 8),
        ],
        node_port: Some(30000 + u16::from(cluster_ip)),
        affinity_seconds: affinity,
        internal_local: false,
        external_local: affinity.is_some(),
        local: endpoints.clone(),
        serving: endpoints.iter().map(|e| e.address).collect(),
        all: endpoints,
    };
    rules::build(&key(name), &[port])
}

/// A service of an external address, without endpoints.
fn unserved(last: u8) -> ServiceRules {
    let frontend = crate::model::Frontend {
        address: Some(Ipv4Addr::new(198, 51, 100, last)),
        protocol: "udp",
        port: 53,
    };
    ServiceRules {
        unserved: [frontend].into(),
        ..ServiceRules::default()
    }
}

fn overlay(changes: Vec<(&str, Option<ServiceRules>)>) -> Applied {
    let mut next = Applied::overlay(changes.len());
    for (name, rules) in changes {
        next.set(key(name), rules);
    }
    next
}

const TABLE: &str = "knarr-proxy";

fn config() -> Config {
    Config {
        table: TABLE.to_owned(),
        node_name: "a".to_owned(),
        cluster_cidr: (Ipv4Addr::new(10, 42, 0, 0), 16),
        service_cidr: (Ipv4Addr::new(10, 43, 0, 0), 16),
        node_local_dns: Some((
            Ipv4Addr::new(10, 43, 0, 10),
            Ipv4Addr::new(169, 254, 20, 10),
        )),
    }
}

#[test]
fn a_changed_endpoint_touches_its_service_only() {
    let mut applied = Applied::default();
    applied.merge(overlay(vec![
        ("a", Some(wanted("a", 1, &[2, 3], None))),
        ("b", Some(wanted("b", 2, &[3], None))),
    ]));
    let next = overlay(vec![("a", Some(wanted("a", 1, &[2, 4], None)))]);
    // 10.42.0.3 still serves b: its hairpin element stays.
    expect![[r#"
        add chain ip knarr-proxy svc-default/a/tcp/http
        flush chain ip knarr-proxy svc-default/a/tcp/http
        add rule ip knarr-proxy svc-default/a/tcp/http meta l4proto tcp numgen random mod 2 == 0 dnat ip to 10.42.0.2:8080
        add rule ip knarr-proxy svc-default/a/tcp/http meta l4proto tcp dnat ip to 10.42.0.4:8080
        add element ip knarr-proxy hairpin { 10.42.0.4 . 10.42.0.4 }
    "#]]
    .assert_eq(&difference(TABLE, &applied, &next));
    applied.merge(next);
    assert_eq!(
        difference(
            TABLE,
            &applied,
            &overlay(vec![("a", Some(wanted("a", 1, &[2, 4], None)))])
        ),
        ""
    );
}

#[test]
fn a_removed_service_leaves_nothing() {
    let mut applied = Applied::default();
    applied.merge(overlay(vec![("a", Some(wanted("a", 1, &[2], None)))]));
    let next = overlay(vec![("a", None)]);
    expect![[r#"
        delete element ip knarr-proxy services { 10.43.0.1 . tcp . 80 }
        delete element ip knarr-proxy nodeports { tcp . 30001 }
        delete element ip knarr-proxy hairpin { 10.42.0.2 . 10.42.0.2 }
        flush chain ip knarr-proxy ext-default/a/tcp/http
        flush chain ip knarr-proxy svc-default/a/tcp/http
        delete chain ip knarr-proxy ext-default/a/tcp/http
        delete chain ip knarr-proxy svc-default/a/tcp/http
    "#]]
    .assert_eq(&difference(TABLE, &applied, &next));
    applied.merge(next);
    assert_eq!(applied.len(), 0);
    assert!(applied.hairpins.is_empty());
}

#[test]
fn only_flows_of_changed_services_are_looked_at() {
    let flows = |last: &[u8]| {
        let frontend = crate::model::Frontend {
            address: None,
            protocol: "udp",
            port: 30053,
        };
        let serving = last.iter().map(|last| Ipv4Addr::new(10, 42, 0, *last));
        let flows = Flows::from([(frontend, serving.collect())]);
        Some(ServiceRules {
            flows,
            ..ServiceRules::default()
        })
    };
    let mut applied = Applied::default();
    let first = overlay(vec![("a", flows(&[2, 3])), ("b", None)]);
    assert_eq!(
        changed_flows(&applied, &first),
        flows(&[2, 3]).unwrap().flows
    );
    applied.merge(first);
    for (next, wanted) in [
        (flows(&[2, 3]), Flows::new()),
        (flows(&[2]), flows(&[2]).unwrap().flows),
        (None, Flows::new()),
    ] {
        let next = overlay(vec![("a", next)]);
        assert_eq!(changed_flows(&applied, &next), wanted);
    }
}

/// The kernel has the last word: every kind of transaction is applied in a network namespace of the test's own.
#[test]
fn the_kernel_accepts_every_transaction() {
    if !nix_is_root() {
        eprintln!("skipped: needs root to make a network namespace");
        return;
    }
    let mut applied = Applied::default();
    let first = overlay(vec![
        ("a", Some(wanted("a", 1, &[2, 3], None))),
        ("b", Some(wanted("b", 2, &[2], Some(60)))),
    ]);
    let mut script = replace(&config(), &first);
    applied.merge(first);
    for next in [
        vec![("a", Some(wanted("a", 1, &[3], Some(30))))],
        vec![
            ("a", Some(wanted("a", 7, &[3, 4], None))),
            ("b", Some(wanted("b", 2, &[4, 5], Some(90)))),
        ],
        vec![("c", Some(unserved(9)))],
        // Beyond what is tried rule by rule.
        vec![
            ("a", Some(wanted("a", 1, &MANY, None))),
            ("b", Some(wanted("b", 2, &MANY, Some(60)))),
        ],
        vec![("a", None), ("c", Some(unserved(8)))],
        vec![("b", None), ("c", None)],
    ] {
        let next = overlay(next);
        script.push_str(&difference(TABLE, &applied, &next));
        applied.merge(next);
    }
    let listing = apply_in_namespace(&script);
    assert!(listing.contains("chain translate"), "{listing}");
    assert!(
        !listing.contains("default/"),
        "nothing of the services is left: {listing}"
    );
}

fn nix_is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.starts_with(b"0")
}

/// Runs nft in a namespace that ends with the process.
fn apply_in_namespace(script: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script");
    std::fs::write(&path, script).unwrap();
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", "nft -f \"$0\" && nft list ruleset"])
        .arg(&path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}\n{script}");
    String::from_utf8(output.stdout).unwrap()
}
