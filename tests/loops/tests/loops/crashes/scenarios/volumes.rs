//! Controllers of volumes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::workloads::one_node;
use crate::crashes::hands::Hand;
use crate::crashes::scenario::{
    PLAIN, Scenario, Step, create, create_in, delete, patch, pod, wait,
};
use crate::crashes::world::{World, equal};

const CLAIMS: &str = "/api/v1/namespaces/x/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const PODS: &str = "/api/v1/namespaces/x/pods";
const CLASSES: &str = "/apis/storage.k8s.io/v1/volumeattributesclasses";

pub const SCENARIOS: [Scenario; 7] = [
    Scenario {
        controller: "persistentvolume-binder-controller",
        company: &["persistentvolumeclaim-protection-controller"],
        before: || ["v1", "v2", "v3", "v4"].map(|name| volume(name, "")).into(),
        after: || {
            vec![
                claim("first", "", ""),
                claim("second", "", ""),
                Step::When(|world| bound(world, "first")),
                delete(&format!("{CLAIMS}/first")),
                claim("third", "", ""),
            ]
        },
        check: |world| {
            bound(world, "second")?;
            bound(world, "third")?;
            let phase = |volume: &Value| {
                volume["status"]["phase"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            let mut phases: Vec<String> =
                world.all("persistentvolumes").iter().map(phase).collect();
            phases.sort_unstable();
            equal(
                "phases",
                &json!(phases),
                &json!(["Available", "Bound", "Bound", "Released"]),
            )
        },
        ..PLAIN
    },
    Scenario {
        controller: "persistentvolume-attach-detach-controller",
        company: &["persistentvolume-binder-controller"],
        hands: &[Hand::Kubelet, Hand::Attacher],
        before: || {
            let mut steps = one_node();
            for name in ["a", "b"] {
                steps.extend([
                    volume(&format!("v-{name}"), ""),
                    claim(name, "", &format!("v-{name}")),
                ]);
            }
            steps
        },
        after: || {
            vec![
                pod("p", "n1", uses("a")),
                pod("q", "n1", uses("b")),
                Step::When(|world| attached(world, 2)),
                delete(&format!("{PODS}/p")),
            ]
        },
        check: |world| attached(world, 1),
        ..PLAIN
    },
    Scenario {
        controller: "persistentvolume-expander-controller",
        company: &["persistentvolume-binder-controller"],
        tells_only: true,
        before: || {
            let class = json!({"provisioner": "d.example", "allowVolumeExpansion": true});
            vec![
                create_in("", "storage.k8s.io/v1", "StorageClass", "fast", class),
                volume("v", "fast"),
                claim("c", "fast", "v"),
            ]
        },
        after: || {
            let larger = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
            vec![
                Step::When(|world| bound(world, "c")),
                patch(&format!("{CLAIMS}/c"), larger),
            ]
        },
        check: |world| {
            let told = |event: &&Value| {
                event["reason"] == "ExternalExpanding" && event["involvedObject"]["name"] == "c"
            };
            let told = world.all("events").iter().filter(told).count();
            equal("told", &json!(told > 0), &json!(true))
        },
        ..PLAIN
    },
    Scenario {
        controller: "persistentvolumeclaim-protection-controller",
        hands: &[Hand::Kubelet],
        before: one_node,
        after: || {
            vec![
                claim("used", "", ""),
                claim("held", "", ""),
                claim("free", "", ""),
                pod("p", "n1", uses("used")),
                pod("q", "n1", uses("held")),
                delete(&format!("{CLAIMS}/free")),
                delete(&format!("{CLAIMS}/used")),
                delete(&format!("{CLAIMS}/held")),
                wait(20),
                delete(&format!("{PODS}/p")),
            ]
        },
        check: |world| {
            let names = names(world, "persistentvolumeclaims");
            equal("claims", &json!(names), &json!(["held"]))
        },
        ..PLAIN
    },
    Scenario {
        controller: "persistentvolume-protection-controller",
        before: || vec![volume("used", ""), volume("held", ""), volume("other", "")],
        after: || {
            let phase = |name: &str, phase: &str| {
                patch(
                    &format!("{VOLUMES}/{name}/status"),
                    json!({"status": {"phase": phase}}),
                )
            };
            vec![
                phase("used", "Bound"),
                phase("held", "Bound"),
                patch(
                    &format!("{VOLUMES}/other"),
                    json!({"metadata": {"finalizers": null}}),
                ),
                delete(&format!("{VOLUMES}/used")),
                delete(&format!("{VOLUMES}/held")),
                wait(20),
                phase("used", "Released"),
            ]
        },
        check: |world| {
            equal(
                "volumes",
                &json!(names(world, "persistentvolumes")),
                &json!(["held", "other"]),
            )?;
            let other = world.one("persistentvolumes", "other")?;
            equal(
                "held",
                &other["metadata"]["finalizers"],
                &json!(["kubernetes.io/pv-protection"]),
            )
        },
        ..PLAIN
    },
    Scenario {
        controller: "volumeattributesclass-protection-controller",
        company: &["persistentvolumeclaim-protection-controller"],
        before: || {
            let class = |name: &str| {
                create_in(
                    "",
                    "storage.k8s.io/v1",
                    "VolumeAttributesClass",
                    name,
                    json!({"driverName": "d.example", "parameters": {"a": "b"}}),
                )
            };
            let Step::Create(mut named) = claim("c", "", "") else {
                unreachable!("a claim is created")
            };
            named["spec"]["storageClassName"] = "csi".into();
            named["spec"]["volumeAttributesClassName"] = "used".into();
            vec![
                class("used"),
                class("free"),
                class("other"),
                Step::Create(named),
            ]
        },
        after: || {
            vec![
                wait(5),
                delete(&format!("{CLASSES}/used")),
                delete(&format!("{CLASSES}/free")),
                wait(20),
                delete(&format!("{CLAIMS}/c")),
            ]
        },
        check: |world| {
            let names = names(world, "volumeattributesclasses");
            equal("classes", &json!(names), &json!(["other"]))?;
            let other = world.one("volumeattributesclasses", "other")?;
            let held = json!(["kubernetes.io/vac-protection"]);
            equal("held", &other["metadata"]["finalizers"], &held)
        },
        ..PLAIN
    },
    Scenario {
        controller: "ephemeral-volume-controller",
        company: &[
            "garbage-collector-controller",
            "persistentvolumeclaim-protection-controller",
        ],
        hands: &[Hand::Kubelet],
        before: one_node,
        after: || {
            let of = |name: &str| {
                json!({"name": name, "ephemeral": {"volumeClaimTemplate": {"spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}})
            };
            let more = json!({"spec": {"volumes": [of("data"), of("logs")]}});
            vec![
                pod("p", "n1", more.clone()),
                pod("q", "n1", more),
                wait(10),
                delete(&format!("{PODS}/q")),
            ]
        },
        check: |world| {
            let names = names(world, "persistentvolumeclaims");
            equal("claims", &json!(names), &json!(["p-data", "p-logs"]))
        },
        ..PLAIN
    },
];

fn volume(name: &str, class: &str) -> Step {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": class,
        "csi": {"driver": "d.example", "volumeHandle": name}});
    create_in("", "v1", "PersistentVolume", name, json!({"spec": spec}))
}

fn claim(name: &str, class: &str, volume: &str) -> Step {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "resources": {"requests": {"storage": "1Gi"}}});
    if !volume.is_empty() {
        spec["volumeName"] = volume.into();
    }
    create("v1", "PersistentVolumeClaim", name, json!({"spec": spec}))
}

fn uses(claim: &str) -> Value {
    json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}})
}

/// A claim and its volume name each other, and nobody else has it.
fn bound(world: &World, name: &str) -> Result<(), String> {
    let claim = world.one("persistentvolumeclaims", name)?;
    equal("phase", &claim["status"]["phase"], &json!("Bound"))?;
    let volumes = world.all("persistentvolumes").iter();
    let is_its = |volume: &&Value| volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"];
    let names: Vec<&Value> = volumes
        .filter(is_its)
        .map(|volume| &volume["metadata"]["name"])
        .collect();
    equal(
        "its volumes",
        &json!(names),
        &json!([claim["spec"]["volumeName"]]),
    )
}

fn attached(world: &World, wanted: usize) -> Result<(), String> {
    let all = world.all("volumeattachments").iter();
    let attached = all.filter(|one| one["status"]["attached"] == true).count();
    equal("attached", &json!(attached), &json!(wanted))?;
    equal(
        "attachments",
        &json!(world.all("volumeattachments").len()),
        &json!(wanted),
    )?;
    let told = world.one("nodes", "n1")?["status"]["volumesAttached"]
        .as_array()
        .map_or(0, Vec::len);
    equal("told", &json!(told), &json!(wanted))
}

fn names<'a>(world: &'a World, plural: &str) -> BTreeSet<&'a str> {
    let all = world.all(plural).iter();
    all.filter_map(|object| object["metadata"]["name"].as_str())
        .collect()
}
