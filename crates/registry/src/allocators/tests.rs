use std::sync::Arc;

use knarr_auth::testing::Fake;
use serde_json::{Value, json};

use super::*;

mod dry_runs;
mod families;

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")}, "spec": spec})
}

/// A range of 14 addresses and 20 ports, so that both can be exhausted.
fn small(fake: &Arc<Fake>) -> Allocators {
    let config = Config {
        service_cidrs: vec!["10.9.0.0/28".parse().unwrap()],
        node_ports: 30000..=30019,
    };
    Allocators::new(&config, fake.clone(), None).unwrap()
}

fn taken(allocators: &Allocators) -> (usize, usize) {
    (
        allocators.pools.ips.lock().taken(),
        allocators.pools.ports.lock().taken(),
    )
}

async fn create(allocators: &Allocators, mut service: Value) -> Result<Value, String> {
    let taken = allocators
        .before_create(&mut service, false)
        .await
        .map_err(|status| status.message)?;
    taken.keep(&service);
    Ok(service)
}

async fn update(allocators: &Allocators, old: &Value, mut new: Value) -> Result<Value, String> {
    let taken = allocators
        .before_update(&mut new, old, false)
        .await
        .map_err(|status| status.message)?;
    taken.keep(&new);
    allocators.after_update(&new, old).await;
    Ok(new)
}

#[test]
fn ranges_parse() {
    for (text, first, size) in [
        ("10.43.0.0/16", "10.43.0.1", 65534),
        ("10.43.7.9/16", "10.43.0.1", 65534),
        ("10.0.0.0/8", "10.0.0.1", 1 << 20),
        ("10.9.0.0/29", "10.9.0.1", 6),
        ("fd00:1::/108", "fd00:1::1", (1 << 20) - 1),
        ("fd00:1::/64", "fd00:1::1", 1 << 20),
    ] {
        let cidr = Cidr::parse(text).unwrap();
        assert_eq!(
            (cidr.address(0).to_string().as_str(), cidr.size()),
            (first, size),
            "{text}"
        );
        assert_eq!(cidr.offset(cidr.address(5)), Some(5));
    }
    for bad in [
        "",
        "10.0.0.0",
        "10.0.0.0/33",
        "x/8",
        "10.0.0.0/31",
        "10.0.0.0/32",
    ] {
        assert!(Cidr::parse(bad).is_err(), "{bad}");
    }
    let cidr = Cidr::parse("10.43.0.0/16").unwrap();
    for outside in [
        "10.43.0.0",
        "10.43.255.255",
        "10.44.0.1",
        "10.42.255.255",
        "::1",
    ] {
        assert_eq!(cidr.offset(outside.parse().unwrap()), None, "{outside}");
    }
    let first = |ranges: &[&str]| {
        let ranges: Vec<Prefix> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        let first = first_service_ips(&ranges);
        first.map(|first| {
            first
                .iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        })
    };
    assert_eq!(first(&["10.43.0.0/16"]).unwrap(), "10.43.0.1");
    let both = first(&["fd43::/112", "10.43.0.0/16"]);
    assert_eq!(both.unwrap(), "fd43::1 10.43.0.1");
    let odd: [&[&str]; 3] = [&[], &["10.43.0.0/16", "10.44.0.0/16"], &["10.43.0.0/31"]];
    for odd in odd {
        assert!(first(odd).is_err(), "{odd:?}");
    }
}

#[test]
fn bands_are_upstreams() {
    assert_eq!([6, 254, 4094, 65534].map(cidr::band), [0, 16, 255, 256]);
    assert_eq!(
        [15, 512, 2768, 20000].map(node_port::band),
        [0, 16, 86, 128]
    );
}

#[test]
fn automatic_choices_leave_the_lower_band_for_last() {
    let mut pool = Pool::new(0..20, 5);
    let first: Vec<u64> = (0..15).map(|_| pool.take_any().unwrap()).collect();
    assert!(first.iter().all(|number| *number >= 5), "{first:?}");
    let rest: Vec<u64> = (0..5).map(|_| pool.take_any().unwrap()).collect();
    assert!(rest.iter().all(|number| *number < 5), "{rest:?}");
    assert_eq!(pool.take_any(), Err(pool::Refused::Full));
    pool.undo(7);
    assert_eq!(pool.take_any(), Ok(7));
}

#[tokio::test]
async fn a_plain_service_gets_an_address_and_its_family_fields() {
    let allocators = small(&Fake::new());
    let made = create(
        &allocators,
        service(
            "a",
            json!({"selector": {"a": "b"}, "ports": [{"port": 80}]}),
        ),
    )
    .await
    .unwrap();
    let ip = made["spec"]["clusterIP"].as_str().unwrap();
    assert!(ip.starts_with("10.9.0."), "{ip}");
    assert_eq!(made["spec"]["clusterIPs"], json!([ip]));
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(made["spec"]["ipFamilyPolicy"], "SingleStack");
    assert!(made["spec"]["ports"][0].get("nodePort").is_none());
    assert_eq!(taken(&allocators), (1, 0));
    allocators.after_delete(&made).await;
    assert_eq!(taken(&allocators), (0, 0));
}

#[tokio::test]
async fn services_without_addresses_take_none() {
    let allocators = small(&Fake::new());
    let headless = create(
        &allocators,
        service("h", json!({"clusterIP": "None", "selector": {"a": "b"}})),
    )
    .await
    .unwrap();
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    assert_eq!(headless["spec"]["ipFamilies"], json!(["IPv4"]));
    let bare = create(&allocators, service("b", json!({"clusterIP": "None"})))
        .await
        .unwrap();
    assert_eq!(bare["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(bare["spec"]["ipFamilyPolicy"], "RequireDualStack");
    let name = create(
        &allocators,
        service("n", json!({"type": "ExternalName", "externalName": "x.y"})),
    )
    .await
    .unwrap();
    assert_eq!(
        name["spec"],
        json!({"type": "ExternalName", "externalName": "x.y"})
    );
    assert_eq!(taken(&allocators), (0, 0));
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_in_upstreams_words() {
    let allocators = small(&Fake::new());
    create(&allocators, service("a", json!({"type": "NodePort", "clusterIP": "10.9.0.5", "ports": [{"port": 1, "nodePort": 30001}]}))).await.unwrap();
    for (spec, expected) in [
        (
            json!({"clusterIP": "10.9.0.5"}),
            r#"Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.9.0.5"]: failed to allocate IP 10.9.0.5: provided IP is already allocated"#,
        ),
        (
            json!({"clusterIP": "10.1.0.5"}),
            r#"Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.1.0.5"]: failed to allocate IP 10.1.0.5: the provided network does not match the current range"#,
        ),
        (
            json!({"clusterIP": "10.9.0.15"}),
            r#"Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.9.0.15"]: failed to allocate IP 10.9.0.15: the provided IP (10.9.0.15) is not in the valid range. The range of valid IPs is 10.9.0.0/28"#,
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30001}]}),
            r#"Service "b" is invalid: spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"#,
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 1}, {"port": 2, "nodePort": 80}]}),
            r#"Service "b" is invalid: spec.ports[1].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-30019"#,
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            r#"Service "b" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#,
        ),
        (
            json!({"ipFamilies": ["IPv6"]}),
            r#"Service "b" is invalid: spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#,
        ),
    ] {
        assert_eq!(
            create(&allocators, service("b", spec)).await.unwrap_err(),
            expected
        );
        assert_eq!(taken(&allocators), (1, 1), "nothing stays taken");
    }
}

#[tokio::test]
async fn a_full_range_says_so() {
    let allocators = small(&Fake::new());
    for n in 0..14 {
        create(&allocators, service(&format!("s{n}"), json!({})))
            .await
            .unwrap();
    }
    let refused = create(&allocators, service("x", json!({})))
        .await
        .unwrap_err();
    assert!(
        refused.contains("failed to allocate a serviceIP for Service \"x\": range is full"),
        "{refused}"
    );
}

#[tokio::test]
async fn node_ports_are_chosen_shared_and_kept() {
    let allocators = small(&Fake::new());
    let spec = json!({"type": "NodePort", "ports": [
        {"name": "udp", "port": 53, "protocol": "UDP"},
        {"name": "tcp", "port": 53, "protocol": "TCP"},
        {"name": "web", "port": 80, "nodePort": 30007},
    ]});
    let made = create(&allocators, service("a", spec.clone()))
        .await
        .unwrap();
    let port =
        |service: &Value, at: usize| service["spec"]["ports"][at]["nodePort"].as_u64().unwrap();
    assert_eq!(port(&made, 0), port(&made, 1));
    assert_eq!(port(&made, 2), 30007);
    assert_eq!(taken(&allocators), (1, 2));

    // The same manifest again keeps everything.
    assert_eq!(
        update(&allocators, &made, service("a", spec))
            .await
            .unwrap(),
        made
    );

    // A new port is taken, a dropped one given back, a changed one follows.
    let spec = json!({"type": "NodePort", "ports": [{"name": "web", "port": 80, "nodePort": 30008}, {"name": "more", "port": 81}]});
    let next = update(&allocators, &made, service("a", spec))
        .await
        .unwrap();
    assert_eq!(port(&next, 0), 30008);
    assert_eq!(next["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    assert_eq!(taken(&allocators), (1, 2));
    allocators.after_delete(&next).await;
    assert_eq!(taken(&allocators), (0, 0));
}

#[tokio::test]
async fn type_changes_take_and_give_back() {
    let allocators = small(&Fake::new());
    let spec = |kind: &str| json!({"type": kind, "externalName": "x", "selector": {"a": "b"}, "ports": [{"port": 80}]});
    let mut current = create(&allocators, service("a", spec("ExternalName")))
        .await
        .unwrap();
    for (kind, expected) in [
        ("ClusterIP", (1, 0)),
        ("NodePort", (1, 1)),
        ("LoadBalancer", (1, 1)),
        ("ClusterIP", (1, 0)),
        ("ExternalName", (0, 0)),
    ] {
        current = update(&allocators, &current, service("a", spec(kind)))
            .await
            .unwrap();
        assert_eq!(taken(&allocators), expected, "{kind}");
    }
}

#[tokio::test]
async fn a_failed_update_gives_back_only_its_own() {
    let allocators = small(&Fake::new());
    let a = create(&allocators, service("a", json!({"clusterIP": "10.9.0.3"})))
        .await
        .unwrap();
    create(&allocators, service("b", json!({"clusterIP": "10.9.0.4"})))
        .await
        .unwrap();
    // Naming b's address is refused by validation, which comes later: b must keep it.
    let mut stolen = service(
        "a",
        json!({"type": "NodePort", "clusterIP": "10.9.0.4", "ports": [{"port": 80}]}),
    );
    let took = allocators
        .before_update(&mut stolen, &a, false)
        .await
        .unwrap();
    assert_eq!(taken(&allocators), (2, 1));
    took.undo().await;
    assert_eq!(taken(&allocators), (2, 0));
    assert!(
        create(&allocators, service("c", json!({"clusterIP": "10.9.0.4"})))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn load_balancers_with_local_traffic_get_a_health_port() {
    let allocators = small(&Fake::new());
    let spec = |policy: &str| json!({"type": "LoadBalancer", "externalTrafficPolicy": policy, "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]});
    let local = create(&allocators, service("a", spec("Local")))
        .await
        .unwrap();
    let port = local["spec"]["healthCheckNodePort"].as_u64().unwrap();
    assert!((30000..=30019).contains(&port));
    assert_eq!(taken(&allocators), (1, 1));
    assert_eq!(
        update(&allocators, &local, service("a", spec("Local")))
            .await
            .unwrap(),
        local
    );
    update(&allocators, &local, service("a", spec("Cluster")))
        .await
        .unwrap();
    assert_eq!(taken(&allocators), (1, 0));
}

#[tokio::test]
async fn a_restart_knows_what_is_taken() {
    let fake = Fake::new();
    let spec = json!({"type": "NodePort", "clusterIP": "10.9.0.3", "clusterIPs": ["10.9.0.3"], "ports": [{"port": 1, "nodePort": 30003}]});
    fake.put("", "services", service("a", spec));
    let allocators = small(&fake);
    assert_eq!(taken(&allocators), (1, 1));
    assert!(
        create(&allocators, service("b", json!({"clusterIP": "10.9.0.3"})))
            .await
            .is_err()
    );
    // A running write is not repaired away; a Service that appeared is taken in.
    create(&allocators, service("c", json!({"clusterIP": "10.9.0.7"})))
        .await
        .unwrap();
    fake.put(
        "",
        "services",
        service("d", json!({"clusterIP": "10.9.0.9"})),
    );
    allocators.repair();
    assert_eq!(taken(&allocators), (3, 1));
}

/// Everything that a Service can name besides what it takes.
#[tokio::test]
async fn a_failed_create_gives_back_only_what_it_took() {
    let allocators = small(&Fake::new());
    let spec = json!({"type": "NodePort", "clusterIP": "10.9.0.4", "ports": [{"port": 1, "nodePort": 30001}]});
    let owner = create(&allocators, service("dns", spec)).await.unwrap();
    for spec in [
        json!({"clusterIP": "10.9.0.5", "clusterIPs": ["10.9.0.5", "10.9.0.4"], "ipFamilyPolicy": "PreferDualStack"}),
        json!({"type": "NodePort", "healthCheckNodePort": 30001, "ports": [{"port": 1}]}),
        json!({"type": "ClusterIP", "healthCheckNodePort": 30001, "ports": [{"port": 1, "nodePort": 30001}]}),
    ] {
        let mut thief = service("thief", spec.clone());
        // Refused here or by validation, which comes later.
        if let Ok(took) = allocators.before_create(&mut thief, false).await {
            took.undo().await;
        }
        assert_eq!(taken(&allocators), (1, 1), "{spec}");
        // Were it stored, its deletion would not help either.
        allocators.after_delete(&thief).await;
        assert_eq!(taken(&allocators), (1, 1), "{spec}");
    }
    allocators.after_delete(&owner).await;
    assert_eq!(taken(&allocators), (0, 0));
}

#[tokio::test]
async fn a_write_of_unknown_outcome_keeps_what_it_took() {
    let allocators = small(&Fake::new());
    let mut cut_off = service("a", json!({"clusterIP": "10.9.0.4"}));
    drop(allocators.before_create(&mut cut_off, false).await.unwrap());
    assert_eq!(taken(&allocators), (1, 0), "until a repair");
}

#[test]
fn repair_finds_duplicates() {
    let fake = Fake::new();
    let stored = |name: &str, created: &str, spec: Value| {
        let mut service = service(name, spec);
        service["metadata"]["creationTimestamp"] = json!(created);
        service
    };
    let spec = json!({"type": "NodePort", "clusterIP": "10.9.0.4", "clusterIPs": ["10.9.0.4"], "ports": [{"port": 1, "nodePort": 30001}]});
    fake.put(
        "",
        "services",
        stored("b", "2024-01-01T00:00:00Z", spec.clone()),
    );
    fake.put("", "services", stored("a", "2024-01-02T00:00:00Z", spec));
    let allocators = small(&fake);
    let found = allocators.repair();
    let found: Vec<(&str, &str, &str)> = found
        .iter()
        .map(|d| (object::name(&d.service), d.reason, d.message.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (
                "a",
                "ClusterIPAlreadyAllocated",
                "Cluster IP [IPv4]:10.9.0.4 was assigned to multiple services; please recreate service"
            ),
            (
                "a",
                "PortAlreadyAllocated",
                "Port 30001 was assigned to multiple services; please recreate service"
            ),
        ]
    );
    let event = allocators.repair()[0].event("2024-01-03T00:00:00Z");
    assert!(object::name(&event).starts_with("a."), "{event}");
    let events = knarr_api::built_in("", "v1", "events").expect("a core kind");
    let errors = events.strategy.validate_create(&event);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(
        allocators.repair()[0].event("later")["metadata"],
        event["metadata"]
    );
}

#[test]
fn leaks_are_given_back_after_a_while() {
    let mut pool = Pool::new(0..10, 0);
    pool.take(3).unwrap();
    pool.take(4).unwrap();
    let claims = [(3, "a"), (5, "b")];
    assert_eq!(pool.reconcile(claims, Duration::from_secs(60)).leaked, 0);
    assert_eq!(pool.taken(), 3);
    assert_eq!(pool.reconcile(claims, Duration::ZERO).leaked, 1);
    assert_eq!(pool.take(4), Ok(()));
    assert_eq!(pool.take(5), Err(pool::Refused::Taken));
}
