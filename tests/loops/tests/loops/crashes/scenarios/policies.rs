//! Controllers of limits, sizes and rules.

use serde_json::{Value, json};

use super::workloads::{one_node, spec};
use crate::crashes::hands::Hand;
use crate::crashes::scenario::{
    PLAIN, Scenario, Step, create, create_in, delete, patch, pod, wait,
};
use crate::crashes::world::equal;

const PODS: &str = "/api/v1/namespaces/x/pods";

pub const SCENARIOS: [Scenario; 5] = [
    Scenario {
        controller: "disruption-controller",
        hands: &[Hand::Kubelet],
        before: one_node,
        after: || {
            let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
            vec![
                create(
                    "policy/v1",
                    "PodDisruptionBudget",
                    "b",
                    json!({"spec": spec}),
                ),
                pod("p", "n1", json!({})),
                pod("q", "n1", json!({})),
                pod("r", "n1", json!({})),
                wait(10),
                delete(&format!("{PODS}/r")),
            ]
        },
        check: |world| {
            let status = &world.one("poddisruptionbudgets", "b")?["status"];
            let told = ["expectedPods", "currentHealthy", "disruptionsAllowed"]
                .map(|field| &status[field]);
            equal("status", &json!(told), &json!([2, 2, 1]))
        },
        ..PLAIN
    },
    Scenario {
        controller: "horizontal-pod-autoscaler-controller",
        company: &["deployment-controller", "replicaset-controller"],
        hands: &[Hand::Scheduler, Hand::Kubelet],
        before: one_node,
        after: || {
            let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
            let autoscaler =
                json!({"spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 4}});
            vec![
                create("apps/v1", "Deployment", "web", spec(1)),
                create(
                    "autoscaling/v2",
                    "HorizontalPodAutoscaler",
                    "web",
                    autoscaler,
                ),
                wait(60),
                patch(
                    "/apis/apps/v1/namespaces/x/deployments/web/scale",
                    json!({"spec": {"replicas": 9}}),
                ),
                wait(60),
            ]
        },
        check: |world| {
            equal(
                "replicas",
                &world.one("deployments", "web")?["spec"]["replicas"],
                &json!(4),
            )?;
            let status = &world.one("horizontalpodautoscalers", "web")?["status"];
            equal("told", &status["currentReplicas"], &json!(4))?;
            equal("pods", &json!(world.all("pods").len()), &json!(4))
        },
        ..PLAIN
    },
    Scenario {
        controller: "resourcequota-controller",
        hands: &[Hand::Kubelet],
        before: one_node,
        after: || {
            let hard = json!({"spec": {"hard": {"pods": "3", "count/configmaps": "5"}}});
            vec![
                create("v1", "ResourceQuota", "q", hard),
                wait(5),
                pod("p", "n1", json!({})),
                pod("q", "n1", json!({})),
                create("v1", "ConfigMap", "m", json!({})),
                wait(5),
                delete(&format!("{PODS}/q")),
                patch(
                    "/api/v1/namespaces/x/resourcequotas/q",
                    json!({"spec": {"hard": {"pods": "4"}}}),
                ),
            ]
        },
        check: |world| {
            let status = &world.one("resourcequotas", "q")?["status"];
            equal(
                "used",
                &status["used"],
                &json!({"pods": "1", "count/configmaps": "1"}),
            )?;
            equal(
                "hard",
                &status["hard"],
                &json!({"pods": "4", "count/configmaps": "5"}),
            )
        },
        ..PLAIN
    },
    Scenario {
        controller: "validatingadmissionpolicy-status-controller",
        after: || {
            let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]});
            let policy = |expression: &str| {
                json!({"spec": {"matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": expression}]}})
            };
            let path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
            let kind = "ValidatingAdmissionPolicy";
            vec![
                create_in(
                    "",
                    "admissionregistration.k8s.io/v1",
                    kind,
                    "good",
                    policy("object.spec.replicas > 1"),
                ),
                create_in(
                    "",
                    "admissionregistration.k8s.io/v1",
                    kind,
                    "bad",
                    policy("object.spec.replicas > 1"),
                ),
                wait(5),
                patch(&format!("{path}/bad"), policy("object.spec.nothing > 1")),
            ]
        },
        check: |world| {
            for (name, warnings) in [("good", 0), ("bad", 1)] {
                let policy = world.one("validatingadmissionpolicies", name)?;
                equal(
                    "seen",
                    &policy["status"]["observedGeneration"],
                    &policy["metadata"]["generation"],
                )?;
                let told = policy["status"]["typeChecking"]["expressionWarnings"]
                    .as_array()
                    .map_or(0, Vec::len);
                equal(name, &json!(told), &json!(warnings))?;
            }
            Ok(())
        },
        ..PLAIN
    },
    Scenario {
        controller: "clusterrole-aggregation-controller",
        before: || {
            let selector = json!({"clusterRoleSelectors": [{"matchLabels": {"part": "yes"}}]});
            vec![
                role("whole", json!({"aggregationRule": selector})),
                role("one", rules("pods")),
            ]
        },
        after: || {
            vec![
                role("two", rules("services")),
                wait(5),
                patch(
                    "/apis/rbac.authorization.k8s.io/v1/clusterroles/one",
                    rules("nodes"),
                ),
            ]
        },
        check: |world| {
            let whole = world.one("clusterroles", "whole")?["rules"].as_array();
            let resources: Vec<&Value> = whole
                .into_iter()
                .flatten()
                .map(|rule| &rule["resources"][0])
                .collect();
            equal("rules", &json!(resources), &json!(["nodes", "services"]))
        },
        ..PLAIN
    },
];

fn role(name: &str, more: Value) -> Step {
    create_in(
        "",
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        name,
        more,
    )
}

fn rules(resource: &str) -> Value {
    json!({"metadata": {"labels": {"part": "yes"}}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]})
}
