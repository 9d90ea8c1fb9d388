//! Controllers of all kinds of objects, and of claims for devices.

use kube::api::PropagationPolicy;
use serde_json::{Value, json};

use super::workloads::{one_node, spec};
use crate::crashes::hands::Hand;
use crate::crashes::scenario::{PLAIN, Scenario, Step, create, create_in, delete, pod, wait};
use crate::crashes::world::equal;

pub const SCENARIOS: [Scenario; 4] = [
    Scenario {
        controller: "namespace-controller",
        hands: &[Hand::Kubelet],
        before: || {
            let mut steps = one_node();
            steps.push(create_in("", "v1", "Namespace", "y", json!({})));
            for kind in ["ConfigMap", "ServiceAccount", "Endpoints"] {
                steps.push(create_in("y", "v1", kind, "default", json!({})));
            }
            let Step::Create(mut pod) = pod("p", "n1", json!({})) else {
                unreachable!("a pod is created")
            };
            pod["metadata"]["namespace"] = "y".into();
            steps.push(Step::Create(pod));
            steps
        },
        after: || {
            vec![
                create("v1", "ConfigMap", "stays", json!({})),
                delete("/api/v1/namespaces/y"),
            ]
        },
        check: |world| {
            equal(
                "the namespace",
                &json!(world.find("namespaces", "y")),
                &json!(null),
            )?;
            for plural in ["configmaps", "serviceaccounts", "endpoints", "pods"] {
                let left = world
                    .all(plural)
                    .iter()
                    .filter(|one| one["metadata"]["namespace"] == "y");
                equal(plural, &json!(left.count()), &json!(0))?;
            }
            world.one("configmaps", "stays").map(drop)
        },
        ..PLAIN
    },
    Scenario {
        controller: "garbage-collector-controller",
        company: &["deployment-controller", "replicaset-controller"],
        hands: &[Hand::Scheduler, Hand::Kubelet],
        before: one_node,
        after: || {
            let named = |name: &str| {
                let mut object = spec(1);
                let labels = json!({"app": name});
                object["spec"]["selector"]["matchLabels"] = labels.clone();
                object["spec"]["template"]["metadata"]["labels"] = labels;
                create("apps/v1", "Deployment", name, object)
            };
            let gone = |name: &str, policy| {
                Step::Delete(
                    format!("/apis/apps/v1/namespaces/x/deployments/{name}"),
                    policy,
                )
            };
            let owner =
                json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "never"}]);
            vec![
                named("before"),
                named("after"),
                named("without"),
                named("stays"),
                Step::When(|world| equal("pods", &json!(world.all("pods").len()), &json!(4))),
                create(
                    "v1",
                    "ConfigMap",
                    "orphan",
                    json!({"metadata": {"ownerReferences": owner}}),
                ),
                gone("before", PropagationPolicy::Foreground),
                gone("after", PropagationPolicy::Background),
                gone("without", PropagationPolicy::Orphan),
            ]
        },
        check: |world| {
            equal(
                "deployments",
                &json!(world.all("deployments").len()),
                &json!(1),
            )?;
            let sets = world.all("replicasets");
            let mut owners: Vec<&Value> = sets
                .iter()
                .map(|set| &set["metadata"]["ownerReferences"][0]["name"])
                .collect();
            owners.sort_by_key(|owner| owner.to_string());
            equal("owners of sets", &json!(owners), &json!(["stays", null]))?;
            equal("pods", &json!(world.all("pods").len()), &json!(2))?;
            equal(
                "who never had an owner",
                &json!(world.find("configmaps", "orphan")),
                &json!(null),
            )
        },
        ..PLAIN
    },
    Scenario {
        controller: "storage-version-migrator-controller",
        before: || {
            ["a", "b", "c"]
                .map(|name| create("v1", "ConfigMap", name, json!({})))
                .into()
        },
        after: || {
            let spec = json!({"spec": {"resource": {"group": "", "resource": "configmaps"}}});
            vec![create_in(
                "",
                "storagemigration.k8s.io/v1",
                "StorageVersionMigration",
                "m",
                spec,
            )]
        },
        check: |world| {
            let conditions =
                world.one("storageversionmigrations", "m")?["status"]["conditions"].as_array();
            let is_so = |c: &&Value| c["type"] == "Succeeded" && c["status"] == "True";
            let done = conditions.into_iter().flatten().filter(is_so).count();
            equal("succeeded", &json!(done), &json!(1))
        },
        ..PLAIN
    },
    Scenario {
        controller: "resourceclaim-controller",
        not_stale: "a claim that is not seen yet is made twice, as its name is of chance (upstream's are, too)",
        company: &["garbage-collector-controller"],
        hands: &[Hand::Kubelet],
        before: || {
            let request = json!({"name": "r", "exactly": {"deviceClassName": "any"}});
            let template = json!({"spec": {"spec": {"devices": {"requests": [request]}}}});
            let mut steps = one_node();
            steps.push(create(
                "resource.k8s.io/v1",
                "ResourceClaimTemplate",
                "t",
                template,
            ));
            steps
        },
        after: || {
            let claims =
                ["a", "b"].map(|name| json!({"name": name, "resourceClaimTemplateName": "t"}));
            let more = json!({"spec": {"resourceClaims": claims}});
            vec![
                pod("stays", "", more.clone()),
                pod("goes", "", more),
                wait(10),
                delete("/api/v1/namespaces/x/pods/goes"),
            ]
        },
        check: |world| {
            let claims = world.all("resourceclaims");
            let mut names: Vec<&Value> = claims
                .iter()
                .map(|claim| &claim["metadata"]["name"])
                .collect();
            let statuses =
                world.one("pods", "stays")?["status"]["resourceClaimStatuses"].as_array();
            let mut told: Vec<&Value> = statuses
                .into_iter()
                .flatten()
                .map(|one| &one["resourceClaimName"])
                .collect();
            names.sort_by_key(|name| name.to_string());
            told.sort_by_key(|name| name.to_string());
            equal("two claims", &json!(names.len()), &json!(2))?;
            equal("claims that the pod has", &json!(told), &json!(names))
        },
        ..PLAIN
    },
];
