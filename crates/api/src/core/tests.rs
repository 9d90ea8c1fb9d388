use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{
    binding, config_map, endpoints, event, namespace, node, pod_template, replication_controller,
    secret, service_account,
};
use crate::{
    BuiltIn,
    kind::Part,
    testing::{create_errors, created, row, update_errors, updated},
};

const NOW: i64 = 1_767_225_600;

fn check(kind: &BuiltIn, object: Value, expected: Expect) {
    expected.assert_eq(&create_errors(kind, object));
}

#[test]
fn config_maps() {
    let kind = &config_map::KIND;
    check(
        kind,
        json!({"data": {"a/b": "x", "..": "y", "both": "z"}, "binaryData": {"both": "AA=="}}),
        expect![[r#"
            data[..]: Invalid value: "..": must not be '..'
            data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
            data[both]: Invalid value: "both": duplicate of key present in binaryData"#]],
    );
    check(
        kind,
        json!({"data": {"a": "x".repeat(1024 * 1024 + 1)}}),
        expect!["[]: Too long: may not be more than 1048576 bytes"],
    );
    let old = json!({"immutable": true, "data": {"a": "b"}});
    let errors = update_errors(kind, json!({"data": {"a": "c"}}), &old, Part::Main);
    expect![[r#"
        immutable: Forbidden: field is immutable when `immutable` is set
        data: Forbidden: field is immutable when `immutable` is set"#]]
    .assert_eq(&errors);
    assert_eq!(update_errors(kind, old.clone(), &old, Part::Main), "");
    let shown = row(
        kind,
        &json!({"metadata": {"name": "c"}, "data": {"a": ""}, "binaryData": {"b": ""}}),
        NOW,
    );
    assert_eq!(shown, "c | 2 | <unknown>");
}

#[test]
fn secrets() {
    let kind = &secret::KIND;
    let object = created(
        kind,
        json!({"stringData": {"a": "hello"}, "data": {"a": "AA==", "b": "AA=="}}),
    );
    assert_eq!(
        object,
        json!({"type": "Opaque", "data": {"a": "aGVsbG8=", "b": "AA=="}})
    );
    for (secret_type, expected) in [
        (
            "kubernetes.io/tls",
            expect![[r#"
            data[tls.crt]: Required value
            data[tls.key]: Required value"#]],
        ),
        (
            "kubernetes.io/dockerconfigjson",
            expect!["data[.dockerconfigjson]: Required value"],
        ),
        (
            "kubernetes.io/basic-auth",
            expect![[r#"
            data[username]: Required value
            data[password]: Required value"#]],
        ),
        (
            "kubernetes.io/ssh-auth",
            expect!["data[ssh-privatekey]: Required value"],
        ),
        (
            "kubernetes.io/service-account-token",
            expect!["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
        ("example.com/own", expect![[r#""#]]),
    ] {
        check(kind, json!({"type": secret_type}), expected);
    }
    check(
        kind,
        json!({"type": "kubernetes.io/dockercfg", "stringData": {".dockercfg": "[]"}}),
        expect![[
            r#"data[.dockercfg]: Invalid value: "<secret contents redacted>": invalid type: sequence, expected a map at line 1 column 0"#
        ]],
    );
    let errors = update_errors(
        kind,
        json!({"type": "b"}),
        &json!({"type": "a"}),
        Part::Main,
    );
    expect![[r#"type: Invalid value: "b": field is immutable"#]].assert_eq(&errors);
}

#[test]
fn namespaces() {
    let kind = &namespace::KIND;
    let object = created(
        kind,
        json!({"metadata": {"name": "n"}, "status": {"phase": "Terminating"}}),
    );
    assert_eq!(
        object,
        json!({
            "metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "n"}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        })
    );
    let mut emptied = object.clone();
    emptied["spec"]["finalizers"] = json!([]);
    emptied["metadata"]["labels"] = json!({});
    let main = crate::testing::updated(kind, emptied.clone(), &object, Part::Main);
    assert_eq!(main, object);
    let finalized = crate::testing::updated(kind, emptied, &object, Part::Subresource("finalize"));
    assert_eq!(finalized["spec"]["finalizers"], json!([]));
    let mut status = object.clone();
    status["status"]["phase"] = json!("Terminating");
    let mut odd = object.clone();
    odd["spec"]["finalizers"] = json!(["kubernetes", "odd"]);
    expect![[r#"spec.finalizers[1]: Invalid value: "odd": name is neither a standard finalizer name nor is it fully qualified"#]].assert_eq(&update_errors(
        kind,
        odd,
        &object,
        Part::Subresource("finalize"),
    ));
    expect![[r#"status.Phase: Invalid value: "Terminating": may only be 'Active' if `deletionTimestamp` is empty"#]].assert_eq(&update_errors(kind, status, &object, Part::Status));
    check(
        kind,
        json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["mine", "a.io/b"]}}),
        expect![[
            r#"spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified"#
        ]],
    );
    assert_eq!(kind.strategy.validate_name("a.b", false).len(), 1);
    assert!(kind.strategy.validate_name("a-", true).is_empty());
}

#[test]
fn nodes() {
    let kind = &node::KIND;
    let object = created(
        kind,
        json!({
            "metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "x"}},
            "spec": {"unschedulable": true},
            "status": {
                "capacity": {"cpu": "2000m", "memory": "1048576Ki"},
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.35.0", "kernelVersion": "6.1.0", "architecture": "arm64"},
            },
        }),
    );
    assert_eq!(
        object["status"]["allocatable"],
        json!({"cpu": "2", "memory": "1Gi"})
    );
    expect!["n1 | Ready,SchedulingDisabled | control-plane,x | <unknown> | v1.35.0 | 10.0.0.1 | <none> | <unknown> | 6.1.0 (arm64) | <unknown>"].assert_eq(&row(kind, &object, NOW));
    check(
        kind,
        json!({
            "spec": {
                "taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "", "effect": "Odd"}],
                "podCIDRs": ["10.0.0.0/24", "10.0.1.0/24", "x"],
            },
            "status": {"capacity": {"cpu": "-1", "example.com/gpu": "0.5", "pods": "1500m"}, "allocatable": {}},
        }),
        expect![[r#"
            metadata.taints[1]: Duplicate value: {"effect":"NoSchedule","key":"a"}: taints must be unique by key and effect pair
            metadata.taints[2].key: Invalid value: "": name part must be non-empty
            metadata.taints[2].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            metadata.taints[2].effect: Unsupported value: "Odd": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
            status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0
            status.capacity.example.com/gpu: Invalid value: "500m": must be an integer
            status.capacity.pods: Invalid value: "1500m": must be an integer
            spec.podCIDRs[2]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
            spec.podCIDRs: Internal error: invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[2]: <nil> (invalid CIDR address: x)
            spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24","x"]: may specify no more than one CIDR for each IP family"#]],
    );
    let old = json!({"spec": {"podCIDRs": ["10.0.0.0/24"], "providerID": "a"}});
    let errors = update_errors(kind, json!({"spec": {"externalID": "a"}}), &old, Part::Main);
    expect![[r#"
        spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid
        spec.providerID: Invalid value: null: field cannot be cleared once set
        spec.externalID: Forbidden: may not be updated"#]]
    .assert_eq(&errors);
    for (cidrs, wanted) in [
        (json!(["10.0.0.0/24", "fd00::/64"]), expect![""]),
        (
            json!(["10.0.0.0/24", null]),
            expect![[r#"
            spec.podCIDRs[1]: Invalid value: "": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
            spec.podCIDRs: Internal error: invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[1]: <nil> (invalid CIDR address: )
            spec.podCIDRs: Invalid value: ["10.0.0.0/24",null]: may specify no more than one CIDR for each IP family"#]],
        ),
        (
            json!(["x"]),
            expect![[
                r#"spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#
            ]],
        ),
    ] {
        check(kind, json!({"spec": {"podCIDRs": cidrs}}), wanted);
    }
}

/// The kubelet's configuration of old is dropped, but where it is stored.
#[test]
fn node_configurations() {
    let kind = &node::KIND;
    let source = json!({"configMap": {"name": "a", "namespace": "b"}});
    let given = json!({"spec": {"configSource": source}, "status": {"config": {}}});
    let stored = created(kind, given.clone());
    assert_eq!(stored, json!({"spec": {}, "status": {}}));
    let after = updated(kind, given.clone(), &stored, Part::Main);
    assert_eq!(after["spec"], json!({}));
    let after = updated(kind, given.clone(), &given, Part::Main);
    assert_eq!(after["spec"], given["spec"]);
    let after = updated(kind, given.clone(), &stored, Part::Status);
    assert_eq!(after["status"], json!({}));
    let after = updated(kind, given.clone(), &given, Part::Status);
    assert_eq!(after["status"], given["status"]);
}

#[test]
fn events() {
    let kind = &event::KIND;
    check(
        kind,
        json!({"metadata": {"namespace": "d"}, "involvedObject": {"namespace": "e"}}),
        expect![[
            r#"involvedObject.namespace: Invalid value: "e": does not match event.namespace"#
        ]],
    );
    check(
        kind,
        json!({"metadata": {"namespace": "default"}, "involvedObject": {}, "eventTime": "2026-01-01T00:00:00.000000Z", "action": "a".repeat(129)}),
        expect![[r#"
            reportingComponent: Required value
            reportingComponent: Invalid value: "": name part must be non-empty
            reportingComponent: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            reportingInstance: Required value
            action: Invalid value: "": can have at most 128 characters
            reason: Required value"#]],
    );
    let old_style = json!({
        "metadata": {"name": "e"}, "type": "Warning", "reason": "BackOff", "message": " again ",
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
        "source": {"component": "kubelet", "host": "n1"}, "count": 3,
        "firstTimestamp": "2025-12-31T23:00:00Z", "lastTimestamp": "2025-12-31T23:59:00Z",
    });
    let new_style = json!({
        "metadata": {"name": "e"}, "type": "Normal", "reason": "Scheduled", "message": "m",
        "involvedObject": {"kind": "Pod", "name": "p"}, "reportingComponent": "default-scheduler",
        "eventTime": "2025-12-31T23:59:58.5Z", "firstTimestamp": null, "lastTimestamp": null,
    });
    let rows = [row(kind, &old_style, NOW), row(kind, &new_style, NOW)];
    expect![[r#"
        60s | Warning | BackOff | pod/p | spec.containers{c} | kubelet, n1 | again | 60m | 3 | e
        2s | Normal | Scheduled | pod/p |  | default-scheduler | m | 2s | 1 | e"#]]
    .assert_eq(&rows.join("\n"));
    let values = kind.strategy.field_values(&new_style);
    let source = kind
        .strategy
        .selectable_fields()
        .iter()
        .position(|field| field == "source");
    assert_eq!(
        source.map(|index| values[index].as_str()),
        Some("default-scheduler")
    );
}

#[test]
fn the_rest() {
    check(
        &binding::KIND,
        json!({"target": {"kind": "Pod"}}),
        expect![[r#"
            target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"
            target.name: Required value"#]],
    );
    check(
        &endpoints::KIND,
        json!({"subsets": [
            {},
            {"addresses": [{"ip": "127.0.0.1", "nodeName": "A"}, {"ip": "x"}], "ports": [{"port": 0}, {"name": "b", "port": 1, "protocol": "X"}]},
        ]}),
        expect![[r#"
            subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`
            subsets[1].addresses[0].nodeName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            subsets[1].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)
            subsets[1].addresses[1].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            subsets[1].addresses[1].ip: Invalid value: "x": must be a valid IP address
            subsets[1].ports[0].name: Required value
            subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
            subsets[1].ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP""#]],
    );
    let ips: Vec<Value> = (1..=4)
        .map(|i| json!({"ip": format!("10.42.0.{i}")}))
        .collect();
    let object = json!({"metadata": {"name": "e"}, "subsets": [{"addresses": ips, "ports": [{"port": 80}]}]});
    expect!["e | 10.42.0.1:80,10.42.0.2:80,10.42.0.3:80 + 1 more... | <unknown>"].assert_eq(&row(
        &endpoints::KIND,
        &object,
        NOW,
    ));
    let account = created(
        &service_account::KIND,
        json!({"secrets": [{"name": "a", "uid": "x"}]}),
    );
    assert_eq!(account, json!({"secrets": [{"name": "a"}]}));
}

fn template(labels: Value) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[test]
fn replication_controllers() {
    let kind = &replication_controller::KIND;
    let plain =
        json!({"metadata": {"name": "web"}, "spec": {"template": template(json!({"app": "web"}))}});
    let object = created(kind, plain.clone());
    assert_eq!(object["spec"]["replicas"], 1);
    assert_eq!(object["spec"]["selector"], json!({"app": "web"}));
    assert_eq!(object["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(
        object["spec"]["template"]["spec"]["restartPolicy"],
        "Always"
    );
    check(kind, plain, expect![""]);
    expect!["web | 1 | 0 | 0 | <unknown> | c | i | app=web"].assert_eq(&row(kind, &object, NOW));
    assert_eq!(
        kind.strategy.scale(&object),
        Some((1, 0, "app=web".to_owned()))
    );
    assert!(kind.strategy.orphans_dependents());

    let mut odd = template(json!({"app": "other"}));
    odd["spec"]["restartPolicy"] = json!("Never");
    odd["spec"]["activeDeadlineSeconds"] = json!(5);
    let spec =
        json!({"replicas": -1, "minReadySeconds": -2, "selector": {"app": "web"}, "template": odd});
    check(
        kind,
        json!({"spec": spec}),
        expect![[r#"
            spec.replicas: Invalid value: -1: must be greater than or equal to 0
            spec.minReadySeconds: Invalid value: -2: must be greater than or equal to 0
            spec.template.metadata.labels: Invalid value: {"app":"other"}: `selector` does not match template `labels`
            spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
            spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported"#]],
    );
    check(
        kind,
        json!({"spec": {}}),
        expect![[r#"
            spec.selector: Required value
            spec.template: Required value"#]],
    );
    let told = |ready: i64| json!({"status": {"replicas": 1, "readyReplicas": ready}});
    expect!["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]
        .assert_eq(&update_errors(kind, told(2), &told(1), Part::Status));
    let warnings = kind.strategy.warnings(
        &json!({"metadata": {"name": "a.b"}}),
        None,
        crate::kind::Part::Main,
    );
    assert!(warnings[0].starts_with("metadata.name: this is used in Pod names"));
}

#[test]
fn pod_templates() {
    let kind = &pod_template::KIND;
    let object =
        json!({"metadata": {"name": "t"}, "template": template(json!({"b": "2", "a": "1"}))});
    let object = created(kind, object);
    assert_eq!(object["template"]["spec"]["dnsPolicy"], "ClusterFirst");
    expect!["t | c | i | a=1,b=2"].assert_eq(&row(kind, &object, NOW));
    let mut bad = object.clone();
    bad["template"]["spec"]["containers"] = json!([]);
    check(
        kind,
        bad.clone(),
        expect!["template.spec.containers: Required value"],
    );
    assert!(kind.strategy.changes_generation(&bad, &object));
}
