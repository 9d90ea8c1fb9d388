use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, object};

fn endpoints(more: Value) -> Endpoints {
    let mut endpoints = json!({
        "metadata": {"namespace": "x", "name": "db", "uid": "ep"},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5432, "protocol": "TCP"}]}],
    });
    merge(&mut endpoints, more);
    object(endpoints)
}

fn many(count: usize) -> Vec<Value> {
    let ip = |i: usize| json!({"ip": format!("192.0.{}.{}", i / 200, i % 200)});
    (0..count).map(ip).collect()
}

/// What the server makes of planned slices.
fn stored(slices: Vec<EndpointSlice>) -> Vec<Arc<EndpointSlice>> {
    let named = slices.into_iter().enumerate().map(|(i, mut slice)| {
        slice.metadata.name.get_or_insert(format!("db-{i}"));
        slice.metadata.resource_version = Some("7".to_owned());
        Arc::new(slice)
    });
    named.collect()
}

/// Family, ports and addresses (`!` marks those that are not ready) of slices.
fn shown(slices: &[EndpointSlice]) -> Vec<String> {
    let endpoint = |e: &Endpoint| {
        let ready = e.conditions.as_ref().and_then(|c| c.ready) == Some(true);
        format!("{}{}", if ready { "" } else { "!" }, e.addresses.join("+"))
    };
    let one = |slice: &EndpointSlice| {
        let ports = slice.ports.iter().flatten();
        let ports: Vec<_> = ports.map(|p| format!("{}", p.port.unwrap_or(0))).collect();
        let addresses: Vec<_> = slice.endpoints.iter().map(endpoint).collect();
        format!(
            "{} {}: {}",
            slice.address_type,
            ports.join(","),
            addresses.join(" ")
        )
    };
    let mut lines: Vec<_> = slices.iter().map(one).collect();
    lines.sort();
    lines
}

#[test]
fn a_slice_says_what_the_object_says() {
    let endpoints = endpoints(json!({
        "metadata": {
            "labels": {"team": "a", "kubernetes.io/service-name": "other"},
            "annotations": {
                "note": "b",
                "endpoints.kubernetes.io/last-change-trigger-time": "2030-01-01T12:00:00Z",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
            },
        },
        "subsets": [{
            "addresses": [{"ip": "192.0.2.1", "hostname": "one", "nodeName": "n1",
                "targetRef": {"kind": "Pod", "namespace": "x", "name": "p", "uid": "uid-p"}}],
            "notReadyAddresses": [{"ip": "192.0.2.2", "hostname": ""}],
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP", "appProtocol": "example.com/sql"}, {"port": 53, "protocol": "UDP"}],
        }],
    }));
    let plan = plan(&endpoints, &[]);
    assert_eq!(
        serde_json::to_value(&plan.changes.create).expect("json"),
        json!([{
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "generateName": "db-", "namespace": "x",
                "annotations": {"note": "b"},
                "labels": {
                    "team": "a", "kubernetes.io/service-name": "db",
                    "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
                },
                "ownerReferences": [{"apiVersion": "v1", "kind": "Endpoints", "name": "db", "uid": "ep",
                    "controller": true, "blockOwnerDeletion": true}],
            },
            "ports": [
                {"name": "sql", "port": 5432, "protocol": "TCP", "appProtocol": "example.com/sql"},
                {"name": "", "port": 53, "protocol": "UDP"},
            ],
            "endpoints": [
                {"addresses": ["192.0.2.1"], "conditions": {"ready": true}, "hostname": "one", "nodeName": "n1",
                    "targetRef": {"kind": "Pod", "namespace": "x", "name": "p", "uid": "uid-p"}},
                {"addresses": ["192.0.2.2"], "conditions": {"ready": false}},
            ],
        }])
    );
    assert!(plan.changes.update.is_empty() && plan.changes.delete.is_empty());
}

#[test]
fn subsets_become_slices_by_ports_and_family() {
    let subset = |ips: &[&str], not_ready: &[&str], port: i32| {
        let all = |ips: &[&str]| -> Vec<Value> { ips.iter().map(|ip| json!({"ip": ip})).collect() };
        json!({"addresses": all(ips), "notReadyAddresses": all(not_ready), "ports": [{"port": port}]})
    };
    let rows: [(Vec<Value>, &[&str]); 6] = [
        (vec![], &[]),
        (vec![json!({"ports": [{"port": 80}]})], &[]),
        (
            vec![json!({"addresses": [{"ip": "192.0.2.1"}]})],
            &["IPv4 : 192.0.2.1"],
        ),
        (
            vec![
                subset(&["192.0.2.1"], &["192.0.2.2"], 80),
                subset(&["192.0.2.1"], &[], 81),
            ],
            &["IPv4 80: 192.0.2.1 !192.0.2.2", "IPv4 81: 192.0.2.1"],
        ),
        // The same ports twice: one slice.
        (
            vec![
                subset(&["192.0.2.1"], &[], 80),
                subset(&[], &["192.0.2.2"], 80),
            ],
            &["IPv4 80: 192.0.2.1 !192.0.2.2"],
        ),
        (
            vec![subset(&["192.0.2.1", "2001:db8::1"], &["2001:db8::2"], 80)],
            &["IPv4 80: 192.0.2.1", "IPv6 80: 2001:db8::1 !2001:db8::2"],
        ),
    ];
    for (subsets, expected) in rows {
        let plan = plan(&endpoints(json!({"subsets": subsets})), &[]);
        assert_eq!(shown(&plan.changes.create), expected, "{subsets:?}");
    }
}

#[test]
fn what_cannot_be_mirrored_is_counted() {
    let with = |addresses: Vec<Value>, not_ready: Vec<Value>| {
        let subset = json!({"addresses": addresses, "notReadyAddresses": not_ready, "ports": [{"port": 80}]});
        let plan = plan(&endpoints(json!({"subsets": [subset]})), &[]);
        let sizes: Vec<_> = (plan.changes.create.iter())
            .map(|slice| slice.endpoints.len())
            .collect();
        (sizes, plan.invalid, plan.over_limit)
    };
    let bad = || json!({"ip": "not an address"});
    assert_eq!(with(vec![bad()], vec![bad()]), (vec![], 2, 0));
    assert_eq!(with(many(1000), vec![]), (vec![1000], 0, 0));
    assert_eq!(with(many(1001), vec![bad()]), (vec![1000], 0, 2));
    // Those that are ready come first.
    let late = vec![json!({"ip": "198.51.100.1"}), json!({"ip": "198.51.100.2"})];
    assert_eq!(with(many(999), late), (vec![1000], 0, 1));
    // An invalid one takes no room.
    let mut mixed = vec![bad()];
    mixed.extend(many(1000));
    assert_eq!(with(mixed, vec![]), (vec![1000], 1, 0));
}

#[test]
fn subsets_with_the_same_ports_overflow_into_more_slices() {
    let subset = |from: &str, count: usize| {
        let ip = |i: usize| json!({"ip": format!("{from}.{}.{}", i / 200, i % 200)});
        json!({"addresses": (0..count).map(ip).collect::<Vec<_>>(), "ports": [{"port": 80}]})
    };
    let plan = plan(
        &endpoints(json!({"subsets": [subset("192.0", 800), subset("192.1", 700)]})),
        &[],
    );
    let sizes: Vec<_> = (plan.changes.create.iter())
        .map(|slice| slice.endpoints.len())
        .collect();
    assert_eq!((sizes, plan.over_limit), (vec![1000, 500], 0));
}

#[test]
fn nothing_changes_nothing() {
    let annotated = endpoints(json!({"metadata": {"annotations": {"note": "b"}}}));
    let existing = stored(plan(&annotated, &[]).changes.create);
    assert!(plan(&annotated, &existing).changes.is_empty());
    // Neither does a new trigger time, nor an absent map instead of an empty one.
    let later =
        json!({"metadata": {"annotations": {"note": "b", TRIGGER_TIME: "2030-01-01T13:00:00Z"}}});
    assert!(plan(&endpoints(later), &existing).changes.is_empty());
    let mut bare = plan(&endpoints(json!({})), &[]).changes.create;
    bare[0].metadata.annotations = None;
    assert!(
        plan(&endpoints(json!({})), &stored(bare))
            .changes
            .is_empty()
    );
}

#[test]
fn changes_are_made_in_place() {
    let existing = stored(plan(&endpoints(json!({})), &[]).changes.create);
    let rows = [
        // Another address, another state, a label, an annotation, another port.
        json!({"subsets": [{"addresses": [{"ip": "192.0.2.9"}], "ports": [{"port": 5432, "protocol": "TCP"}]}]}),
        json!({"subsets": [{"notReadyAddresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5432, "protocol": "TCP"}]}]}),
        json!({"metadata": {"labels": {"team": "b"}}}),
        json!({"metadata": {"annotations": {"note": "c"}}}),
        json!({"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5433, "protocol": "TCP"}]}]}),
    ];
    for row in rows {
        let wanted = endpoints(row.clone());
        let mut changes = plan(&wanted, &existing).changes;
        assert!(
            changes.create.is_empty() && changes.delete.is_empty(),
            "{row}"
        );
        let [update] = changes.update.as_mut_slice() else {
            panic!("one slice changes for {row}");
        };
        let fresh = plan(&wanted, &[]).changes.create;
        assert_eq!(shown(std::slice::from_ref(update)), shown(&fresh), "{row}");
        let meta = &update.metadata;
        assert_eq!(
            (meta.name.as_deref(), meta.resource_version.as_deref()),
            (Some("db-0"), Some("7"))
        );
        assert_eq!(
            (&meta.labels, &meta.annotations),
            (&fresh[0].metadata.labels, &fresh[0].metadata.annotations),
            "{row}"
        );
    }
}

#[test]
fn slices_that_are_not_needed_go() {
    let names = |plan: &Plan| -> Vec<String> {
        let names = plan.changes.delete.iter();
        names.filter_map(|s| s.metadata.name.clone()).collect()
    };
    let both = json!({"subsets": [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}], "ports": [{"port": 5432, "protocol": "TCP"}]}]});
    let existing = stored(plan(&endpoints(both), &[]).changes.create);
    let one = plan(&endpoints(json!({})), &existing);
    assert_eq!(
        (names(&one), one.changes.update.len()),
        (vec!["db-1".to_owned()], 0)
    );
    let none = plan(&endpoints(json!({"subsets": []})), &existing);
    assert_eq!(names(&none), ["db-0", "db-1"]);
    // Those of an earlier object of the name.
    let later = plan(
        &endpoints(json!({"metadata": {"uid": "later"}})),
        &existing[..1],
    );
    assert_eq!(
        (names(&later), later.changes.create.len()),
        (vec!["db-0".to_owned()], 1)
    );
    let mut stray = EndpointSlice::clone(&existing[0]);
    stray.address_type = "FQDN".to_owned();
    let stray = plan(
        &endpoints(json!({})),
        &[existing[0].clone(), Arc::new(stray)],
    );
    assert_eq!(stray.changes.delete.len(), 1);
}

#[test]
fn nothing_is_created_for_an_object_that_goes() {
    let deleting = json!({"metadata": {"deletionTimestamp": "2030-01-01T11:59:00Z"}});
    assert!(plan(&endpoints(deleting), &[]).changes.is_empty());
}

#[test]
fn some_objects_are_not_mirrored() {
    let rows = [
        (json!({}), true),
        (json!({"labels": {SKIP_LABEL: "true"}}), false),
        (json!({"labels": {SKIP_LABEL: "false"}}), true),
        (json!({"annotations": {LEADER_ANNOTATION: "{}"}}), false),
    ];
    for (meta, expected) in rows {
        let endpoints = endpoints(json!({"metadata": meta}));
        assert_eq!(is_mirrored(&endpoints), expected, "{meta}");
    }
}
