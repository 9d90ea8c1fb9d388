//! What pods share with their node: namespaces, ports, its addresses in probes, its processes on Windows.

use std::collections::BTreeSet;

use knarr_meta::object::{bool_at, i64_at, list_at, str_at};

use super::{
    Violation,
    pod::{Container, Pod, Values, containers, plural, quoted, setters},
};

/// None of the node's namespaces is shared.
pub fn namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| pod.bool(field))
        .map(|field| format!("{field}=true"))
        .collect();
    (!shared.is_empty()).then(|| Violation {
        reason: "host namespaces",
        detail: shared.join(", "),
    })
}

/// No port of the node is taken.
pub fn ports(pod: &Pod<'_>) -> Option<Violation> {
    let mut bad = Vec::new();
    // Told in the order of their texts, as upstream.
    let mut taken = BTreeSet::new();
    for container in pod.containers() {
        let ports = list_at(container.value, &["ports"]).iter();
        let ports = ports.filter_map(|port| i64_at(port, &["hostPort"]));
        let ports: Vec<String> = ports
            .filter(|port| *port != 0)
            .map(|port| port.to_string())
            .collect();
        if !ports.is_empty() {
            bad.push(container.name);
            taken.extend(ports);
        }
    }
    (!bad.is_empty()).then(|| Violation {
        reason: "hostPort",
        detail: format!(
            "{} {} {} {}",
            containers(&bad),
            plural("uses", "use", bad.len()),
            plural("hostPort", "hostPorts", taken.len()),
            taken.into_iter().collect::<Vec<_>>().join(", ")
        ),
    })
}

/// Where a container names a host to connect to.
const HANDLERS: [&[&str]; 5] = [
    &["livenessProbe"],
    &["readinessProbe"],
    &["startupProbe"],
    &["lifecycle", "postStart"],
    &["lifecycle", "preStop"],
];

fn hosts<'p>(container: &Container<'p>) -> impl Iterator<Item = &'p str> + use<'p> {
    let value = container.value;
    let hosts = HANDLERS.iter().flat_map(move |handler| {
        ["httpGet", "tcpSocket"].map(|action| {
            let path: Vec<&str> = [*handler, &[action, "host"]].concat();
            str_at(value, &path)
        })
    });
    hosts.filter(|host| !host.is_empty())
}

/// The kubelet connects to the pod, nowhere else.
pub fn probes_and_lifecycle(pod: &Pod<'_>) -> Option<Violation> {
    let mut bad = Values::new();
    let mut named = Values::new();
    for container in pod.containers() {
        for host in hosts(&container) {
            bad.insert(container.name);
            named.insert(host);
        }
    }
    let bad: Vec<&str> = bad.into_iter().collect();
    (!bad.is_empty()).then(|| Violation {
        reason: "probe or lifecycle host",
        detail: format!(
            "{} {} {} {}",
            containers(&bad),
            plural("uses", "use", bad.len()),
            plural(
                "probe or lifecycle host",
                "probe or lifecycle hosts",
                named.len()
            ),
            quoted(named)
        ),
    })
}

/// None runs as a process of a Windows node.
pub fn windows_process(pod: &Pod<'_>) -> Option<Violation> {
    let field = "windowsOptions";
    let on_host = |options| bool_at(options, &["hostProcess"]);
    let bad = pod.named(|container| container.security_struct(field).is_some_and(on_host));
    let setters = setters(pod.security(field).is_some_and(on_host), &bad);
    (!setters.is_empty()).then(|| Violation {
        reason: "hostProcess",
        detail: format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"),
    })
}
