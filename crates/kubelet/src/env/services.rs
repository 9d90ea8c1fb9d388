//! The variables every container gets for the Services it may want to reach (docker-links style).

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Service;

/// The API server's own Service: its variables are always there, whatever `enableServiceLinks` says.
const MASTER_NAMESPACE: &str = "default";
const MASTER_NAME: &str = "kubernetes";

/// Variables for `kubernetes` and, when `links` is set, for every Service of `namespace` that has a cluster address.
pub(crate) fn service_variables(
    services: &[Arc<Service>],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let (Some(of), Some(name)) = (&service.metadata.namespace, &service.metadata.name) else {
            continue;
        };
        if !has_address(service) {
            continue;
        }
        if of == MASTER_NAMESPACE && name == MASTER_NAME {
            chosen.entry(name).or_insert(service);
        } else if links && of == namespace {
            chosen.insert(name, service);
        }
    }
    let mut variables = BTreeMap::new();
    for (name, service) in chosen {
        add(&mut variables, name, service);
    }
    variables
}

fn has_address(service: &Service) -> bool {
    let address = service
        .spec
        .as_ref()
        .and_then(|s| s.cluster_ip.as_deref())
        .unwrap_or_default();
    !address.is_empty() && address != "None"
}

fn add(variables: &mut BTreeMap<String, String>, name: &str, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let Some(address) = &spec.cluster_ip else {
        return;
    };
    let Some(first) = spec.ports.iter().flatten().next() else {
        return;
    };
    let prefix = variable(name);
    let host = if address.contains(':') {
        format!("[{address}]")
    } else {
        address.clone()
    };
    variables.insert(format!("{prefix}_SERVICE_HOST"), address.clone());
    variables.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    for port in spec.ports.iter().flatten() {
        if let Some(name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            let key = format!("{prefix}_SERVICE_PORT_{}", variable(name));
            variables.insert(key, port.port.to_string());
        }
    }
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let lower = protocol.to_lowercase();
        let url = format!("{lower}://{host}:{}", port.port);
        if index == 0 {
            variables.insert(format!("{prefix}_PORT"), url.clone());
        }
        let base = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        variables.insert(format!("{base}_PROTO"), lower);
        variables.insert(format!("{base}_PORT"), port.port.to_string());
        variables.insert(format!("{base}_ADDR"), address.clone());
        variables.insert(base, url);
    }
}

fn variable(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}
