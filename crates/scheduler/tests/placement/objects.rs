//! Objects in their short form.

mod devices;
mod drivers;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn key(short: &str) -> &str {
    match short {
        "zone" => ZONE,
        "host" => HOST,
        other => other,
    }
}

/// `key=value` of a word; a value of nothing where there is none.
fn pair(word: &str) -> (&str, &str) {
    word.split_once('=').unwrap_or((word, ""))
}

fn labels(text: &str) -> Value {
    let (key, value) = pair(text);
    json!({key: value})
}

/// Puts fields into an object; lists grow.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => into.extend(from),
        (into, from) => *into = from,
    }
}

/// YAML in braces.
fn braces(word: &str) -> Result<Option<Value>> {
    if !word.starts_with('{') {
        return Ok(None);
    }
    let value = serde_saphyr::from_str(word).context("what is in braces")?;
    Ok(Some(value))
}

fn is_resource(name: &str) -> bool {
    name.contains('/') || name.starts_with("hugepages-")
}

fn push(into: &mut Value, item: Value) {
    match into {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

pub fn node(name: &str, words: &[String]) -> Result<Value> {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {HOST: name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
    });
    for word in words {
        if let Some(more) = braces(word)? {
            merge(&mut node, more);
            continue;
        }
        let (field, value) = pair(word);
        let allocatable = &mut node["status"]["allocatable"];
        match field {
            "cordoned" => node["spec"]["unschedulable"] = json!(true),
            "zone" => node["metadata"]["labels"][ZONE] = json!(value),
            "cpu" | "pods" => allocatable[field] = json!(value),
            "mem" => allocatable["memory"] = json!(value),
            "disk" => allocatable["ephemeral-storage"] = json!(value),
            "taint" => {
                let (said, effect) = value.rsplit_once(':').context("no effect")?;
                let (key, value) = pair(said);
                let taint = json!({"key": key, "value": value, "effect": effect});
                push(&mut node["spec"]["taints"], taint);
            }
            "image" => {
                let (name, mebibytes) = value.rsplit_once('/').context("no size")?;
                let bytes = mebibytes.parse::<i64>()? * 1024 * 1024;
                let image = json!({"names": [name], "sizeBytes": bytes});
                push(&mut node["status"]["images"], image);
            }
            "feature" => push(&mut node["status"]["declaredFeatures"], json!(value)),
            _ if is_resource(field) => allocatable[field] = json!(value),
            _ => match field.strip_prefix("label.") {
                Some(label) => node["metadata"]["labels"][label] = json!(value),
                None => bail!("a node has no {field}"),
            },
        }
    }
    Ok(node)
}

pub fn pod(name: &str, words: &[String]) -> Result<Value> {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {}},
        "spec": {"containers": [{"name": "c"}]},
        "status": {},
    });
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some(more) = braces(word)? {
            merge(&mut pod, more);
        } else if word == "on" {
            pod["spec"]["nodeName"] = json!(words.next().context("on which node?")?);
        } else if let Some((rule, arguments)) = call(word) {
            pod_rule(&mut pod["spec"], rule, &arguments)?;
        } else {
            pod_field(&mut pod, word)?;
        }
    }
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    pod["metadata"]["uid"] = json!(format!("{namespace}/{name}"));
    Ok(pod)
}

/// `name(a, b)`
fn call(word: &str) -> Option<(&str, Vec<&str>)> {
    let (name, arguments) = word.strip_suffix(')')?.split_once('(')?;
    Some((name, arguments.split(',').map(str::trim).collect()))
}

fn pod_rule(spec: &mut Value, rule: &str, arguments: &[&str]) -> Result<()> {
    let selector = |text: &str| json!({"matchLabels": labels(text)});
    let affinity = match rule {
        "near" | "likes" => "podAffinity",
        _ => "podAntiAffinity",
    };
    match (rule, arguments) {
        ("near" | "apart", [meant, topology]) => {
            let term = json!({"labelSelector": selector(meant), "topologyKey": key(topology)});
            push(&mut spec["affinity"][affinity][REQUIRED], term);
        }
        ("likes" | "avoids", [weight, meant, topology]) => {
            let term = json!({"labelSelector": selector(meant), "topologyKey": key(topology)});
            let weighted = json!({"weight": weight.parse::<i32>()?, "podAffinityTerm": term});
            push(&mut spec["affinity"][affinity][PREFERRED], weighted);
        }
        ("spread" | "spread?", [skew, topology, meant]) => {
            let when = match rule {
                "spread" => "DoNotSchedule",
                _ => "ScheduleAnyway",
            };
            let constraint = json!({
                "maxSkew": skew.parse::<i32>()?, "topologyKey": key(topology),
                "whenUnsatisfiable": when, "labelSelector": selector(meant),
            });
            push(&mut spec["topologySpreadConstraints"], constraint);
        }
        _ => bail!("no such rule"),
    }
    Ok(())
}

fn pod_field(pod: &mut Value, word: &str) -> Result<()> {
    let (field, value) = pair(word);
    let container = "/spec/containers/0";
    let mut ask = |resource: &str| {
        if let Some(container) = pod.pointer_mut(container) {
            container["resources"]["requests"][resource] = json!(value);
        }
    };
    match field {
        "cpu" => ask("cpu"),
        "mem" => ask("memory"),
        "disk" => ask("ephemeral-storage"),
        "ns" => pod["metadata"]["namespace"] = json!(value),
        "prio" => pod["spec"]["priority"] = json!(value.parse::<i32>()?),
        "app" => pod["metadata"]["labels"]["app"] = json!(value),
        "never" => pod["spec"]["preemptionPolicy"] = json!("Never"),
        "ending" => pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
        "started" => pod["status"]["startTime"] = json!(format!("2026-01-01T{value}:00Z")),
        "nominated" => pod["status"]["nominatedNodeName"] = json!(value),
        "scheduler" => pod["spec"]["schedulerName"] = json!(value),
        "tolerate" => push(&mut pod["spec"]["tolerations"], toleration(value)),
        "image" => pod["spec"]["containers"][0]["image"] = json!(value),
        "port" => push(&mut pod["spec"]["containers"][0]["ports"], port(value)?),
        "device" => {
            let claim = json!({"name": value, "resourceClaimName": value});
            push(&mut pod["spec"]["resourceClaims"], claim);
        }
        "gate" => push(&mut pod["spec"]["schedulingGates"], json!({"name": value})),
        "ephemeral" => {
            let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
            let volume =
                json!({"name": value, "ephemeral": {"volumeClaimTemplate": {"spec": spec}}});
            push(&mut pod["spec"]["volumes"], volume);
        }
        "restart-all" => {
            let rule = json!({"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [7]}});
            push(
                &mut pod["spec"]["containers"][0]["restartPolicyRules"],
                rule,
            );
        }
        "claim" => {
            let volume = json!({"name": value, "persistentVolumeClaim": {"claimName": value}});
            push(&mut pod["spec"]["volumes"], volume);
        }
        "owner" => {
            let (kind, name) = value.split_once('/').context("no name of an owner")?;
            let version = match kind {
                "ReplicationController" => "v1",
                _ => "apps/v1",
            };
            let owner = json!({"apiVersion": version, "kind": kind, "name": name, "uid": name, "controller": true});
            push(&mut pod["metadata"]["ownerReferences"], owner);
        }
        _ => {
            if let Some(label) = field.strip_prefix("label.") {
                pod["metadata"]["labels"][label] = json!(value);
            } else if let Some(label) = field.strip_prefix("select.") {
                pod["spec"]["nodeSelector"][key(label)] = json!(value);
            } else if is_resource(field) {
                ask(field);
            } else {
                bail!("a pod has no {field}");
            }
        }
    }
    Ok(())
}

fn toleration(text: &str) -> Value {
    if text == "*" {
        return json!({"operator": "Exists"});
    }
    let (said, effect) = text.split_once(':').unwrap_or((text, ""));
    let mut toleration = match said.split_once('=') {
        Some((key, value)) => json!({"key": key, "operator": "Equal", "value": value}),
        None => json!({"key": said, "operator": "Exists"}),
    };
    if !effect.is_empty() {
        toleration["effect"] = json!(effect);
    }
    toleration
}

fn port(text: &str) -> Result<Value> {
    let (address, rest) = text.rsplit_once(':').unwrap_or(("", text));
    let (number, protocol) = rest.split_once('/').unwrap_or((rest, "TCP"));
    let number = number.parse::<u16>()?;
    let mut port = json!({"containerPort": number, "hostPort": number, "protocol": protocol});
    if !address.is_empty() {
        port["hostIP"] = json!(address);
    }
    Ok(port)
}

fn blank(kind: &str) -> Result<Value> {
    Ok(match kind {
        "service" => json!({"apiVersion": "v1", "kind": "Service", "spec": {}}),
        "controller" => json!({"apiVersion": "v1", "kind": "ReplicationController", "spec": {}}),
        "replicaset" => json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {}}),
        "statefulset" => json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {}}),
        "namespace" => json!({"apiVersion": "v1", "kind": "Namespace"}),
        "budget" => json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "spec": {}, "status": {"disruptionsAllowed": 0},
        }),
        "claim" => json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Pending"},
        }),
        "volume" => json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}},
            "status": {"phase": "Available"},
        }),
        "class" => json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "provisioner": "example.com/p", "volumeBindingMode": "Immediate",
        }),
        other => bail!("no such kind: {other}"),
    })
}

/// What is neither a node nor a pod.
pub fn other(kind: &str, name: &str, words: &[String]) -> Result<Value> {
    if let Some(object) = drivers::object(kind, name, words)? {
        return Ok(object);
    }
    if let Some(object) = devices::object(kind, name, words)? {
        return Ok(object);
    }
    let mut object = blank(kind)?;
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name));
    metadata.insert("uid".to_owned(), json!(name));
    if !matches!(kind, "namespace" | "volume" | "class") {
        metadata.insert("namespace".to_owned(), json!("default"));
    }
    object["metadata"] = Value::Object(metadata);
    for word in words {
        if let Some(more) = braces(word)? {
            merge(&mut object, more);
            continue;
        }
        let (field, value) = pair(word);
        match field {
            "of" => {
                object["spec"]["selector"] = match kind {
                    "service" | "controller" => labels(value),
                    _ => json!({"matchLabels": labels(value)}),
                };
            }
            "ns" => object["metadata"]["namespace"] = json!(value),
            "allows" => object["status"]["disruptionsAllowed"] = json!(value.parse::<i32>()?),
            "class" => object["spec"]["storageClassName"] = json!(value),
            "mode" => object["spec"]["accessModes"] = json!([value]),
            "waits" => object["volumeBindingMode"] = json!("WaitForFirstConsumer"),
            "by" => object["provisioner"] = json!(value),
            "csi" => {
                let spec = object["spec"].as_object_mut().context("a specification")?;
                spec.remove("hostPath");
                spec.insert(
                    "csi".to_owned(),
                    json!({"driver": value, "volumeHandle": name}),
                );
            }
            "manual" => object["provisioner"] = json!("kubernetes.io/no-provisioner"),
            "size" if kind == "volume" => object["spec"]["capacity"]["storage"] = json!(value),
            "size" => object["spec"]["resources"]["requests"]["storage"] = json!(value),
            "bound" => bind(&mut object, kind, value),
            "at" | "only" => place(&mut object, field, value),
            _ => match field.strip_prefix("label.") {
                Some(label) => object["metadata"]["labels"][label] = json!(value),
                None => bail!("a {kind} has no {field}"),
            },
        }
    }
    Ok(object)
}

fn bind(object: &mut Value, kind: &str, to: &str) {
    object["status"]["phase"] = json!("Bound");
    if kind == "volume" {
        object["spec"]["claimRef"] = json!({"namespace": "default", "name": to, "uid": to});
    } else {
        object["spec"]["volumeName"] = json!(to);
        object["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
    }
}

/// Where a volume is, or where a class makes volumes.
fn place(object: &mut Value, field: &str, value: &str) {
    let (label, value) = pair(value);
    let label = key(label);
    if field == "at" {
        let expression = json!({"key": label, "operator": "In", "values": [value]});
        object["spec"]["nodeAffinity"] =
            json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}});
    } else {
        object["allowedTopologies"] =
            json!([{"matchLabelExpressions": [{"key": label, "values": [value]}]}]);
    }
}
