use std::net::SocketAddr;

use expect_test::{Expect, expect};

use super::*;

fn port() -> ServicePort {
    let endpoint = |last, port| Endpoint {
        address: IpAddr::from([10, 42, 0, last]),
        port,
    };
    ServicePort {
        name: "http".to_owned(),
        protocol: Protocol::Tcp,
        port: 80,
        cluster_ips: vec![IpAddr::from([10, 43, 0, 9])],
        external_ips: Vec::new(),
        guarded_ips: Vec::new(),
        source_ranges: Vec::new(),
        node_port: None,
        affinity_seconds: None,
        internal_local: false,
        external_local: false,
        all: vec![endpoint(2, 8080), endpoint(3, 8080)],
        local: vec![endpoint(2, 8080)],
        serving: BTreeSet::from([endpoint(2, 8080), endpoint(3, 8080)]),
    }
}

fn check(port: ServicePort, expected: Expect) {
    check_of(Family::Ip, port, expected);
}

fn check_of(family: Family, port: ServicePort, expected: Expect) {
    let key = ServiceKey {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
    };
    let rules = build(&key, &[port], family);
    let mut text = String::new();
    for (name, body) in &rules.chains {
        text.push_str(&format!("{name}:\n"));
        for rule in body {
            text.push_str(&format!("    {rule}\n"));
        }
    }
    let listed = |endpoints: &[Endpoint]| {
        let shown: Vec<_> = endpoints
            .iter()
            .map(|e| SocketAddr::new(e.address, e.port).to_string())
            .collect();
        format!("[{}]", shown.join(", "))
    };
    for (frontend, balanced) in &rules.balanced {
        text.push_str(&format!("{frontend} -> {}", listed(&balanced.all)));
        if balanced.masquerade {
            text.push_str(", masqueraded");
        }
        if let Some(local) = &balanced.local {
            text.push_str(&format!(", from outside -> {}", listed(local)));
        }
        text.push('\n');
    }
    for (frontend, chain) in rules.sticky.iter().chain(&rules.guards) {
        text.push_str(&format!("{frontend} -> {chain}\n"));
    }
    text.push_str(&format!("hairpins: {:?}\n", rules.hairpins));
    for element in &rules.unserved {
        text.push_str(&format!("{element} is refused\n"));
    }
    for element in &rules.dropped {
        text.push_str(&format!("{element} is dropped\n"));
    }
    for (frontend, serving) in &rules.flows {
        let serving: Vec<_> = serving.iter().copied().collect();
        text.push_str(&format!(
            "flows to {frontend} lead to {}\n",
            listed(&serving)
        ));
    }
    expected.assert_eq(&text);
}

#[test]
fn cluster_ip() {
    check(
        port(),
        expect![[r#"
            10.43.0.9 . tcp . 80 -> [10.42.0.2:8080, 10.42.0.3:8080]
            hairpins: {10.42.0.2, 10.42.0.3}
        "#]],
    );
}

#[test]
fn node_port_is_masqueraded() {
    check(
        ServicePort {
            node_port: Some(30080),
            ..port()
        },
        expect![[r#"
            tcp . 30080 -> [10.42.0.2:8080, 10.42.0.3:8080], masqueraded
            10.43.0.9 . tcp . 80 -> [10.42.0.2:8080, 10.42.0.3:8080]
            hairpins: {10.42.0.2, 10.42.0.3}
        "#]],
    );
}

#[test]
fn external_traffic_policy_local_keeps_the_source() {
    check(
        ServicePort {
            node_port: Some(30080),
            external_local: true,
            ..port()
        },
        expect![[r#"
            tcp . 30080 -> [10.42.0.2:8080, 10.42.0.3:8080], from outside -> [10.42.0.2:8080]
            10.43.0.9 . tcp . 80 -> [10.42.0.2:8080, 10.42.0.3:8080]
            hairpins: {10.42.0.2, 10.42.0.3}
        "#]],
    );
}

#[test]
fn session_affinity_keeps_clients() {
    check(
        ServicePort {
            affinity_seconds: Some(60),
            ..port()
        },
        expect![[r#"
            ep-default/web/tcp/http/10.42.0.2/8080:
                update @clients60-default/web/tcp/http/10.42.0.2/8080 { ip saddr }
                meta l4proto tcp dnat ip to 10.42.0.2:8080
            ep-default/web/tcp/http/10.42.0.3/8080:
                update @clients60-default/web/tcp/http/10.42.0.3/8080 { ip saddr }
                meta l4proto tcp dnat ip to 10.42.0.3:8080
            svc-default/web/tcp/http:
                ip saddr @clients60-default/web/tcp/http/10.42.0.2/8080 goto ep-default/web/tcp/http/10.42.0.2/8080
                ip saddr @clients60-default/web/tcp/http/10.42.0.3/8080 goto ep-default/web/tcp/http/10.42.0.3/8080
                numgen random mod 2 == 0 goto ep-default/web/tcp/http/10.42.0.2/8080
                goto ep-default/web/tcp/http/10.42.0.3/8080
            10.43.0.9 . tcp . 80 -> svc-default/web/tcp/http
            hairpins: {10.42.0.2, 10.42.0.3}
        "#]],
    );
}

#[test]
fn many_endpoints_of_sticky_services_have_a_map() {
    let endpoints = |count: u8| {
        let endpoint = |last| Endpoint {
            address: IpAddr::from([10, 42, 0, last]),
            port: 8080,
        };
        let port = ServicePort {
            all: (0..count).map(endpoint).collect(),
            affinity_seconds: Some(60),
            ..port()
        };
        let key = ServiceKey {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
        };
        let rules = build(&key, &[port], Family::Ip);
        let shown = rules.chains["svc-default/web/tcp/http"].iter();
        shown.map(|rule| rule.to_string()).collect::<Vec<_>>()
    };
    let few = endpoints(8);
    assert_eq!(few.len(), 16);
    assert_eq!(
        few[8],
        "numgen random mod 8 == 0 goto ep-default/web/tcp/http/10.42.0.0/8080"
    );
    let many = endpoints(9);
    assert_eq!(many.len(), 10);
    let start =
        "numgen random mod 9 vmap { 0 : goto ep-default/web/tcp/http/10.42.0.0/8080, 1 : goto ep-";
    assert!(many[9].starts_with(start), "{}", many[9]);
}

#[test]
fn no_endpoints_no_rules() {
    let key = ServiceKey {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
    };
    let empty = ServicePort {
        all: Vec::new(),
        local: Vec::new(),
        node_port: Some(30080),
        ..port()
    };
    assert!(build(&key, &[empty], Family::Ip).is_empty());
}

#[test]
fn external_addresses_without_endpoints_are_refused() {
    check(
        ServicePort {
            all: Vec::new(),
            local: Vec::new(),
            external_ips: vec![IpAddr::from([198, 51, 100, 7])],
            node_port: Some(30080),
            external_local: true,
            ..port()
        },
        expect![[r#"
            hairpins: {}
            198.51.100.7 . tcp . 80 is refused
        "#]],
    );
}

#[test]
fn without_an_endpoint_here_only_the_cluster_is_served() {
    check(
        ServicePort {
            local: Vec::new(),
            node_port: Some(30080),
            external_local: true,
            internal_local: true,
            ..port()
        },
        expect![[r#"
            tcp . 30080 -> [10.42.0.2:8080, 10.42.0.3:8080], from outside -> []
            hairpins: {10.42.0.2, 10.42.0.3}
            10.43.0.9 . tcp . 80 is dropped
        "#]],
    );
}

#[test]
fn guarded_addresses_are_for_some_clients_only() {
    let guarded = |ranges: &[&str]| ServicePort {
        guarded_ips: vec![IpAddr::from([198, 51, 100, 7])],
        source_ranges: ranges.iter().map(|r| r.parse().unwrap()).collect(),
        ..port()
    };
    check(
        guarded(&["192.0.2.0/24", "10.0.0.0/8"]),
        expect![[r#"
            guard-default/web/tcp/http:
                ip saddr { 192.0.2.0/24, 10.0.0.0/8 } return
                drop
            10.43.0.9 . tcp . 80 -> [10.42.0.2:8080, 10.42.0.3:8080]
            198.51.100.7 . tcp . 80 -> [10.42.0.2:8080, 10.42.0.3:8080], masqueraded
            198.51.100.7 . tcp . 80 -> guard-default/web/tcp/http
            hairpins: {10.42.0.2, 10.42.0.3}
        "#]],
    );
    check(
        guarded(&[]),
        expect![[r#"
            guard-default/web/tcp/http:
                drop
            10.43.0.9 . tcp . 80 -> [10.42.0.2:8080, 10.42.0.3:8080]
            198.51.100.7 . tcp . 80 -> [10.42.0.2:8080, 10.42.0.3:8080], masqueraded
            198.51.100.7 . tcp . 80 -> guard-default/web/tcp/http
            hairpins: {10.42.0.2, 10.42.0.3}
        "#]],
    );
}

#[test]
fn udp_flows_may_lead_to_whoever_serves() {
    check(
        ServicePort {
            protocol: Protocol::Udp,
            port: 53,
            external_ips: vec![IpAddr::from([198, 51, 100, 7])],
            node_port: Some(30053),
            ..port()
        },
        expect![[r#"
            udp . 30053 -> [10.42.0.2:8080, 10.42.0.3:8080], masqueraded
            10.43.0.9 . udp . 53 -> [10.42.0.2:8080, 10.42.0.3:8080]
            198.51.100.7 . udp . 53 -> [10.42.0.2:8080, 10.42.0.3:8080], masqueraded
            hairpins: {10.42.0.2, 10.42.0.3}
            flows to udp . 30053 lead to [10.42.0.2:8080, 10.42.0.3:8080]
            flows to 10.43.0.9 . udp . 53 lead to [10.42.0.2:8080, 10.42.0.3:8080]
            flows to 198.51.100.7 . udp . 53 lead to [10.42.0.2:8080, 10.42.0.3:8080]
        "#]],
    );
}

#[test]
fn udp_flows_end_where_nobody_serves() {
    check(
        ServicePort {
            protocol: Protocol::Udp,
            port: 53,
            all: Vec::new(),
            local: Vec::new(),
            serving: BTreeSet::new(),
            ..port()
        },
        expect![[r#"
            hairpins: {}
            flows to 10.43.0.9 . udp . 53 lead to []
        "#]],
    );
}

#[test]
fn sticky_services_without_an_endpoint_here_are_dropped_too() {
    let key = ServiceKey {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
    };
    let away = ServicePort {
        local: Vec::new(),
        internal_local: true,
        affinity_seconds: Some(60),
        ..port()
    };
    let shown = |port: ServicePort| -> Vec<_> {
        let rules = build(&key, &[port], Family::Ip);
        rules.dropped.iter().map(ToString::to_string).collect()
    };
    assert_eq!(shown(away.clone()), ["10.43.0.9 . tcp . 80"]);
    // With none anywhere it is refused.
    let nowhere = ServicePort {
        all: Vec::new(),
        ..away
    };
    assert_eq!(shown(nowhere), Vec::<String>::new());
}

#[test]
fn long_names_stay_unique() {
    let long = "x".repeat(200);
    let (a, b) = (
        chain_name("svc", &format!("{long}a")),
        chain_name("svc", &format!("{long}b")),
    );
    assert_ne!(a, b);
    assert!(a.len() <= NAME_LIMIT_BYTES && b.len() <= NAME_LIMIT_BYTES);
}

/// The same as [`port`] in IPv6.
fn port6() -> ServicePort {
    let endpoint = |last| Endpoint {
        address: IpAddr::from([0xfd00, 0x42, 0, 0, 0, 0, 0, last]),
        port: 8080,
    };
    ServicePort {
        cluster_ips: vec![IpAddr::from([0xfd00, 0x43, 0, 0, 0, 0, 0, 9])],
        all: vec![endpoint(2), endpoint(3)],
        local: vec![endpoint(2)],
        serving: BTreeSet::from([endpoint(2), endpoint(3)]),
        ..port()
    }
}

#[test]
fn services_of_ipv6_have_rules_of_their_family() {
    check_of(
        Family::Ip6,
        ServicePort {
            node_port: Some(30080),
            guarded_ips: vec!["2001:db8::7".parse().unwrap()],
            source_ranges: vec!["2001:db8:1::/48".parse().unwrap()],
            ..port6()
        },
        expect![[r#"
            guard-default/web/tcp/http:
                ip6 saddr { 2001:db8:1::/48 } return
                drop
            tcp . 30080 -> [[fd00:42::2]:8080, [fd00:42::3]:8080], masqueraded
            2001:db8::7 . tcp . 80 -> [[fd00:42::2]:8080, [fd00:42::3]:8080], masqueraded
            fd00:43::9 . tcp . 80 -> [[fd00:42::2]:8080, [fd00:42::3]:8080]
            2001:db8::7 . tcp . 80 -> guard-default/web/tcp/http
            hairpins: {fd00:42::2, fd00:42::3}
        "#]],
    );
}

#[test]
fn names_have_no_colons() {
    check_of(
        Family::Ip6,
        ServicePort {
            affinity_seconds: Some(60),
            all: port6().local,
            ..port6()
        },
        expect![[r#"
            ep-default/web/tcp/http/fd00-42--2/8080:
                update @clients60-default/web/tcp/http/fd00-42--2/8080 { ip6 saddr }
                meta l4proto tcp dnat ip6 to [fd00:42::2]:8080
            svc-default/web/tcp/http:
                ip6 saddr @clients60-default/web/tcp/http/fd00-42--2/8080 goto ep-default/web/tcp/http/fd00-42--2/8080
                goto ep-default/web/tcp/http/fd00-42--2/8080
            fd00:43::9 . tcp . 80 -> svc-default/web/tcp/http
            hairpins: {fd00:42::2}
        "#]],
    );
}

/// Clients inside are kept to this node, those outside to any.
#[test]
fn sticky_clients_inside_have_endpoints_of_their_own() {
    check(
        ServicePort {
            affinity_seconds: Some(60),
            internal_local: true,
            node_port: Some(30080),
            all: port().local,
            ..port()
        },
        expect![[r#"
            ep-default/web/tcp/http/10.42.0.2/8080:
                update @clients60-default/web/tcp/http/10.42.0.2/8080 { ip saddr }
                meta l4proto tcp dnat ip to 10.42.0.2:8080
            ext-default/web/tcp/http:
                meta mark set meta mark or 0x4000
                goto svc-default/web/tcp/http
            local-default/web/tcp/http:
                ip saddr @clients60-default/web/tcp/http/10.42.0.2/8080 goto ep-default/web/tcp/http/10.42.0.2/8080
                goto ep-default/web/tcp/http/10.42.0.2/8080
            svc-default/web/tcp/http:
                ip saddr @clients60-default/web/tcp/http/10.42.0.2/8080 goto ep-default/web/tcp/http/10.42.0.2/8080
                goto ep-default/web/tcp/http/10.42.0.2/8080
            tcp . 30080 -> ext-default/web/tcp/http
            10.43.0.9 . tcp . 80 -> local-default/web/tcp/http
            hairpins: {10.42.0.2}
        "#]],
    );
}
