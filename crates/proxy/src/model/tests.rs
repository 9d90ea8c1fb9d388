use serde_json::json;

use super::*;

fn service(spec: serde_json::Value) -> Service {
    let object = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn slice(endpoints: serde_json::Value) -> Arc<EndpointSlice> {
    let object = json!({
        "addressType": "IPv4", "metadata": {"name": "web-1"}, "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn place(node: &str) -> Place {
    Place {
        node: node.to_owned(),
        zone: "east".to_owned(),
    }
}

fn spec() -> serde_json::Value {
    json!({"clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"], "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]})
}

/// The last number of its address, which is of IPv4.
fn last(endpoint: &Endpoint) -> u8 {
    match endpoint.address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => panic!("{address}"),
    }
}

fn targets(endpoints: &[Endpoint]) -> Vec<String> {
    let text = |e: &Endpoint| format!("{}:{}", e.address, e.port);
    endpoints.iter().map(text).collect()
}

#[test]
fn ready_endpoints_serve_and_local_ones_are_known() {
    let slices = [slice(json!([
        {"addresses": ["10.42.0.2"], "nodeName": "a", "conditions": {"ready": true}},
        {"addresses": ["10.42.1.2"], "nodeName": "b", "conditions": {}},
        {"addresses": ["10.42.0.3"], "nodeName": "a", "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["10.42.0.4"], "nodeName": "a", "conditions": {"ready": false}},
    ]))];
    let ports = service_ports(&service(spec()), &slices, &place("a"), Family::Ip);
    assert_eq!(ports.len(), 1);
    assert_eq!(targets(&ports[0].all), ["10.42.0.2:8080", "10.42.1.2:8080"]);
    assert_eq!(targets(&ports[0].local), ["10.42.0.2:8080"]);
    assert_eq!(ports[0].node_port, Some(30080));
}

#[test]
fn terminating_endpoints_serve_when_nothing_else_does() {
    let slices = [slice(json!([
        {"addresses": ["10.42.0.3"], "nodeName": "a", "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["10.42.0.4"], "nodeName": "a", "conditions": {"ready": false, "serving": false, "terminating": true}},
        {"addresses": ["10.42.1.4"], "nodeName": "b", "conditions": {"ready": true}},
    ]))];
    let ports = service_ports(&service(spec()), &slices, &place("a"), Family::Ip);
    assert_eq!(targets(&ports[0].all), ["10.42.1.4:8080"]);
    assert_eq!(targets(&ports[0].local), ["10.42.0.3:8080"]);
}

#[test]
fn source_ranges_guard_the_load_balancers_addresses() {
    let mut balanced = service(spec());
    balanced.status = serde_json::from_value(json!({"loadBalancer": {"ingress": [
        {"ip": "198.51.100.7"}, {"ip": "198.51.100.8", "ipMode": "Proxy"}, {"hostname": "x"},
    ]}}))
    .unwrap();
    let external = |service: &Service| {
        let ports = service_ports(service, &[], &place("a"), Family::Ip);
        (ports[0].external_ips.clone(), ports[0].guarded_ips.clone())
    };
    let address = vec![IpAddr::from([198, 51, 100, 7])];
    assert_eq!(external(&balanced), (address.clone(), vec![]));
    let spec = balanced.spec.as_mut().unwrap();
    // A range of another family guards as well: nobody of ours is in it.
    spec.load_balancer_source_ranges = Some(vec!["fd00::/8".to_owned()]);
    assert_eq!(external(&balanced), (vec![], address));
    assert_eq!(
        service_ports(&balanced, &[], &place("a"), Family::Ip)[0].source_ranges,
        []
    );
}

#[test]
fn flows_stay_with_every_endpoint_that_serves() {
    let slices = [slice(json!([
        {"addresses": ["10.42.0.2"], "conditions": {"ready": true}},
        {"addresses": ["10.42.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["10.42.0.4"], "conditions": {"ready": false, "serving": false, "terminating": true}},
        {"addresses": ["10.42.0.5"], "conditions": {"ready": false}},
        {"addresses": ["10.42.0.6"], "conditions": {"ready": false, "serving": true}},
    ]))];
    let ports = service_ports(&service(spec()), &slices, &place("a"), Family::Ip);
    let serving: Vec<u8> = ports[0].serving.iter().map(last).collect();
    assert_eq!(serving, [2, 3, 6]);
    assert_eq!(targets(&ports[0].all), ["10.42.0.2:8080"]);
}

#[test]
fn load_balancers_are_told_of_ready_pods_of_this_node() {
    let slices = [slice(json!([
        {"addresses": ["10.42.0.2"], "nodeName": "a", "conditions": {"ready": true}},
        {"addresses": ["10.42.0.3"], "nodeName": "a", "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["10.42.1.2"], "nodeName": "b", "conditions": {"ready": true}},
    ]))];
    let mut balanced = spec();
    balanced["type"] = "LoadBalancer".into();
    balanced["externalTrafficPolicy"] = "Local".into();
    balanced["healthCheckNodePort"] = 31000.into();
    balanced["ports"] =
        json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    let wanted = |local_endpoints| {
        Some(Health {
            port: 31000,
            local_endpoints,
        })
    };
    assert_eq!(
        health(
            &service(balanced.clone()),
            &slices,
            &place("a"),
            [Family::Ip]
        ),
        wanted(1)
    );
    assert_eq!(
        health(
            &service(balanced.clone()),
            &slices,
            &place("c"),
            [Family::Ip]
        ),
        wanted(0)
    );
    for (member, value) in [("type", "NodePort"), ("externalTrafficPolicy", "Cluster")] {
        let mut other = balanced.clone();
        other[member] = value.into();
        assert_eq!(
            health(&service(other), &slices, &place("a"), [Family::Ip]),
            None,
            "{member}"
        );
    }
}

#[test]
fn services_that_are_not_ours_have_no_ports() {
    let mut headless = spec();
    headless["clusterIP"] = "None".into();
    headless["clusterIPs"] = json!(["None"]);
    let mut external = spec();
    external["type"] = "ExternalName".into();
    for spec in [headless, external] {
        assert!(service_ports(&service(spec), &[], &place("a"), Family::Ip).is_empty());
    }
    let mut foreign = service(spec());
    let label = (PROXY_NAME_LABEL.to_owned(), "other".to_owned());
    foreign.metadata.labels = Some([label].into());
    assert!(service_ports(&foreign, &[], &place("a"), Family::Ip).is_empty());
}

/// Endpoints by node and zone, each with hints as written here: `node zone hints`, a hint being `n` or `z`.
fn hinted(lines: &[&str], policy: &str) -> (Vec<u8>, Vec<u8>) {
    let endpoints = lines.iter().enumerate().map(|(i, line)| {
        let words: Vec<&str> = line.split(' ').collect();
        let mut hints = json!({});
        if words[2].contains('n') {
            hints["forNodes"] = json!([{"name": words[0]}]);
        }
        if words[2].contains('z') {
            hints["forZones"] = json!([{"name": words[1]}]);
        }
        json!({
            "addresses": [format!("10.42.0.{}", i + 2)], "nodeName": words[0], "zone": words[1], "hints": hints,
            "conditions": {"ready": words.get(3).is_none(), "serving": true, "terminating": words.get(3).is_some()},
        })
    });
    let slices = [slice(endpoints.collect())];
    let mut spec = spec();
    spec["externalTrafficPolicy"] = policy.into();
    let ports = service_ports(&service(spec), &slices, &place("a"), Family::Ip);
    let last = |endpoints: &[Endpoint]| endpoints.iter().map(last).collect();
    (last(&ports[0].all), last(&ports[0].local))
}

#[test]
fn hints_keep_connections_near() {
    let all = |lines: &[&str]| hinted(lines, "Cluster").0;
    // Of this node, of this zone, of all; only if every ready endpoint says whom it is for.
    assert_eq!(all(&["a east nz", "b east nz", "c west nz"]), [2]);
    assert_eq!(all(&["b east nz", "c west nz", "d east z"]), [2, 4]);
    assert_eq!(all(&["a east z", "b east z", "c west z"]), [2, 3]);
    assert_eq!(all(&["b west nz", "c west nz"]), [2, 3]);
    assert_eq!(all(&["a east z", "c west -"]), [2, 3]);
    // Those that are not ready have no say, and none is left out when they are all there is.
    assert_eq!(all(&["a east z", "c west - draining"]), [2]);
    assert_eq!(all(&["b east z draining", "c west z draining"]), [2, 3]);
    assert_eq!(
        hinted(&["a west z", "b east z"], "Local"),
        (vec![3], vec![2])
    );
}

/// A service of both families with pods of both, the second of which is of IPv4 alone.
fn dual() -> (Service, Vec<Arc<EndpointSlice>>) {
    let slice6 = |endpoints: serde_json::Value| {
        let mut slice = (*slice(endpoints)).clone();
        slice.address_type = "IPv6".to_owned();
        Arc::new(slice)
    };
    let slices = vec![
        slice(json!([
            {"addresses": ["10.42.0.2"], "nodeName": "a"}, {"addresses": ["10.42.0.3"], "nodeName": "a"},
            // Nobody writes such a slice.
            {"addresses": ["fd00:42::9"], "nodeName": "a"},
        ])),
        slice6(
            json!([{"addresses": ["fd00:42::2"], "nodeName": "a"}, {"addresses": ["10.42.0.9"], "nodeName": "a"}]),
        ),
    ];
    let mut spec = spec();
    spec["type"] = "LoadBalancer".into();
    spec["externalTrafficPolicy"] = "Local".into();
    spec["healthCheckNodePort"] = 31000.into();
    spec["clusterIPs"] = json!(["10.43.0.9", "fd00:43::9"]);
    spec["externalIPs"] = json!(["198.51.100.7", "2001:db8::7"]);
    spec["loadBalancerSourceRanges"] = json!(["192.0.2.0/24", " 2001:db8:1::/48 "]);
    let mut service = service(spec);
    let ingress =
        json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}, {"ip": "2001:db8::8"}]}});
    service.status = serde_json::from_value(ingress).unwrap();
    (service, slices)
}

#[test]
fn a_family_has_its_own_addresses() {
    let (service, slices) = dual();
    let shown = |family| {
        let ports = service_ports(&service, &slices, &place("a"), family);
        let [port] = ports.as_slice() else {
            panic!("{ports:?}")
        };
        assert_eq!(port.node_port, Some(30080));
        let ranges = port.source_ranges.iter().map(ToString::to_string);
        let ips = [&port.cluster_ips, &port.external_ips, &port.guarded_ips];
        let ips = ips.into_iter().flatten().map(ToString::to_string);
        let texts = ips.chain(ranges).chain(targets(&port.all));
        texts.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        shown(Family::Ip),
        "10.43.0.9 198.51.100.7 198.51.100.8 192.0.2.0/24 10.42.0.2:8080 10.42.0.3:8080"
    );
    assert_eq!(
        shown(Family::Ip6),
        "fd00:43::9 2001:db8::7 2001:db8::8 2001:db8:1::/48 fd00:42::2:8080"
    );
    // Without a cluster address of a family there is nothing of it, whatever else is named.
    let mut other = service.clone();
    let spec = other.spec.as_mut().unwrap();
    spec.cluster_ips = Some(vec!["fd00:43::9".to_owned()]);
    spec.cluster_ip = Some("fd00:43::9".to_owned());
    assert!(service_ports(&other, &slices, &place("a"), Family::Ip).is_empty());
    assert_eq!(
        service_ports(&other, &slices, &place("a"), Family::Ip6).len(),
        1
    );
}

#[test]
fn a_pod_of_both_families_is_one_endpoint_to_load_balancers() {
    let (service, slices) = dual();
    for (families, wanted) in [
        (&Family::BOTH[..], 2),
        (&[Family::Ip], 2),
        (&[Family::Ip6], 1),
    ] {
        let found = health(&service, &slices, &place("a"), families.iter().copied());
        assert_eq!(found.unwrap().local_endpoints, wanted, "{families:?}");
    }
}
