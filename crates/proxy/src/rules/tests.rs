use expect_test::{Expect, expect};

use super::*;

fn port() -> ServicePort {
    let endpoint = |last, port| Endpoint {
        address: Ipv4Addr::new(10, 42, 0, last),
        port,
    };
    ServicePort {
        name: "http".to_owned(),
        protocol: "tcp",
        port: 80,
        cluster_ips: vec![Ipv4Addr::new(10, 43, 0, 9)],
        external_ips: Vec::new(),
        guarded_ips: Vec::new(),
        source_ranges: Vec::new(),
        node_port: None,
        affinity_seconds: None,
        internal_local: false,
        external_local: false,
        all: vec![endpoint(2, 8080), endpoint(3, 8080)],
        local: vec![endpoint(2, 8080)],
        serving: BTreeSet::from([2, 3].map(|last| Ipv4Addr::new(10, 42, 0, last))),
    }
}

fn check(port: ServicePort, expected: Expect) {
    let key = ServiceKey {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
    };
    let rules = build(&key, &[port]);
    let mut text = String::new();
    for (name, body) in &rules.chains {
        text.push_str(&format!("{name}:\n"));
        for rule in body {
            text.push_str(&format!("    {rule}\n"));
        }
    }
    for (element, chain) in rules.services.iter().chain(&rules.node_ports) {
        text.push_str(&format!("{element} -> {chain}\n"));
    }
    for element in &rules.unserved {
        text.push_str(&format!("{element} is refused\n"));
    }
    for (frontend, serving) in &rules.flows {
        text.push_str(&format!("flows to {frontend} lead to {serving:?}\n"));
    }
    expected.assert_eq(&text);
}

#[test]
fn cluster_ip() {
    check(
        port(),
        expect![[r#"
            svc-default/web/tcp/http:
                meta l4proto tcp numgen random mod 2 == 0 dnat ip to 10.42.0.2:8080
                meta l4proto tcp dnat ip to 10.42.0.3:8080
            10.43.0.9 . tcp . 80 -> svc-default/web/tcp/http
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
            ext-default/web/tcp/http:
                meta mark set meta mark or 0x4000
                goto svc-default/web/tcp/http
            svc-default/web/tcp/http:
                meta l4proto tcp numgen random mod 2 == 0 dnat ip to 10.42.0.2:8080
                meta l4proto tcp dnat ip to 10.42.0.3:8080
            10.43.0.9 . tcp . 80 -> svc-default/web/tcp/http
            tcp . 30080 -> ext-default/web/tcp/http
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
            ext-default/web/tcp/http:
                ip saddr @cluster goto svc-default/web/tcp/http
                fib saddr type local goto svc-default/web/tcp/http
                goto local-default/web/tcp/http
            local-default/web/tcp/http:
                meta l4proto tcp dnat ip to 10.42.0.2:8080
            svc-default/web/tcp/http:
                meta l4proto tcp numgen random mod 2 == 0 dnat ip to 10.42.0.2:8080
                meta l4proto tcp dnat ip to 10.42.0.3:8080
            10.43.0.9 . tcp . 80 -> svc-default/web/tcp/http
            tcp . 30080 -> ext-default/web/tcp/http
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
        "#]],
    );
}

#[test]
fn many_endpoints_have_a_map() {
    let endpoints = (0..=u8::try_from(CASCADE_LIMIT).unwrap()).map(|last| Endpoint {
        address: Ipv4Addr::new(10, 42, 0, last),
        port: 8080,
    });
    check(
        ServicePort {
            all: endpoints.clone().collect(),
            ..port()
        },
        expect![[r#"
            svc-default/web/tcp/http:
                meta l4proto tcp dnat ip to numgen random mod 9 map { 0 : 10.42.0.0 . 8080, 1 : 10.42.0.1 . 8080, 2 : 10.42.0.2 . 8080, 3 : 10.42.0.3 . 8080, 4 : 10.42.0.4 . 8080, 5 : 10.42.0.5 . 8080, 6 : 10.42.0.6 . 8080, 7 : 10.42.0.7 . 8080, 8 : 10.42.0.8 . 8080 }
            10.43.0.9 . tcp . 80 -> svc-default/web/tcp/http
        "#]],
    );
    let endpoints = endpoints.take(3).collect();
    check(
        ServicePort {
            all: endpoints,
            ..port()
        },
        expect![[r#"
            svc-default/web/tcp/http:
                meta l4proto tcp numgen random mod 3 == 0 dnat ip to 10.42.0.0:8080
                meta l4proto tcp numgen random mod 2 == 0 dnat ip to 10.42.0.1:8080
                meta l4proto tcp dnat ip to 10.42.0.2:8080
            10.43.0.9 . tcp . 80 -> svc-default/web/tcp/http
        "#]],
    );
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
    assert!(build(&key, &[empty]).is_empty());
}

#[test]
fn external_addresses_without_endpoints_are_refused() {
    check(
        ServicePort {
            all: Vec::new(),
            local: Vec::new(),
            external_ips: vec![Ipv4Addr::new(198, 51, 100, 7)],
            node_port: Some(30080),
            external_local: true,
            ..port()
        },
        expect![[r#"
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
            ext-default/web/tcp/http:
                ip saddr @cluster goto svc-default/web/tcp/http
                fib saddr type local goto svc-default/web/tcp/http
                drop
            svc-default/web/tcp/http:
                meta l4proto tcp numgen random mod 2 == 0 dnat ip to 10.42.0.2:8080
                meta l4proto tcp dnat ip to 10.42.0.3:8080
            tcp . 30080 -> ext-default/web/tcp/http
        "#]],
    );
}

#[test]
fn guarded_addresses_are_for_some_clients_only() {
    let guarded = |ranges: &[&str]| ServicePort {
        guarded_ips: vec![Ipv4Addr::new(198, 51, 100, 7)],
        source_ranges: ranges.iter().map(|r| r.parse().unwrap()).collect(),
        ..port()
    };
    check(
        guarded(&["192.0.2.0/24", "10.0.0.0/8"]),
        expect![[r#"
            ext-default/web/tcp/http:
                meta mark set meta mark or 0x4000
                goto svc-default/web/tcp/http
            guard-default/web/tcp/http:
                ip saddr { 192.0.2.0/24, 10.0.0.0/8 } goto ext-default/web/tcp/http
                drop
            svc-default/web/tcp/http:
                meta l4proto tcp numgen random mod 2 == 0 dnat ip to 10.42.0.2:8080
                meta l4proto tcp dnat ip to 10.42.0.3:8080
            10.43.0.9 . tcp . 80 -> svc-default/web/tcp/http
            198.51.100.7 . tcp . 80 -> guard-default/web/tcp/http
        "#]],
    );
    check(
        guarded(&[]),
        expect![[r#"
            ext-default/web/tcp/http:
                meta mark set meta mark or 0x4000
                goto svc-default/web/tcp/http
            guard-default/web/tcp/http:
                drop
            svc-default/web/tcp/http:
                meta l4proto tcp numgen random mod 2 == 0 dnat ip to 10.42.0.2:8080
                meta l4proto tcp dnat ip to 10.42.0.3:8080
            10.43.0.9 . tcp . 80 -> svc-default/web/tcp/http
            198.51.100.7 . tcp . 80 -> guard-default/web/tcp/http
        "#]],
    );
}

#[test]
fn udp_flows_may_lead_to_whoever_serves() {
    check(
        ServicePort {
            protocol: "udp",
            port: 53,
            external_ips: vec![Ipv4Addr::new(198, 51, 100, 7)],
            node_port: Some(30053),
            ..port()
        },
        expect![[r#"
            ext-default/web/udp/http:
                meta mark set meta mark or 0x4000
                goto svc-default/web/udp/http
            svc-default/web/udp/http:
                meta l4proto udp numgen random mod 2 == 0 dnat ip to 10.42.0.2:8080
                meta l4proto udp dnat ip to 10.42.0.3:8080
            10.43.0.9 . udp . 53 -> svc-default/web/udp/http
            198.51.100.7 . udp . 53 -> ext-default/web/udp/http
            udp . 30053 -> ext-default/web/udp/http
            flows to udp . 30053 lead to {10.42.0.2, 10.42.0.3}
            flows to 10.43.0.9 . udp . 53 lead to {10.42.0.2, 10.42.0.3}
            flows to 198.51.100.7 . udp . 53 lead to {10.42.0.2, 10.42.0.3}
        "#]],
    );
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
