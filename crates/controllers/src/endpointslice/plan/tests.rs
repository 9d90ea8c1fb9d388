use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, not_ready, object, pod};

fn service(more: Value) -> Service {
    let mut service = json!({
        "metadata": {"namespace": "x", "name": "web", "uid": "svc", "labels": {"team": "a"}},
        "spec": {
            "clusterIP": "10.43.0.5", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    });
    merge(&mut service, more);
    object(service)
}

fn zones() -> Zones {
    Zones::from([
        ("n1".to_owned(), "zone-a".to_owned()),
        ("n2".to_owned(), String::new()),
    ])
}

fn at(ip: &str) -> Value {
    json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}]}})
}

fn many(count: usize) -> Vec<Arc<Pod>> {
    (0..count)
        .map(|i| {
            pod(
                &format!("p{i:03}"),
                "n1",
                at(&format!("10.0.{}.{}", i / 200, i % 200)),
            )
        })
        .collect()
}

/// What the server makes of a planned slice.
fn stored(slices: Vec<EndpointSlice>) -> Vec<Arc<EndpointSlice>> {
    let named = slices.into_iter().enumerate().map(|(i, mut slice)| {
        slice.metadata.name.get_or_insert(format!("web-{i}"));
        slice.metadata.resource_version = Some("7".to_owned());
        Arc::new(slice)
    });
    named.collect()
}

fn sizes(slices: &[EndpointSlice]) -> Vec<usize> {
    slices.iter().map(|slice| slice.endpoints.len()).collect()
}

#[test]
fn one_pod_one_slice() {
    let plan = plan(
        &service(json!({})),
        &[pod("p", "n1", json!({}))],
        &[],
        &zones(),
    );
    assert_eq!(
        serde_json::to_value(&plan.changes.create).expect("json"),
        json!([{
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "generateName": "web-", "namespace": "x",
                "labels": {
                    "team": "a", "kubernetes.io/service-name": "web",
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                },
                "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "web", "uid": "svc",
                    "controller": true, "blockOwnerDeletion": true}],
            },
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{
                "addresses": ["10.0.0.1"], "nodeName": "n1", "zone": "zone-a",
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "namespace": "x", "name": "p", "uid": "uid-p"},
            }],
        }])
    );
    assert!(plan.changes.update.is_empty() && plan.changes.delete.is_empty());
}

#[test]
fn conditions_by_readiness_and_deletion() {
    let deleting = json!({"metadata": {"deletionTimestamp": "2030-01-01T11:59:00Z"}});
    let publishing = json!({"spec": {"publishNotReadyAddresses": true}});
    let mut dying_not_ready = not_ready();
    merge(&mut dying_not_ready, deleting.clone());
    let cases = [
        (json!({}), json!({}), (true, true, false)),
        (json!({}), not_ready(), (false, false, false)),
        (json!({}), deleting.clone(), (false, true, true)),
        (json!({}), dying_not_ready, (false, false, true)),
        (publishing.clone(), not_ready(), (true, false, false)),
        (publishing, deleting, (true, true, true)),
    ];
    for (service_more, pod_more, expected) in cases {
        let plan = plan(
            &service(service_more),
            &[pod("p", "n1", pod_more.clone())],
            &[],
            &zones(),
        );
        let conditions = plan.changes.create[0].endpoints[0]
            .conditions
            .clone()
            .unwrap_or_default();
        let found = (conditions.ready, conditions.serving, conditions.terminating);
        assert_eq!(
            found,
            (Some(expected.0), Some(expected.1), Some(expected.2)),
            "{pod_more}"
        );
    }
}

#[test]
fn pods_that_have_ended_or_have_no_address_are_no_endpoints() {
    let ended = pod("ended", "n1", json!({"status": {"phase": "Succeeded"}}));
    let unborn = pod(
        "unborn",
        "n1",
        json!({"status": {"podIP": "", "podIPs": []}}),
    );
    let plan = plan(&service(json!({})), &[ended, unborn], &[], &zones());
    assert_eq!(sizes(&plan.changes.create), [0], "a placeholder");
    assert_eq!(plan.changes.create[0].ports.as_deref(), Some([].as_slice()));
}

#[test]
fn a_placeholder_stays_and_becomes_the_first_slice() {
    let placeholder = stored(plan(&service(json!({})), &[], &[], &zones()).changes.create);
    let idle = plan(&service(json!({})), &[], &placeholder, &zones());
    assert!(idle.changes.is_empty(), "{idle:?}");
    let filled = plan(
        &service(json!({})),
        &[pod("p", "n1", json!({}))],
        &placeholder,
        &zones(),
    );
    assert_eq!(
        (
            filled.changes.create.len(),
            sizes(&filled.changes.update),
            filled.changes.delete.len()
        ),
        (0, vec![1], 0)
    );
    assert_eq!(
        filled.changes.update[0].metadata.name,
        placeholder[0].metadata.name
    );
    assert_eq!(
        filled.changes.update[0]
            .metadata
            .resource_version
            .as_deref(),
        Some("7")
    );
    assert_eq!(
        filled.changes.update[0].metadata.generate_name.as_deref(),
        Some("web-")
    );
}

#[test]
fn nothing_changes_nothing() {
    let existing = stored(
        plan(&service(json!({})), &many(250), &[], &zones())
            .changes
            .create,
    );
    let again = plan(&service(json!({})), &many(250), &existing, &zones());
    assert!(again.changes.is_empty(), "{again:?}");
}

#[test]
fn slices_hold_a_hundred() {
    let pods = many(250);
    let created = plan(&service(json!({})), &pods, &[], &zones())
        .changes
        .create;
    assert_eq!(sizes(&created), [100, 100, 50]);
    let existing = stored(created);
    // One goes: one slice changes. One more comes: the slice with least room takes it.
    let fewer = plan(&service(json!({})), &pods[1..], &existing, &zones());
    assert_eq!(
        (sizes(&fewer.changes.update), fewer.changes.create.len()),
        (vec![99], 0)
    );
    let more = plan(&service(json!({})), &many(251), &existing, &zones());
    assert_eq!(
        (sizes(&more.changes.update), more.changes.create.len()),
        (vec![51], 0)
    );
    let far_more = plan(&service(json!({})), &many(320), &existing, &zones());
    assert_eq!(
        (
            far_more.changes.update.len(),
            sizes(&far_more.changes.create)
        ),
        (0, vec![70]),
        "no slice has room for all"
    );
}

#[test]
fn a_changed_state_changes_its_slice_in_place() {
    let mut pods = many(3);
    let existing = stored(
        plan(&service(json!({})), &pods, &[], &zones())
            .changes
            .create,
    );
    let mut changed = not_ready();
    merge(&mut changed, at("10.0.0.1"));
    pods[1] = pod("p001", "n1", changed);
    let plan = plan(&service(json!({})), &pods, &existing, &zones());
    assert_eq!(
        (
            sizes(&plan.changes.update),
            plan.changes.create.len(),
            plan.changes.delete.len()
        ),
        (vec![3], 0, 0)
    );
    let ready: Vec<_> = plan.changes.update[0]
        .endpoints
        .iter()
        .map(|e| e.conditions.clone().and_then(|c| c.ready))
        .collect();
    assert_eq!(ready, [Some(true), Some(false), Some(true)]);
}

#[test]
fn pods_with_other_ports_get_slices_of_their_own() {
    let other = json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 9090}]}]},
        "status": {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}]}});
    let plan = plan(
        &service(json!({})),
        &[pod("a", "n1", json!({})), pod("b", "n1", other)],
        &[],
        &zones(),
    );
    let ports: Vec<_> = plan
        .changes
        .create
        .iter()
        .map(|s| s.ports.clone().unwrap_or_default()[0].port)
        .collect();
    assert_eq!(ports, [Some(8080), Some(9090)]);
}

#[test]
fn target_ports() {
    let port = |target: Value, protocol: &str| {
        let ports = json!({"spec": {"ports": [{"name": "p", "port": 80, "targetPort": target, "protocol": protocol}]}});
        let plan = plan(&service(ports), &[pod("p", "n1", json!({}))], &[], &zones());
        plan.changes.create[0]
            .ports
            .clone()
            .unwrap_or_default()
            .first()
            .and_then(|p| p.port)
    };
    assert_eq!(port(json!(5000), "TCP"), Some(5000));
    assert_eq!(port(json!("http"), "TCP"), Some(8080));
    assert_eq!(
        port(json!("http"), "UDP"),
        None,
        "the protocol must be the same"
    );
    assert_eq!(port(json!("nothing"), "TCP"), None);
    assert_eq!(port(Value::Null, "TCP"), Some(80));
}

#[test]
fn pods_of_unknown_nodes_are_left_out() {
    let pods = [pod("p", "n9", json!({}))];
    let careful = plan(&service(json!({})), &pods, &[], &zones());
    assert_eq!(
        (sizes(&careful.changes.create), careful.without_node),
        (vec![0], vec!["p".to_owned()])
    );
    let publishing = plan(
        &service(json!({"spec": {"publishNotReadyAddresses": true}})),
        &pods,
        &[],
        &zones(),
    );
    assert_eq!(
        (
            sizes(&publishing.changes.create),
            publishing.without_node.len()
        ),
        (vec![1], 0)
    );
}

#[test]
fn headless_services_have_a_label_and_hostnames() {
    let headless = json!({"spec": {"clusterIP": "None", "ports": null}});
    let named = json!({"spec": {"hostname": "db-0", "subdomain": "web"}});
    let stranger = json!({"spec": {"hostname": "db-1", "subdomain": "other"}, "status": {"podIPs": [{"ip": "10.0.0.2"}]}});
    let plan = plan(
        &service(headless),
        &[pod("a", "n1", named), pod("b", "n1", stranger)],
        &[],
        &zones(),
    );
    let slice = &plan.changes.create[0];
    assert_eq!(
        slice
            .metadata
            .labels
            .as_ref()
            .and_then(|l| l.get(HEADLESS_LABEL))
            .map(String::as_str),
        Some("")
    );
    let hostnames: Vec<_> = slice
        .endpoints
        .iter()
        .map(|e| e.hostname.as_deref())
        .collect();
    assert_eq!(hostnames, [Some("db-0"), None]);
    assert_eq!(slice.ports.as_deref(), Some([].as_slice()));
}

#[test]
fn families() {
    let dual = json!({"spec": {"ipFamilies": ["IPv4", "IPv6"]}});
    let both = json!({"status": {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}});
    let created = plan(
        &service(dual),
        &[pod("p", "n1", both.clone())],
        &[],
        &zones(),
    )
    .changes
    .create;
    let found: Vec<_> = created
        .iter()
        .map(|s| (s.address_type.as_str(), s.endpoints[0].addresses.join(",")))
        .collect();
    assert_eq!(
        found,
        [
            ("IPv4", "10.0.0.1".to_owned()),
            ("IPv6", "fd00::1".to_owned())
        ]
    );
    // One family less: its slice goes.
    let single = plan(
        &service(json!({})),
        &[pod("p", "n1", both)],
        &stored(created),
        &zones(),
    );
    assert_eq!(
        (single.changes.create.len(), single.changes.update.len()),
        (0, 0)
    );
    assert_eq!(
        single
            .changes
            .delete
            .iter()
            .map(|s| s.address_type.as_str())
            .collect::<Vec<_>>(),
        ["IPv6"]
    );
}

#[test]
fn labels_follow_the_service() {
    let existing = stored(
        plan(&service(json!({})), &many(1), &[], &zones())
            .changes
            .create,
    );
    let relabelled = service(json!({"metadata": {"labels": {"team": "b"}}}));
    let plan = plan(&relabelled, &many(1), &existing, &zones());
    let labels = plan.changes.update[0]
        .metadata
        .labels
        .clone()
        .unwrap_or_default();
    assert_eq!(
        (
            labels.get("team").map(String::as_str),
            plan.changes.update.len()
        ),
        (Some("b"), 1)
    );
}

#[test]
fn slices_of_an_earlier_service_of_the_name_are_replaced() {
    let old = stored(
        plan(
            &service(json!({"metadata": {"uid": "earlier"}})),
            &many(1),
            &[],
            &zones(),
        )
        .changes
        .create,
    );
    let plan = plan(&service(json!({})), &many(1), &old, &zones());
    assert_eq!(
        (
            sizes(&plan.changes.create),
            plan.changes.update.len(),
            plan.changes.delete.len()
        ),
        (vec![1], 0, 1)
    );
}

#[test]
fn nothing_is_created_for_a_service_that_goes() {
    let deleting = service(json!({"metadata": {"deletionTimestamp": "2030-01-01T11:59:00Z"}}));
    assert!(
        plan(&deleting, &many(1), &[], &zones())
            .changes
            .create
            .is_empty()
    );
}

#[test]
fn hints_follow_the_traffic_distribution() {
    let hints = |more: Value, pods: &[Arc<Pod>]| {
        let plan = plan(&service(more), pods, &[], &zones());
        let endpoints = plan
            .changes
            .create
            .into_iter()
            .flat_map(|slice| slice.endpoints);
        let hints: Vec<_> = endpoints.map(|endpoint| endpoint.hints).collect();
        serde_json::to_value(hints).expect("json")
    };
    let asked = |how: &str| json!({"spec": {"trafficDistribution": how}});
    let mut unready = not_ready();
    merge(&mut unready, at("10.0.0.3"));
    let pods = [
        pod("p", "n1", at("10.0.0.1")),
        pod("q", "n2", at("10.0.0.2")),
        pod("r", "n1", unready),
    ];
    let zone = json!({"forZones": [{"name": "zone-a"}]});
    assert_eq!(hints(json!({}), &pods), json!([null, null, null]));
    for how in ["PreferClose", "PreferSameZone"] {
        assert_eq!(hints(asked(how), &pods), json!([zone, null, null]));
    }
    assert_eq!(
        hints(asked("PreferSameNode"), &pods),
        json!([
            {"forZones": [{"name": "zone-a"}], "forNodes": [{"name": "n1"}]},
            {"forNodes": [{"name": "n2"}]},
            null,
        ]),
    );
    let mut annotated = asked("PreferSameZone");
    annotated["metadata"] = json!({"annotations": {"service.kubernetes.io/topology-mode": "Auto"}});
    assert_eq!(hints(annotated, &pods), json!([null, null, null]));
}

#[test]
fn slices_are_written_again_when_hints_change() {
    let pods = [pod("p", "n1", json!({}))];
    let existing = stored(
        plan(&service(json!({})), &pods, &[], &zones())
            .changes
            .create,
    );
    let asked = service(json!({"spec": {"trafficDistribution": "PreferSameNode"}}));
    let update = plan(&asked, &pods, &existing, &zones()).changes.update;
    assert!(update[0].endpoints[0].hints.is_some());
    let existing = stored(update);
    let changes = plan(&asked, &pods, &existing, &zones()).changes;
    assert!(changes.update.is_empty() && changes.create.is_empty());
}
