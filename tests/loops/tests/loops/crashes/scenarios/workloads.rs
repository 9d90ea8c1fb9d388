//! Controllers of pods.

use serde_json::{Value, json};

use crate::crashes::hands::Hand;
use crate::crashes::scenario::{PLAIN, Scenario, Step, create, node, patch, template};
use crate::crashes::world::{World, equal};

const HANDS: &[Hand] = &[Hand::Scheduler, Hand::Kubelet];
const APPS: &str = "/apis/apps/v1/namespaces/x";

pub const SCENARIOS: [Scenario; 5] = [
    Scenario {
        controller: "replicaset-controller",
        hands: HANDS,
        before: one_node,
        after: || {
            vec![
                create("apps/v1", "ReplicaSet", "web", spec(4)),
                Step::When(|world| status(world, "replicasets", "readyReplicas", 4)),
                patch(
                    &format!("{APPS}/replicasets/web"),
                    json!({"spec": {"replicas": 2}}),
                ),
            ]
        },
        check: |world| {
            status(world, "replicasets", "readyReplicas", 2)?;
            status(world, "replicasets", "replicas", 2)?;
            pods(world, "ReplicaSet", "web", 2)
        },
        ..PLAIN
    },
    Scenario {
        controller: "replicationcontroller-controller",
        hands: HANDS,
        before: one_node,
        after: || {
            let mut object = spec(3);
            object["spec"]["selector"] = json!({"app": "web"});
            vec![
                create("v1", "ReplicationController", "web", object),
                Step::When(|world| status(world, "replicationcontrollers", "readyReplicas", 3)),
                patch(
                    "/api/v1/namespaces/x/replicationcontrollers/web",
                    json!({"spec": {"replicas": 1}}),
                ),
            ]
        },
        check: |world| {
            status(world, "replicationcontrollers", "replicas", 1)?;
            pods(world, "ReplicationController", "web", 1)
        },
        ..PLAIN
    },
    Scenario {
        controller: "deployment-controller",
        company: &["replicaset-controller"],
        hands: HANDS,
        before: one_node,
        after: || {
            vec![
                create("apps/v1", "Deployment", "web", spec(2)),
                Step::When(|world| status(world, "deployments", "availableReplicas", 2)),
                patch(&format!("{APPS}/deployments/web"), image("j")),
            ]
        },
        check: |world| {
            for field in [
                "replicas",
                "updatedReplicas",
                "availableReplicas",
                "observedGeneration",
            ] {
                status(world, "deployments", field, 2)?;
            }
            let sets = world.owned("replicasets", "Deployment", "web");
            let mut wanted: Vec<_> = sets
                .iter()
                .map(|set| set["spec"]["replicas"].as_u64())
                .collect();
            wanted.sort_unstable();
            equal("replicas of its sets", &json!(wanted), &json!([0, 2]))?;
            equal("pods", &json!(world.all("pods").len()), &json!(2))
        },
        ..PLAIN
    },
    Scenario {
        controller: "daemonset-controller",
        hands: HANDS,
        before: || node("n1").into_iter().chain(node("n2")).collect(),
        after: || {
            let mut object = spec(0);
            object["spec"]
                .as_object_mut()
                .map(|spec| spec.remove("replicas"));
            vec![
                create("apps/v1", "DaemonSet", "web", object),
                Step::When(|world| status(world, "daemonsets", "numberReady", 2)),
                patch(&format!("{APPS}/daemonsets/web"), image("j")),
            ]
        },
        check: |world| {
            for field in [
                "desiredNumberScheduled",
                "updatedNumberScheduled",
                "numberAvailable",
            ] {
                status(world, "daemonsets", field, 2)?;
            }
            equal(
                "revisions",
                &json!(world.owned("controllerrevisions", "DaemonSet", "web").len()),
                &json!(2),
            )?;
            pods(world, "DaemonSet", "web", 2)
        },
        ..PLAIN
    },
    Scenario {
        controller: "statefulset-controller",
        hands: HANDS,
        before: one_node,
        after: || {
            let mut object = spec(2);
            object["spec"]["serviceName"] = "web".into();
            object["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
            object["spec"]["persistentVolumeClaimRetentionPolicy"] =
                json!({"whenScaled": "Delete"});
            vec![
                create("apps/v1", "StatefulSet", "web", object),
                Step::When(|world| status(world, "statefulsets", "readyReplicas", 2)),
                patch(&format!("{APPS}/statefulsets/web"), image("j")),
                Step::When(|world| status(world, "statefulsets", "updatedReplicas", 2)),
                patch(
                    &format!("{APPS}/statefulsets/web"),
                    json!({"spec": {"replicas": 1}}),
                ),
            ]
        },
        check: |world| {
            for field in ["replicas", "readyReplicas", "currentReplicas"] {
                status(world, "statefulsets", field, 1)?;
            }
            let claim = world.one("persistentvolumeclaims", "data-web-1")?;
            equal(
                "owner of the claim",
                &claim["metadata"]["ownerReferences"][0]["name"],
                &json!("web-1"),
            )?;
            pods(world, "StatefulSet", "web", 1)
        },
        ..PLAIN
    },
];

pub fn one_node() -> Vec<Step> {
    node("n1")
}

pub fn spec(replicas: u8) -> Value {
    let labels = json!({"app": "web"});
    json!({"spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template(&labels)}})
}

fn image(name: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}})
}

pub fn job() -> Value {
    let mut template = template(&json!({"app": "sums"}));
    template["spec"]["restartPolicy"] = "Never".into();
    json!({"spec": {"completions": 3, "parallelism": 2, "template": template}})
}

/// A number in the status of the one object of a resource.
fn status(world: &World, plural: &str, field: &str, wanted: u64) -> Result<(), String> {
    let object = world
        .all(plural)
        .first()
        .ok_or_else(|| format!("no {plural}"))?;
    equal(field, &object["status"][field], &json!(wanted))
}

pub fn pods(world: &World, kind: &str, name: &str, wanted: usize) -> Result<(), String> {
    let count = world.owned("pods", kind, name).len();
    equal("pods", &json!(count), &json!(wanted))?;
    equal("all pods", &json!(world.all("pods").len()), &json!(wanted))
}
