//! The objects that are not about rights.

use std::net::IpAddr;

use knarr_api::networking::service_cidr;
use knarr_meta::{object, prefix::Prefix, time};
use serde_json::{Value, json};

use super::{Config, Error, Merge, Wanted, kind};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];
/// Tells the controllers of endpoints which Service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What exists is fine as it is.
fn keep(_stored: &mut Value, _wanted: &Value) -> Merge {
    Merge::Fine
}

/// Sets `fields` as wanted, and labels and annotations that are missing.
pub(super) fn set(stored: &mut Value, wanted: &Value, fields: &[&str]) -> Merge {
    let mut changed = super::reconcile::add_metadata(stored, wanted);
    for field in fields {
        if stored.get(field) != wanted.get(field)
            && let Some(stored) = stored.as_object_mut()
            && let Some(value) = wanted.get(field)
        {
            stored.insert((*field).into(), value.clone());
            changed = true;
        }
    }
    if changed { Merge::Changed } else { Merge::Fine }
}

/// Only what is ours in a Service: ports and addresses. The second address may come and go with the second range of a cluster.
fn merge_service(stored: &mut Value, wanted: &Value) -> Merge {
    if object::list_at(stored, &["spec", "clusterIPs"])
        != object::list_at(wanted, &["spec", "clusterIPs"])
    {
        return Merge::Replace;
    }
    let same = {
        let view = |service: &Value| -> Vec<Value> {
            let port = |port: &Value| {
                json!([
                    port["name"],
                    port["port"],
                    port["protocol"],
                    port["targetPort"]
                ])
            };
            object::list_at(service, &["spec", "ports"])
                .iter()
                .map(port)
                .collect()
        };
        view(stored) == view(wanted)
    };
    let mut changed = super::reconcile::add_metadata(stored, wanted);
    if !same && let Some(spec) = object::child_mut(stored, "spec") {
        spec.insert("ports".into(), wanted["spec"]["ports"].clone());
        changed = true;
    }
    if changed { Merge::Changed } else { Merge::Fine }
}

fn merge_endpoints(stored: &mut Value, wanted: &Value) -> Merge {
    set(stored, wanted, &["subsets"])
}

fn merge_slice(stored: &mut Value, wanted: &Value) -> Merge {
    if stored.get("addressType") != wanted.get("addressType") {
        return Merge::Replace;
    }
    set(stored, wanted, &["endpoints", "ports"])
}

pub(super) fn namespaces() -> Result<Vec<Wanted>, Error> {
    let kind = kind("", "v1", "namespaces")?;
    let wanted = NAMESPACES.into_iter().map(|name| Wanted {
        kind,
        namespace: String::new(),
        name: name.into(),
        object: json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        merge: keep,
    });
    Ok(wanted.collect())
}

pub(super) fn priority_classes() -> Result<Vec<Wanted>, Error> {
    let kind = kind("scheduling.k8s.io", "v1", "priorityclasses")?;
    let wanted = PRIORITY_CLASSES
        .into_iter()
        .map(|(name, value, description)| Wanted {
            kind,
            namespace: String::new(),
            name: name.into(),
            object: json!({
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": value,
                "description": description,
                "preemptionPolicy": "PreemptLowerPriority",
            }),
            merge: keep,
        });
    Ok(wanted.collect())
}

/// The class of claims that name none: a directory on their pod's node. What its users change of it stays.
pub(super) fn storage_classes() -> Result<Vec<Wanted>, Error> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "local-path",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "rancher.io/local-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    Ok(vec![Wanted {
        kind: kind("storage.k8s.io", "v1", "storageclasses")?,
        namespace: String::new(),
        name: "local-path".into(),
        object: class,
        merge: keep,
    }])
}

/// The ranges of the cluster's Services as an object. Whether it may be used is told in its status: see [`set_ready`].
pub(super) fn service_cidr(config: &Config) -> Result<Wanted, Error> {
    let ranges: Vec<String> = config.service_cidrs.iter().map(Prefix::to_string).collect();
    Ok(Wanted {
        kind: kind("networking.k8s.io", "v1", "servicecidrs")?,
        namespace: String::new(),
        name: service_cidr::DEFAULT.into(),
        object: json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": service_cidr::DEFAULT},
            "spec": {"cidrs": ranges},
        }),
        merge: merge_service_cidr,
    })
}

/// The range cannot be changed in place.
fn merge_service_cidr(stored: &mut Value, wanted: &Value) -> Merge {
    match stored.get("spec") == wanted.get("spec") {
        true => Merge::Fine,
        false => Merge::Replace,
    }
}

/// Says that Services get addresses of the range; false where that was said.
pub(super) fn set_ready(range: &mut Value) -> bool {
    let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
    if object::list_at(range, &["status", "conditions"])
        .iter()
        .any(ready)
    {
        return false;
    }
    let Some(status) = object::child_mut(range, "status") else {
        return false;
    };
    let condition = json!({
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": time::now_seconds(),
    });
    status.insert("conditions".into(), json!([condition]));
    true
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv6() { "IPv6" } else { "IPv4" }
}

/// `default/kubernetes` with its Endpoints and EndpointSlice: all servers there are.
pub(super) fn own_service(config: &Config, servers: &[IpAddr]) -> Result<Vec<Wanted>, Error> {
    let at = |kind, object: Value, merge| Wanted {
        kind,
        namespace: "default".into(),
        name: "kubernetes".into(),
        object,
        merge,
    };
    let ip = config.service_ip.to_string();
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": ip,
            "clusterIPs": [ip],
            "ipFamilies": [family(config.service_ip)],
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.port}],
        },
    });
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": servers.iter().map(|ip| json!({"ip": ip.to_string()})).collect::<Vec<_>>(),
            "ports": [{"name": "https", "port": config.port, "protocol": "TCP"}],
        }],
    });
    let ports = json!([{"name": "https", "port": config.port, "protocol": "TCP"}]);
    let slice = slice(
        "default",
        "kubernetes",
        family(config.advertise_ip),
        servers,
        ports,
    );
    Ok(vec![
        at(kind("", "v1", "services")?, service, merge_service),
        at(kind("", "v1", "endpoints")?, endpoints, merge_endpoints),
        at(
            kind("discovery.k8s.io", "v1", "endpointslices")?,
            slice,
            merge_slice,
        ),
    ])
}

fn slice(
    namespace: &str,
    service: &str,
    family: &str,
    addresses: &[IpAddr],
    ports: Value,
) -> Value {
    let endpoint =
        |ip: &IpAddr| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}});
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": service, "namespace": namespace, "labels": {SERVICE_NAME: service}},
        "addressType": family,
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": ports,
    })
}

/// Endpoints may be anywhere but here, or a Service could reach into its node.
fn may_be_endpoint(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(link_local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

/// `kube-system/kube-dns`: a Service without selector, for the DNS server that runs on the node.
pub(super) fn dns_service(config: &Config) -> Result<Vec<Wanted>, Error> {
    let at = |kind, object: Value, merge| Wanted {
        kind,
        namespace: "kube-system".into(),
        name: "kube-dns".into(),
        object,
        merge,
    };
    let ips: Vec<String> = config.cluster_dns.iter().map(IpAddr::to_string).collect();
    let families = config.cluster_dns.iter().map(|ip| family(*ip));
    let target = config.dns_endpoint.map_or(53, |(_, port)| port);
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": ips.first(),
            "clusterIPs": ips,
            "ipFamilies": families.collect::<Vec<_>>(),
            "ipFamilyPolicy": "PreferDualStack",
            "sessionAffinity": "None",
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": target},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": target},
            ],
        },
    });
    let mut wanted = vec![at(kind("", "v1", "services")?, service, merge_service)];
    if let Some((address, port)) = config
        .dns_endpoint
        .filter(|(address, _)| may_be_endpoint(*address))
    {
        let ports = json!([
            {"name": "dns", "port": port, "protocol": "UDP"},
            {"name": "dns-tcp", "port": port, "protocol": "TCP"},
        ]);
        let slice = slice(
            "kube-system",
            "kube-dns",
            family(address),
            &[address],
            ports,
        );
        wanted.push(at(
            kind("discovery.k8s.io", "v1", "endpointslices")?,
            slice,
            merge_slice,
        ));
    }
    Ok(wanted)
}
