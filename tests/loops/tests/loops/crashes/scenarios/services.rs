//! Controllers of services and their addresses.

use serde_json::{Value, json};

use super::workloads::one_node;
use crate::crashes::hands::Hand;
use crate::crashes::scenario::{
    PLAIN, Scenario, Step, create, create_in, delete, node, patch, pod, wait,
};
use crate::crashes::world::{World, equal};

const SERVICES: &str = "/api/v1/namespaces/x/services";
const PODS: &str = "/api/v1/namespaces/x/pods";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";

pub const SCENARIOS: [Scenario; 5] = [
    Scenario {
        controller: "endpointslice-controller",
        company: &["garbage-collector-controller"],
        hands: &[Hand::Kubelet],
        before: one_node,
        after: pods_come_and_go,
        check: |world| {
            let slices = slices(world, "web");
            equal("slices", &json!(slices.len()), &json!(1))?;
            addresses("endpoints", &slices[0]["endpoints"], 1)?;
            equal(
                "slices of what is gone",
                &json!(self::slices(world, "old").len()),
                &json!(0),
            )
        },
        ..PLAIN
    },
    Scenario {
        controller: "endpoints-controller",
        hands: &[Hand::Kubelet],
        before: one_node,
        after: pods_come_and_go,
        check: |world| {
            let endpoints = world.one("endpoints", "web")?;
            addresses("addresses", &endpoints["subsets"][0]["addresses"], 1)?;
            equal(
                "endpoints",
                &json!(world.find("endpoints", "old")),
                &json!(null),
            )
        },
        ..PLAIN
    },
    Scenario {
        controller: "endpointslice-mirroring-controller",
        before: || {
            let ports = json!({"spec": {"ports": [{"port": 80}]}});
            vec![
                create("v1", "Service", "outside", ports.clone()),
                create("v1", "Service", "left", ports),
            ]
        },
        after: || {
            vec![
                create(
                    "v1",
                    "Endpoints",
                    "outside",
                    subsets(&["192.0.2.7", "192.0.2.8"]),
                ),
                create("v1", "Endpoints", "left", subsets(&["192.0.2.9"])),
                wait(20),
                patch(
                    "/api/v1/namespaces/x/endpoints/outside",
                    subsets(&["192.0.2.8"]),
                ),
                delete("/api/v1/namespaces/x/endpoints/left"),
            ]
        },
        check: |world| {
            let slices = slices(world, "outside");
            equal("slices", &json!(slices.len()), &json!(1))?;
            addresses("endpoints", &slices[0]["endpoints"], 1)?;
            equal(
                "slices of what is gone",
                &json!(self::slices(world, "left").len()),
                &json!(0),
            )
        },
        ..PLAIN
    },
    Scenario {
        controller: "service-cidr-controller",
        after: || {
            vec![
                create_in(
                    "",
                    "networking.k8s.io/v1",
                    "ServiceCIDR",
                    "more",
                    json!({"spec": {"cidrs": ["10.44.0.0/24"]}}),
                ),
                create_in(
                    "",
                    "networking.k8s.io/v1",
                    "ServiceCIDR",
                    "brief",
                    json!({"spec": {"cidrs": ["10.45.0.0/24"]}}),
                ),
                wait(5),
                delete(&format!("{RANGES}/brief")),
            ]
        },
        check: |world| {
            let range = world.one("servicecidrs", "more")?;
            equal(
                "ready",
                &range["status"]["conditions"][0]["status"],
                &json!("True"),
            )?;
            let held = json!(["networking.k8s.io/service-cidr-finalizer"]);
            equal("held", &range["metadata"]["finalizers"], &held)?;
            equal(
                "what was deleted",
                &json!(world.find("servicecidrs", "brief")),
                &json!(null),
            )
        },
        ..PLAIN
    },
    Scenario {
        controller: "service-lb-controller",
        before: || node("n1").into_iter().chain(node("n2")).collect(),
        after: || {
            let service = |port: u16| json!({"spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": port}]}});
            vec![
                create("v1", "Service", "first", service(80)),
                wait(5),
                create("v1", "Service", "second", service(80)),
                create("v1", "Service", "third", service(81)),
                wait(10),
                delete(&format!("{SERVICES}/first")),
            ]
        },
        check: |world| {
            for name in ["second", "third"] {
                let status = &world.one("services", name)?["status"];
                addresses(name, &status["loadBalancer"]["ingress"], 2)?;
            }
            Ok(())
        },
        ..PLAIN
    },
];

/// Two pods of a service, of which one goes, and a service that goes.
fn pods_come_and_go() -> Vec<Step> {
    let service = json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    vec![
        create("v1", "Service", "web", service.clone()),
        create("v1", "Service", "old", service),
        pod("a", "n1", json!({})),
        pod("b", "n1", json!({})),
        wait(10),
        delete(&format!("{PODS}/a")),
        delete(&format!("{SERVICES}/old")),
    ]
}

fn subsets(addresses: &[&str]) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]})
}

fn slices<'a>(world: &'a World, service: &str) -> Vec<&'a Value> {
    let all = world.all("endpointslices").iter();
    all.filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service)
        .collect()
}

fn addresses(what: &str, list: &Value, wanted: usize) -> Result<(), String> {
    let count = list.as_array().map_or(0, Vec::len);
    equal(what, &json!(count), &json!(wanted))
}
