//! Objects, from the words of a scenario.
//!
//! | word | of | meaning |
//! |---|---|---|
//! | `cpu=1`, `memory=1Gi`, `x.io/gpu=1` | node, pod | what it has, what it asks for |
//! | `label:app=web` | node, pod, namespace | a label |
//! | `zone=x`, `bare` | node | its zone; without the label of its name |
//! | `taint:k=v:NoSchedule`, `cordoned` | node | |
//! | `image:web:1=300Mi` | node | an image that it has |
//! | `on=a`, `nominated=a` | pod | where it is, or is to be |
//! | `ns=x`, `priority=5`, `never` | pod | `never`: it preempts nobody |
//! | `started=10` | pod | second of its start |
//! | `port=80`, `image=web:1`, `owner=ReplicaSet/web` | pod | |
//! | `tolerate:k=v:NoSchedule`, `select:disk=ssd`, `like-node:5:disk=ssd` | pod | about nodes |
//! | `near:app=web@zone`, `apart:app=web@host` | pod | required of other pods |
//! | `like:5:app=web@zone`, `dislike:5:app=web@zone` | pod | preferred of other pods |
//! | `spread:1:zone:app=web`, `spread?:1:zone:app=web` | pod | a constraint, or a wish |
//! | `device:c` | pod | a claim of devices |
//!
//! A third part of a rule about other pods names their namespaces: `near:app=web@zone@ns=a,b`, `near:app=web@zone@team=x`.
//! `*` selects everything. JSON in braces ends a line, and is merged into the object.

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Service};
use knarr_scheduler::simulation::Object;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, String>;

/// An object of a cluster.
pub fn object(verb: &str, text: &str) -> Result<Object> {
    let (words, more) = split(text)?;
    let (name, words) = words.split_first().ok_or("no name")?;
    let namespaced = json!({"metadata": {"name": name, "namespace": "default"}});
    Ok(match verb {
        "node" => Object::Node(typed(node(name, words)?, &more)?),
        "namespace" => Object::Namespace(typed(namespace(name, words)?, &more)?),
        "service" => {
            let mut service = namespaced;
            service["spec"]["selector"] = labels(words.first().ok_or("no selector")?)?;
            Object::Service(typed::<Service>(service, &more)?)
        }
        "replicaset" => {
            let mut owner = namespaced;
            owner["spec"]["selector"] = selector(words.first().ok_or("no selector")?)?;
            Object::ReplicaSet(typed::<ReplicaSet>(owner, &more)?)
        }
        "budget" => {
            let mut budget = namespaced;
            budget["spec"]["selector"] = selector(words.first().ok_or("no selector")?)?;
            let allowed = words.get(1).and_then(|word| word.strip_prefix("allowed="));
            let allowed: i32 = number(allowed.ok_or("no allowed=")?)?;
            budget["status"] = json!({"disruptionsAllowed": allowed, "currentHealthy": 0,
                "desiredHealthy": 0, "expectedPods": 0});
            Object::PodDisruptionBudget(typed(budget, &more)?)
        }
        "deviceclass" => Object::DeviceClass(typed(device_class(name), &more)?),
        "deviceclaim" => Object::ResourceClaim(typed(device_claim(name, words)?, &more)?),
        "devices" => Object::ResourceSlice(typed(devices(name, words), &more)?),
        _ => return Err(format!("what is {verb}?")),
    })
}

/// Of all devices.
fn device_class(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {}})
}

/// The name of a class, and how many devices of it.
fn device_claim(name: &str, words: &[&str]) -> Result<Value> {
    let class = words.first().ok_or("no class")?;
    let count: i64 = number(words.get(1).copied().unwrap_or("1"))?;
    let request = json!({"name": "r", "exactly": {"deviceClassName": class, "count": count}});
    Ok(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"devices": {"requests": [request]}},
    }))
}

/// Those of a node, by their names.
fn devices(node: &str, words: &[&str]) -> Value {
    let devices: Vec<Value> = words.iter().map(|name| json!({"name": name})).collect();
    json!({
        "metadata": {"name": node},
        "spec": {
            "driver": "d.io", "nodeName": node, "devices": devices,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
        },
    })
}

fn node(name: &str, words: &[&str]) -> Result<Value> {
    let mut labels = json!({"kubernetes.io/hostname": name});
    let mut room = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    let mut node =
        json!({"metadata": {"name": name}, "spec": {"taints": []}, "status": {"images": []}});
    for word in words {
        match parts(word) {
            ("cordoned", "") => node["spec"]["unschedulable"] = json!(true),
            ("bare", "") => labels = json!({}),
            ("zone", zone) => labels["topology.kubernetes.io/zone"] = json!(zone),
            ("label", label) => set(&mut labels, label)?,
            ("taint", taint) => push(&mut node["spec"]["taints"], taint_of(taint)?),
            ("image", image) => {
                let (image, size) = image.rsplit_once('=').ok_or("no size of the image")?;
                let megabytes: i64 = number(size.trim_end_matches("Mi"))?;
                let image = json!({"names": [image], "sizeBytes": megabytes << 20});
                push(&mut node["status"]["images"], image);
            }
            (resource, amount) => room[resource] = json!(amount),
        }
    }
    node["metadata"]["labels"] = labels;
    node["status"]["allocatable"] = room;
    Ok(node)
}

fn namespace(name: &str, words: &[&str]) -> Result<Value> {
    let mut labels = json!({"kubernetes.io/metadata.name": name});
    for word in words {
        match parts(word) {
            ("label", label) => set(&mut labels, label)?,
            _ => return Err(format!("what is {word}?")),
        }
    }
    Ok(json!({"metadata": {"name": name, "labels": labels}}))
}

/// A pod, as JSON.
pub fn pod(text: &str) -> Result<Value> {
    let (words, more) = split(text)?;
    let (name, words) = words.split_first().ok_or("no name")?;
    let mut pod = json!({
        "metadata": {"name": name, "uid": name, "namespace": "default", "labels": {}},
        "spec": {"containers": [{"name": "c", "image": "none", "resources": {"requests": {}}}]},
        "status": {},
    });
    for word in words {
        let (key, value) = parts(word);
        if !about_pod(&mut pod, key, value)? && !about_placement(&mut pod["spec"], key, value)? {
            if value.is_empty() {
                return Err(format!("what is {word}?"));
            }
            pod["spec"]["containers"][0]["resources"]["requests"][key] = json!(value);
        }
    }
    merge(&mut pod, &more);
    Ok(pod)
}

fn about_pod(pod: &mut Value, key: &str, value: &str) -> Result<bool> {
    match key {
        "ns" => pod["metadata"]["namespace"] = json!(value),
        "label" => set(&mut pod["metadata"]["labels"], value)?,
        "on" => pod["spec"]["nodeName"] = json!(value),
        "nominated" => pod["status"]["nominatedNodeName"] = json!(value),
        "priority" => pod["spec"]["priority"] = json!(number::<i32>(value)?),
        "never" => pod["spec"]["preemptionPolicy"] = json!("Never"),
        "device" => {
            if pod["spec"]["resourceClaims"].is_null() {
                pod["spec"]["resourceClaims"] = json!([]);
            }
            let claim = json!({"name": value, "resourceClaimName": value});
            push(&mut pod["spec"]["resourceClaims"], claim);
        }
        "started" => {
            let second: u32 = number(value)?;
            pod["status"]["startTime"] = json!(format!("2026-01-01T00:00:{second:02}Z"));
        }
        "owner" => {
            let (kind, name) = value.split_once('/').ok_or("an owner is KIND/NAME")?;
            pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": kind, "name": name,
                "uid": name, "controller": true}]);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn about_placement(spec: &mut Value, key: &str, value: &str) -> Result<bool> {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    match key {
        "port" => {
            let port: u16 = number(value)?;
            let ports = &mut spec["containers"][0]["ports"];
            push(ports, json!({"containerPort": port, "hostPort": port}));
        }
        "image" => spec["containers"][0]["image"] = json!(value),
        "select" => set(&mut spec["nodeSelector"], value)?,
        "tolerate" => push(&mut spec["tolerations"], toleration(value)?),
        "like-node" => {
            let (weight, label) = weighted(value)?;
            let (key, value) = label.split_once('=').ok_or("a label is KEY=VALUE")?;
            let expression = json!({"key": key, "operator": "In", "values": [value]});
            let term = json!({"weight": weight, "preference": {"matchExpressions": [expression]}});
            push(&mut spec["affinity"]["nodeAffinity"][PREFERRED], term);
        }
        "near" => push(&mut spec["affinity"]["podAffinity"][REQUIRED], term(value)?),
        "apart" => push(
            &mut spec["affinity"]["podAntiAffinity"][REQUIRED],
            term(value)?,
        ),
        "like" | "dislike" => {
            let (weight, rest) = weighted(value)?;
            let kind = if key == "like" {
                "podAffinity"
            } else {
                "podAntiAffinity"
            };
            let term = json!({"weight": weight, "podAffinityTerm": term(rest)?});
            push(&mut spec["affinity"][kind][PREFERRED], term);
        }
        "spread" | "spread?" => {
            let (skew, rest) = weighted(value)?;
            let (key_of, select) = rest.split_once(':').ok_or("spread:SKEW:KEY:SELECTOR")?;
            let way = if key == "spread" {
                "DoNotSchedule"
            } else {
                "ScheduleAnyway"
            };
            let constraint = json!({"maxSkew": skew, "topologyKey": topology(key_of),
                "whenUnsatisfiable": way, "labelSelector": selector(select)?});
            push(&mut spec["topologySpreadConstraints"], constraint);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// `SELECTOR@KEY`, and namespaces after another `@`.
fn term(text: &str) -> Result<Value> {
    let mut parts = text.split('@');
    let (select, key) = (parts.next(), parts.next());
    let mut term = json!({
        "labelSelector": selector(select.unwrap_or_default())?,
        "topologyKey": topology(key.ok_or("a rule is SELECTOR@KEY")?),
    });
    match parts.next().map(|part| (part.strip_prefix("ns="), part)) {
        Some((Some(names), _)) => {
            term["namespaces"] = json!(names.split(',').collect::<Vec<_>>());
        }
        Some((None, labels)) => term["namespaceSelector"] = selector(labels)?,
        None => {}
    }
    Ok(term)
}

fn topology(key: &str) -> &str {
    match key {
        "host" => "kubernetes.io/hostname",
        "zone" => "topology.kubernetes.io/zone",
        other => other,
    }
}

fn selector(text: &str) -> Result<Value> {
    match text {
        "*" => Ok(json!({})),
        _ => Ok(json!({"matchLabels": labels(text)?})),
    }
}

fn labels(text: &str) -> Result<Value> {
    let mut labels = json!({});
    for label in text.split(',') {
        set(&mut labels, label)?;
    }
    Ok(labels)
}

fn taint_of(text: &str) -> Result<Value> {
    let (label, effect) = text.rsplit_once(':').ok_or("a taint is KEY=VALUE:EFFECT")?;
    let (key, value) = label.split_once('=').ok_or("a taint is KEY=VALUE:EFFECT")?;
    Ok(json!({"key": key, "value": value, "effect": effect}))
}

/// `KEY=VALUE:EFFECT`, or a key alone, whatever its value and effect.
fn toleration(text: &str) -> Result<Value> {
    match text.contains('=') {
        true => taint_of(text),
        false => Ok(json!({"key": text, "operator": "Exists"})),
    }
}

fn weighted(text: &str) -> Result<(i32, &str)> {
    let (weight, rest) = text.split_once(':').ok_or("no number before a colon")?;
    Ok((number(weight)?, rest))
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn set(labels: &mut Value, label: &str) -> Result<()> {
    let (key, value) = label.split_once('=').ok_or("a label is KEY=VALUE")?;
    labels[key] = json!(value);
    Ok(())
}

fn push(list: &mut Value, value: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(value),
        None => *list = json!([value]),
    }
}

/// What comes before the first `:` or `=`, and what comes after it.
fn parts(word: &str) -> (&str, &str) {
    let at = word.find([':', '=']).unwrap_or(word.len());
    let rest = word.get(at + 1..).unwrap_or_default();
    (&word[..at], rest)
}

/// The words of a line, and the JSON at its end.
fn split(text: &str) -> Result<(Vec<&str>, Value)> {
    let at = text.find('{').unwrap_or(text.len());
    let (words, more) = text.split_at(at);
    let more = match more {
        "" => Value::Object(Map::new()),
        json => serde_json::from_str(json).map_err(|error| format!("{error}: {json}"))?,
    };
    Ok((words.split_whitespace().collect(), more))
}

/// Objects key by key, lists element by element.
fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(more)) => {
            for (index, value) in more.iter().enumerate() {
                match into.get_mut(index) {
                    Some(old) => merge(old, value),
                    None => into.push(value.clone()),
                }
            }
        }
        (into, more) => *into = more.clone(),
    }
}

fn typed<T: DeserializeOwned>(mut object: Value, more: &Value) -> Result<Box<T>> {
    merge(&mut object, more);
    serde_json::from_value(object.clone()).map_err(|error| format!("{error}: {object}"))
}
