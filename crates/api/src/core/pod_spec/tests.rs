mod costs;
mod restarts;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::{
    apps::deployment,
    core::pod,
    kind::Part,
    testing::{create_errors, created, update_errors, updated},
};

fn of(spec: Value) -> Value {
    let mut base = json!({"containers": [{"name": "c", "image": "i:1"}]});
    if let (Some(base), Value::Object(more)) = (base.as_object_mut(), spec) {
        base.extend(more);
    }
    json!({"metadata": {"name": "p", "namespace": "d"}, "spec": base})
}

fn container(more: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i:1"});
    if let (Some(container), Value::Object(more)) = (container.as_object_mut(), more) {
        container.extend(more);
    }
    of(json!({"containers": [container]}))
}

fn check(pod: Value, expected: Expect) {
    expected.assert_eq(&create_errors(&pod::KIND, pod));
}

#[test]
fn ports_of_the_node() {
    let ports = json!([{"containerPort": 80}, {"containerPort": 81, "hostPort": 82}]);
    let pod = of(json!({
        "hostNetwork": true,
        "containers": [{"name": "c", "image": "i:1", "ports": ports}],
    }));
    let stored = created(&pod::KIND, pod.clone());
    assert_eq!(stored["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
    check(
        pod.clone(),
        expect![
            "spec.containers[0].ports[1].hostPort: Invalid value: 82: must match `containerPort` when `hostNetwork` is true"
        ],
    );
    // A template leaves it to its pods.
    let deployment = json!({
        "metadata": {"name": "d", "namespace": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod["spec"]},
        },
    });
    let stored = created(&deployment::KIND, deployment.clone());
    let ports = &stored["spec"]["template"]["spec"]["containers"][0]["ports"];
    assert_eq!(ports[0].get("hostPort"), None);
    expect!["spec.template.spec.containers[0].ports[1].hostPort: Invalid value: 82: must match `containerPort` when `hostNetwork` is true"].assert_eq(&create_errors(&deployment::KIND, deployment));
}

#[test]
fn names_to_look_up() {
    check(
        of(json!({
            "dnsConfig": {"nameservers": ["x"], "searches": [".", "_tcp.a.b.", "a_b", "-c", "_"]},
            "imagePullSecrets": [{}],
        })),
        expect![[r#"
            spec.dnsConfig.nameservers[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.dnsConfig.searches[3]: Invalid value: "-c": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')
            spec.dnsConfig.searches[4]: Invalid value: "_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')"#]],
    );
}

#[test]
fn pods_with_users_of_their_own_have_no_volumes_as_devices() {
    check(
        of(json!({
            "hostUsers": false,
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
            "containers": [{
                "name": "c", "image": "i:1", "volumeDevices": [{"name": "v", "devicePath": "/dev/x"}],
            }],
        })),
        expect!["spec.containers[0].volumeDevices: Forbidden: when `hostUsers` is false"],
    );
}

#[test]
fn what_ephemeral_containers_may_not_have() {
    let probe = json!({"exec": {"command": ["a"]}});
    for (field, value) in [
        ("lifecycle", json!({"preStop": probe})),
        ("livenessProbe", probe.clone()),
        ("ports", json!([{"containerPort": 80}])),
        ("readinessProbe", probe.clone()),
        (
            "resizePolicy",
            json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]),
        ),
        ("resources", json!({"requests": {"cpu": "1"}})),
        ("restartPolicy", json!("Always")),
        (
            "restartPolicyRules",
            json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]),
        ),
        ("startupProbe", probe),
    ] {
        let mut debugger = json!({"name": "e", "image": "i:1"});
        debugger[field] = value;
        let errors = create_errors(&pod::KIND, of(json!({"ephemeralContainers": [debugger]})));
        let wanted = format!(
            "spec.ephemeralContainers[0].{field}: Forbidden: cannot be set for an Ephemeral Container"
        );
        assert!(
            errors.lines().any(|line| line == wanted),
            "{field}: {errors}"
        );
    }
}

#[test]
fn users_and_security() {
    check(
        of(json!({
            "hostUsers": false, "hostNetwork": true, "hostPID": true, "hostIPC": true,
            "securityContext": {
                "seccompProfile": {}, "appArmorProfile": {"type": "Localhost", "localhostProfile": " a"},
                "supplementalGroupsPolicy": "Some", "seLinuxChangePolicy": "Some",
                "sysctls": [{"name": "net/ipv4/tcp_syncookies"}, {"name": "kernel.shm_rmid_forced"}, {"name": "vm.swappiness"}],
                "windowsOptions": {},
            },
            "os": {"name": "linux"},
        })),
        expect![[r#"
            spec.securityContext.sysctls[0].name: Invalid value: "net/ipv4/tcp_syncookies": may not be specified when 'hostNetwork' is true
            spec.securityContext.sysctls[1].name: Invalid value: "kernel.shm_rmid_forced": may not be specified when 'hostIPC' is true
            spec.securityContext.seccompProfile.type: Required value: type is required when seccompProfile is set
            spec.securityContext.appArmorProfile.localhostProfile: Invalid value: " a": must not be padded with whitespace
            spec.securityContext.supplementalGroupsPolicy: Unsupported value: "Some": supported values: "Merge", "Strict"
            spec.securityContext.seLinuxChangePolicy: Unsupported value: "Some": supported values: "MountOption", "Recursive"
            spec.hostNetwork: Forbidden: when `hostUsers` is false
            spec.HostPID: Forbidden: when `hostUsers` is false
            spec.HostIPC: Forbidden: when `hostUsers` is false
            spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"#]],
    );
    check(
        container(
            json!({"securityContext": {"procMount": "Unmasked", "appArmorProfile": {"type": "Unconfined", "localhostProfile": "a"}}}),
        ),
        expect![[r#"
            spec.containers[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`
            spec.containers[0].securityContext.appArmorProfile.localhostProfile: Invalid value: "a": can only be set when AppArmor type is Localhost"#]],
    );
    check(
        of(json!({"os": {"name": ""}})),
        expect!["spec.os.name: Required value"],
    );
    check(
        of(json!({"os": {"name": "plan9"}})),
        expect![[r#"spec.os: Unsupported value: "plan9": supported values: "linux", "windows""#]],
    );
}

#[test]
fn where_to_run() {
    let term = json!({
        "matchExpressions": [{"key": "a", "operator": "In", "values": ["a b"]}],
        "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["A"]}],
    });
    check(
        of(json!({"affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["a b"]}]}}],
            },
            "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "t", "matchLabelKeys": ["a"]},
                {"topologyKey": "t", "labelSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]},
                 "matchLabelKeys": ["a", "b c"], "mismatchLabelKeys": ["a"]},
            ]},
        }})),
        expect![[r#"
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values[0]: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].values[0]: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set
            spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[1].matchLabelKeys[1]: Invalid value: "b c": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[1][0]: Invalid value: "a": exists in both matchLabelKeys and labelSelector
            spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[1].matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and mismatchLabelKeys"#]],
    );
    check(
        of(json!({"topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "t", "whenUnsatisfiable": "DoNotSchedule", "matchLabelKeys": ["a"]},
            {"maxSkew": 1, "topologyKey": "t", "whenUnsatisfiable": "DoNotSchedule",
             "labelSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]},
             "matchLabelKeys": ["a", "b c"]},
        ]})),
        expect![[r#"
            spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "{t, DoNotSchedule}"
            spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set
            spec.topologySpreadConstraints[1].matchLabelKeys[1]: Invalid value: "b c": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.topologySpreadConstraints[1][0]: Invalid value: "a": exists in both matchLabelKeys and labelSelector"#]],
    );
    check(
        of(json!({"schedulingGates": [{"name": "a b"}, {"name": "a"}, {"name": "a"}]})),
        expect![[r#"
            spec.schedulingGates[0]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.schedulingGates[2]: Duplicate value: "a""#]],
    );
}

#[test]
fn volumes_and_devices() {
    check(
        of(json!({
            "volumes": [
                {"name": "claim", "persistentVolumeClaim": {"claimName": "x"}},
                {"name": "dir", "emptyDir": {}},
                {"name": "image", "image": {"pullPolicy": "Sometimes"}},
            ],
            "containers": [{
                "name": "c", "image": "i:1",
                "volumeMounts": [
                    {"name": "dir", "mountPath": "/dir", "recursiveReadOnly": "Enabled", "mountPropagation": "HostToContainer"},
                    {"name": "dir", "mountPath": "/dir2", "recursiveReadOnly": "Often"},
                    {"name": "dir", "mountPath": "/dir3", "recursiveReadOnly": ""},
                ],
                "volumeDevices": [
                    {"name": "claim", "devicePath": "/dev/a"},
                    {"name": "claim", "devicePath": "/dev/a"},
                    {"name": "dir", "devicePath": "/dir"},
                    {"name": "none", "devicePath": "../x"},
                    {"name": ""},
                ],
            }],
        })),
        expect![[r#"
            spec.volumes[2].image.reference: Required value
            spec.volumes[2].image.pullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"
            spec.containers[0].volumeMounts[0].name: Invalid value: "dir": must not already exist in volumeDevices
            spec.containers[0].volumeMounts[0].mountPath: Invalid value: "/dir": must not already exist as a path in volumeDevices
            spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true
            spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified
            spec.containers[0].volumeMounts[1].name: Invalid value: "dir": must not already exist in volumeDevices
            spec.containers[0].volumeMounts.recursiveReadOnly: Unsupported value: "Often": supported values: "Disabled", "Enabled", "IfPossible"
            spec.containers[0].volumeMounts[2].name: Invalid value: "dir": must not already exist in volumeDevices
            spec.containers[0].volumeMounts.recursiveReadOnly: Unsupported value: "": supported values: "Disabled", "Enabled", "IfPossible"
            spec.containers[0].volumeDevices[1].name: Invalid value: "claim": must be unique
            spec.containers[0].volumeDevices[1].devicePath: Invalid value: "/dev/a": must be unique
            spec.containers[0].volumeDevices[2].name: Invalid value: "dir": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode
            spec.containers[0].volumeDevices[2].name: Invalid value: "dir": must not already exist in volumeMounts
            spec.containers[0].volumeDevices[2].devicePath: Invalid value: "/dir": must not already exist as a path in volumeMounts
            spec.containers[0].volumeDevices[3].name: Not found: "none"
            spec.containers[0].volumeDevices[3].devicePath: Invalid value: "../x": can not contain backsteps ('..')
            spec.containers[0].volumeDevices[4].name: Required value
            spec.containers[0].volumeDevices[4].name: Not found: ""
            spec.containers[0].volumeDevices[4].devicePath: Required value"#]],
    );
    let image = |reference: &str| {
        let volume = json!({"name": "v", "image": {"reference": reference}});
        let stored = created(&pod::KIND, of(json!({"volumes": [volume]})));
        stored["spec"]["volumes"][0]["image"]["pullPolicy"].clone()
    };
    assert_eq!(
        (image("a:1"), image("a")),
        (json!("IfNotPresent"), json!("Always"))
    );
}

#[test]
fn containers() {
    check(
        container(json!({
            "lifecycle": {"preStop": {"sleep": {"seconds": 31}}, "postStart": {"sleep": {"seconds": -1}}},
            "resizePolicy": [
                {"resourceName": "cpu", "restartPolicy": "NotRequired"},
                {"resourceName": "cpu", "restartPolicy": "Sometimes"},
                {"resourceName": "disk"},
            ],
        })),
        expect![[r#"
            spec.containers[0].resizePolicy[1]: Duplicate value: "cpu"
            spec.containers[0].resizePolicy: Unsupported value: "Sometimes": supported values: "NotRequired", "RestartContainer"
            spec.containers[0].resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory"
            spec.containers[0].resizePolicy: Required value
            spec.containers[0].lifecycle.postStart.sleep: Invalid value: -1: must be non-negative and less than terminationGracePeriodSeconds (30)
            spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"#]],
    );
    check(
        of(json!({"restartPolicy": "Never", "containers": [{
            "name": "c", "image": "i:1",
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}],
        }]})),
        expect![[
            r#"spec.containers[0].resizePolicy: Invalid value: "RestartContainer": must be 'NotRequired' when pod `restartPolicy` is 'Never'"#
        ]],
    );
}

#[test]
fn annotations_of_pods() {
    let mut pod = of(json!({}));
    pod["metadata"]["annotations"] = json!({
        "kubernetes.io/config.mirror": "x",
        "controller.kubernetes.io/pod-deletion-cost": "+1",
    });
    check(
        pod,
        expect![[r#"
        metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set
        metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+1": must be a 32bit integer"#]],
    );
}

#[test]
fn mirrors_stay_mirrors() {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let plain = created(&pod::KIND, of(json!({"nodeName": "n"})));
    let mut mirror = plain.clone();
    mirror["metadata"]["annotations"] = json!({MIRROR: "x"});
    let update = |new: &Value, old: &Value, part| update_errors(&pod::KIND, new.clone(), old, part);
    assert_eq!(update(&mirror, &mirror, Part::Main), "");
    expect!["metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation"].assert_eq(&update(&mirror, &plain, Part::Main));
    expect!["metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation"].assert_eq(&update(&plain, &mirror, Part::Status));
    expect![": Forbidden: static pods do not support ephemeral containers"].assert_eq(&update(
        &mirror,
        &mirror,
        Part::Subresource("ephemeralcontainers"),
    ));
}

#[test]
fn huge_pages_are_whole() {
    let limits = json!({"hugepages-2Mi": "3Mi", "hugepages-1Gi": "2Gi", "cpu": "1"});
    check(
        container(json!({"resources": {"limits": limits}})),
        expect![[r#"
            spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi
            spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi"#]],
    );
}

#[test]
fn gated_pods_become_choosier() {
    let terms = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let a = json!({"key": "a", "operator": "Exists"});
    let b = json!({"key": "b", "operator": "Exists"});
    let old = created(
        &pod::KIND,
        of(json!({
            "schedulingGates": [{"name": "g"}],
            "nodeSelector": {"x": "y"},
            "affinity": terms(json!([{"matchExpressions": [a]}])),
        })),
    );
    let change = |field: &str, value: Value| {
        let mut new = old.clone();
        new["spec"][field] = value;
        update_errors(&pod::KIND, new, &old, Part::Main)
    };
    assert_eq!(change("nodeSelector", json!({"x": "y", "z": "1"})), "");
    let narrower = terms(json!([{"matchExpressions": [a, b]}]));
    assert_eq!(change("affinity", narrower), "");
    expect![[r#"spec.nodeSelector: Invalid value: {"x":"z"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"#]].assert_eq(&change("nodeSelector", json!({"x": "z"})));
    expect![[r#"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: Invalid value: {"matchExpressions":[{"key":"b","operator":"Exists"}]}: only additions are allowed (no mutations or deletions)"#]].assert_eq(&change(
        "affinity",
        terms(json!([{"matchExpressions": [b]}])),
    ));
    expect!["spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Invalid value: null: no additions/deletions to non-empty NodeSelectorTerms list are allowed"].assert_eq(&change("affinity", Value::Null));
    let mut ungated = old.clone();
    ungated["spec"]["schedulingGates"] = json!([]);
    let mut new = ungated.clone();
    new["spec"]["nodeSelector"] = json!({"x": "y", "z": "1"});
    expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
          nodeSelector: - {"x":"y"} + {"x":"y","z":"1"}"#]].assert_eq(&update_errors(&pod::KIND, new, &ungated, Part::Main));
}

#[test]
fn statuses() {
    let old = created(&pod::KIND, of(json!({})));
    let change = |status: Value| {
        let mut new = old.clone();
        new["status"] = status;
        update_errors(&pod::KIND, new, &old, Part::Status)
    };
    expect![[r#"
        status.conditions[1].Type: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        status.qosClass: Invalid value: "Guaranteed": field is immutable
        status.podIPs: Invalid value: [{"ip":"10.0.0.1"},{"ip":"10.0.0.1"}]: may specify no more than one IP for each IP family
        status.hostIPs[2]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        status.hostIPs: Internal error: failed to check for dual stack with error:invalid IP[2]: x
        status.hostIPs: Invalid value: [{"ip":"10.0.0.3"},{"ip":"::1"},{"ip":"x"}]: may specify no more than one IP for each IP family
        status.hostIPs[0].ip: Invalid value: "10.0.0.3": must be equal to `hostIP`"#]].assert_eq(&change(json!({
        "qosClass": "Guaranteed",
        "conditions": [{"type": "Ready"}, {"type": "a b"}],
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}],
        "hostIP": "10.0.0.2",
        "hostIPs": [{"ip": "10.0.0.3"}, {"ip": "::1"}, {"ip": "x"}],
    })));
    expect![[r#"
        status.conditions[0].observedGeneration: Invalid value: -2: must be a non-negative integer
        status.observedGeneration: Invalid value: -1: must be a non-negative integer
        status.resourceClaimStatuses[0].name: Invalid value: "a": must match the name of an entry in `spec.resourceClaims`
        status.resourceClaimStatuses[1].name: Invalid value: "a": must match the name of an entry in `spec.resourceClaims`
        status.resourceClaimStatuses[1].name: Duplicate value: "a"
        status.resourceClaimStatuses[1].resourceClaimName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]].assert_eq(&change(json!({
        "qosClass": "BestEffort",
        "observedGeneration": -1,
        "conditions": [{"type": "Ready", "observedGeneration": -2}],
        "resourceClaimStatuses": [{"name": "a"}, {"name": "a", "resourceClaimName": ""}],
    })));
    let mut bare = old.clone();
    bare["status"] = json!({"phase": "Failed"});
    let stored = updated(&pod::KIND, bare, &old, Part::Status);
    assert_eq!(stored["status"]["qosClass"], "BestEffort");
}

#[test]
fn resources_of_a_pod_as_a_whole() {
    let container = |name: &str, resources: Value| json!({"name": name, "image": "i:1", "resources": resources});
    check(
        of(json!({
            "resources": {
                "limits": {"cpu": "1", "ephemeral-storage": "1Gi"},
                "requests": {"cpu": "2", "memory": "1Mi"},
                "claims": [{"name": "gpu"}],
            },
            "containers": [
                container("a", json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1", "memory": "100Mi"}})),
                container("b", json!({"requests": {"memory": "1Mi"}})),
            ],
        })),
        expect![[r#"
            spec.resources.claims[0]: Not found: "gpu": must be one of the names in pod.spec.resourceClaims which is empty
            spec.resources.claims: Forbidden: claims may not be set for Resources at pod-level
            spec.resources.limits[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", "hugepages-", "memory"
            spec.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1
            spec.resources.requests[memory]: Invalid value: "1Mi": must be greater than or equal to aggregate container requests of 101Mi
            spec.resources.containers[0][cpu].limits: Invalid value: "2": must be less than or equal to pod limits of 1"#]],
    );
    check(
        of(json!({
            "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}},
            "containers": [container("a", json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}))],
        })),
        expect![""],
    );
}

#[test]
fn a_name_in_place_of_the_pods_own() {
    check(
        of(json!({"hostnameOverride": "Bad_Value!", "setHostnameAsFQDN": true})),
        expect![[r#"
            spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true
            spec.hostnameOverride: Invalid value: "Bad_Value!": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
    );
}

#[test]
fn variables_of_files() {
    let variable = |volume: &str, path: &str| json!({"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": volume, "path": path, "key": "A"}}});
    check(
        of(json!({
            "volumes": [{"name": "shared", "emptyDir": {}}, {"name": "host", "hostPath": {"path": "/"}}],
            "containers": [{"name": "c", "image": "i:1", "env": [
                variable("shared", "a.env"), variable("host", "a/../b"), variable("none", ""),
            ]}],
        })),
        expect![[r#"
            spec.containers[0].env[1].valueFrom.fileKeyRef.path: Invalid value: "a/../b": must not contain '..'
            spec.containers[0].env[2].valueFrom.fileKeyRef.path: Required value
            spec.containers[0].env[1].valueFrom.fileKeyRef.volumeName: Invalid value: "host": referenced volume must be of type emptyDir
            spec.containers[0].env[2].valueFrom.fileKeyRef.volumeName: Not found: "none""#]],
    );
}
