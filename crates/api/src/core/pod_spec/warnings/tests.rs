use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

fn check(pod: &Value, expected: Expect) {
    let mut out = Warnings::default();
    of_pod(pod, &mut out);
    expected.assert_eq(&Vec::from(out).join("\n"));
}

#[test]
fn a_usual_pod_gives_no_reason() {
    let pod = json!({"metadata": {"name": "a"}, "spec": {
        "containers": [{
            "name": "c", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}],
            "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}],
            "resources": {"limits": {"memory": "64Mi"}},
        }],
        "volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"key": "a", "path": "a"}, {"key": "b", "path": "ab"}]}}],
        "topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}],
    }});
    check(&pod, expect![""]);
}

#[test]
fn labels_and_annotations_of_the_past() {
    let pod = json!({
        "metadata": {"annotations": {
            "scheduler.alpha.kubernetes.io/critical-pod": "",
            "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
            "container.seccomp.security.alpha.kubernetes.io/c": "unconfined",
            "container.apparmor.security.beta.kubernetes.io/c": "unconfined",
        }},
        "spec": {
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "beta.kubernetes.io/arch", "operator": "Exists"}]},
                ]}},
                "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a"}]},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {}}]},
            },
            "topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}],
            "containers": [{"name": "c"}],
        },
    });
    check(
        &pod,
        expect![[r#"
        spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
        spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use "kubernetes.io/arch" instead
        spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead
        spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod
        metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead
        metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead
        metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: non-functional in v1.27+; use the "seccompProfile" field instead
        spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod
        spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod"#]],
    );
}

#[test]
fn what_containers_define_twice() {
    let pod = json!({"spec": {
        "initContainers": [{"name": "i", "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}]}],
        "containers": [{
            "name": "c",
            "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}, {"name": "A", "value": "$(A)"}],
            "ports": [
                {"name": "http", "containerPort": 80, "protocol": "TCP"},
                {"containerPort": 80, "protocol": "TCP", "hostPort": 80},
                {"containerPort": 80, "protocol": "TCP", "hostPort": 80, "hostIP": "10.0.0.1"},
                {"containerPort": 81, "protocol": "TCP", "hostIP": "10.0.0.1"},
            ],
            "resources": {"requests": {"memory": "100m", "cpu": "100m"}},
        }],
        "hostAliases": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}, {"ip": "FD00::1"}],
        "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}],
        "terminationGracePeriodSeconds": -1,
    }});
    check(
        &pod,
        expect![[r#"
        spec.hostAliases[1].ip: duplicate ip "10.0.0.1"
        spec.imagePullSecrets[1].name: duplicate name "a"
        spec.imagePullSecrets[2].name: invalid empty name ""
        spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer
        spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply
        spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply
        spec.containers[0].ports[0]: duplicate port definition with spec.initContainers[0].ports[0]
        spec.containers[0].ports[1]: overlapping port definition with spec.initContainers[0].ports[0]
        spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]
        spec.containers[0].ports[2]: overlapping port definition with spec.initContainers[0].ports[0]
        spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[0]
        spec.containers[0].ports[2]: dangerously ambiguous port definition with spec.containers[0].ports[1]
        spec.containers[0].ports[3]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:81 Protocol:TCP HostIP:10.0.0.1}
        spec.containers[0].ports[0]: duplicate port name "http" with spec.initContainers[0].ports[0], services and probes that select ports by name will use spec.initContainers[0].ports[0]
        spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1
        spec.hostAliases[2].ip: IPv6 address "FD00::1" should be in RFC 5952 canonical format ("fd00::1")"#]],
    );
}

#[test]
fn volumes_of_the_past_and_files_in_each_others_way() {
    let pod = json!({"spec": {"volumes": [
        {"name": "git", "gitRepo": {"repository": "r"}},
        {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1500m"}}}}}},
        {"name": "m", "configMap": {"name": "cm", "items": [{"key": "a", "path": "x"}, {"key": "b", "path": "x/y/"}]}},
        {"name": "p", "projected": {"sources": [
            {"secret": {"name": "s", "items": [{"key": "a", "path": "token"}]}},
            {"serviceAccountToken": {"path": "token"}},
            {},
        ]}},
    ]}});
    check(
        &pod,
        expect![[r#"
        spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+
        spec.volumes[1].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer
        volume "m" (ConfigMap "cm"): overlapping paths: "x/y" with "x"
        volume "p" (Projected): overlapping paths: "token" (ServiceAccountToken) with "token" (Secret "s")
        volume "p" (Projected) has no sources provided"#]],
    );
}

#[test]
fn a_template_is_looked_at_when_it_may_have_changed() {
    let workload = |generation: i64| {
        json!({"metadata": {"generation": generation}, "spec": {"template": {
            "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "runtime/default"}},
            "spec": {"containers": [{"name": "c"}]},
        }}})
    };
    let found = |old: Option<&Value>| {
        let mut out = Warnings::default();
        of_workload(&workload(2), old, &mut out);
        Vec::from(out)
    };
    let expected = "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; \
                    use the \"appArmorProfile\" field instead";
    assert_eq!(found(None), [expected]);
    assert_eq!(found(Some(&workload(1))), [expected]);
    assert!(found(Some(&workload(2))).is_empty());
}

#[test]
fn warnings_of_many_ports_end() {
    let ports: Vec<Value> = (0..20_000)
        .map(|_| json!({"containerPort": 80, "protocol": "TCP"}))
        .collect();
    let pod = json!({"spec": {"containers": [{"name": "c", "ports": ports}]}});
    let mut out = Warnings::default();
    of_pod(&pod, &mut out);
    assert!(out.is_full());
}
