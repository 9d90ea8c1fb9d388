//! Defaults of a PodSpec, as upstream's `SetDefaults_PodSpec` and what it calls.

use knarr_meta::Quantity;
use serde_json::{Map, Value, json};

pub(crate) use crate::core::amounts::canonicalize_resources;
use crate::{
    core::{persistent_volume_claim::default_spec, pod_spec::image, volume_sources},
    tree::{child, default_number, default_str, default_value, existing, items, text},
};

const MODE_0644: i64 = 0o644;

/// Fills a spec, of a pod or of a template.
pub(crate) fn default_pod_spec(spec: &mut Map<String, Value>) {
    default_str(spec, "dnsPolicy", "ClusterFirst");
    default_str(spec, "restartPolicy", "Always");
    default_str(spec, "schedulerName", "default-scheduler");
    default_value(spec, "terminationGracePeriodSeconds", 30);
    default_value(spec, "securityContext", Map::new());
    sync_service_account(spec);
    for volume in items(spec, "volumes") {
        default_volume(volume);
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(spec, list) {
            default_container(container);
        }
    }
    if let Some(overhead) = existing(spec, "overhead") {
        canonicalize_resources(overhead);
    }
}

/// Keeps the old name of the field in step with the new one.
fn sync_service_account(spec: &mut Map<String, Value>) {
    match (
        text(spec, "serviceAccountName"),
        text(spec, "serviceAccount"),
    ) {
        ("", "") => {}
        ("", old) => {
            let name = old.to_owned();
            spec.insert("serviceAccountName".to_owned(), name.into());
        }
        (name, old) if name != old => {
            let name = name.to_owned();
            spec.insert("serviceAccount".to_owned(), name.into());
        }
        _ => {}
    }
}

/// What a pod gets beyond a template: requests, ports of the node, links.
pub(crate) fn default_pod(spec: &mut Map<String, Value>) {
    default_pod_spec(spec);
    requests_from_limits(spec);
    default_value(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        host_ports(spec);
    }
}

/// On the node's network a container's port is the node's.
fn host_ports(spec: &mut Map<String, Value>) {
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            for port in items(container, "ports") {
                if let Some(number) = port.get("containerPort").and_then(Value::as_i64) {
                    default_number(port, "hostPort", number);
                }
            }
        }
    }
}

/// What is limited is requested too.
fn requests_from_limits(spec: &mut Map<String, Value>) {
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            let Some(resources) = existing(container, "resources") else {
                continue;
            };
            let Some(Value::Object(limits)) = resources.get("limits").cloned() else {
                continue;
            };
            if let Some(requests) = child(resources, "requests") {
                for (name, quantity) in limits {
                    requests.entry(name).or_insert(quantity);
                }
            }
        }
    }
}

fn canonicalize_quantity(map: &mut Map<String, Value>, field: &str) {
    if let Some(value) = map.get_mut(field) {
        let text = match &*value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return,
        };
        if let Ok(quantity) = Quantity::parse(&text) {
            *value = quantity.to_string().into();
        }
    }
}

fn default_container(container: &mut Map<String, Value>) {
    if text(container, "imagePullPolicy").is_empty() {
        let policy = pull_policy(text(container, "image"));
        container.insert("imagePullPolicy".to_owned(), policy.into());
    }
    default_str(container, "terminationMessagePath", "/dev/termination-log");
    default_str(container, "terminationMessagePolicy", "File");
    for port in items(container, "ports") {
        default_str(port, "protocol", "TCP");
    }
    for variable in items(container, "env") {
        if let Some(source) = existing(variable, "valueFrom") {
            default_field_ref(source);
            default_divisor(source);
        }
    }
    if let Some(resources) = child(container, "resources") {
        for list in ["limits", "requests"] {
            if let Some(list) = existing(resources, list) {
                canonicalize_resources(list);
            }
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = existing(container, probe) {
            default_probe(probe);
        }
    }
    if let Some(lifecycle) = existing(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = existing(lifecycle, hook) {
                default_http_get(hook);
            }
        }
    }
}

/// Images of tag `latest`, said or implied, are pulled each time.
fn pull_policy(image: &str) -> &'static str {
    match image::tag(image) {
        Some("latest") => "Always",
        _ => "IfNotPresent",
    }
}

fn default_field_ref(source: &mut Map<String, Value>) {
    if let Some(field) = existing(source, "fieldRef") {
        default_str(field, "apiVersion", "v1");
    }
}

/// Upstream serves an absent divisor as "0".
fn default_divisor(source: &mut Map<String, Value>) {
    if let Some(resource) = existing(source, "resourceFieldRef") {
        default_value(resource, "divisor", "0");
        canonicalize_quantity(resource, "divisor");
    }
}

fn default_http_get(handler: &mut Map<String, Value>) {
    if let Some(http) = existing(handler, "httpGet") {
        default_str(http, "path", "/");
        default_str(http, "scheme", "HTTP");
    }
}

fn default_probe(probe: &mut Map<String, Value>) {
    default_number(probe, "timeoutSeconds", 1);
    default_number(probe, "periodSeconds", 10);
    default_number(probe, "successThreshold", 1);
    default_number(probe, "failureThreshold", 3);
    default_http_get(probe);
    if let Some(grpc) = existing(probe, "grpc") {
        default_value(grpc, "service", "");
    }
}

fn default_volume(volume: &mut Map<String, Value>) {
    let has_source = volume
        .iter()
        .any(|(field, value)| field != "name" && !value.is_null());
    if !has_source {
        volume.insert("emptyDir".to_owned(), json!({}));
        return;
    }
    for field in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = existing(volume, field) {
            default_value(source, "defaultMode", MODE_0644);
            for item in items(source, "items") {
                default_field_ref(item);
                default_divisor(item);
            }
            for projection in items(source, "sources") {
                default_projection(projection);
            }
        }
    }
    volume_sources::default(volume);
    if let Some(image) = existing(volume, "image") {
        let policy = pull_policy(text(image, "reference"));
        default_str(image, "pullPolicy", policy);
    }
    if let Some(empty_dir) = existing(volume, "emptyDir") {
        canonicalize_quantity(empty_dir, "sizeLimit");
    }
    if let Some(claim) = existing(volume, "ephemeral")
        .and_then(|ephemeral| existing(ephemeral, "volumeClaimTemplate"))
        .and_then(|template| existing(template, "spec"))
    {
        default_spec(claim);
    }
}

fn default_projection(projection: &mut Map<String, Value>) {
    if let Some(token) = existing(projection, "serviceAccountToken") {
        default_value(token, "expirationSeconds", 3600);
    }
    if let Some(downward) = existing(projection, "downwardAPI") {
        for item in items(downward, "items") {
            default_field_ref(item);
            default_divisor(item);
        }
    }
}
