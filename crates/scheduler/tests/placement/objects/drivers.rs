//! What drivers of volumes say, in its short form.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{ZONE, braces, merge, pair};

/// One of the kinds that drivers and their sidecars make; `None` for others.
pub fn object(kind: &str, name: &str, words: &[String]) -> Result<Option<Value>> {
    let Some(mut object) = blank(kind, name) else {
        return Ok(None);
    };
    for word in words {
        if let Some(more) = braces(word)? {
            merge(&mut object, more);
            continue;
        }
        let (field, value) = pair(word);
        match (kind, field) {
            ("driver", "tracks") => object["spec"]["storageCapacity"] = json!(true),
            ("driver", "prevents") => {
                object["spec"]["preventPodSchedulingIfMissing"] = json!(true);
            }
            ("csinode", driver) => {
                let mut driver = json!({"name": driver, "nodeID": name});
                if !value.is_empty() {
                    driver["allocatable"] = json!({"count": value.parse::<i32>()?});
                }
                let drivers = object["spec"]["drivers"].as_array_mut();
                drivers.context("its drivers")?.push(driver);
            }
            ("room", "zone") => object["nodeTopology"]["matchLabels"] = json!({ZONE: value}),
            ("room", "class") => object["storageClassName"] = json!(value),
            ("room", "size") => object["capacity"] = json!(value),
            ("room", "most") => object["maximumVolumeSize"] = json!(value),
            ("attached", "on") => object["spec"]["nodeName"] = json!(value),
            ("attached", "by") => object["spec"]["attacher"] = json!(value),
            _ => bail!("a {kind} has no {field}"),
        }
    }
    Ok(Some(object))
}

fn blank(kind: &str, name: &str) -> Option<Value> {
    let version = "storage.k8s.io/v1";
    Some(match kind {
        "driver" => json!({
            "apiVersion": version, "kind": "CSIDriver", "metadata": {"name": name}, "spec": {},
        }),
        "csinode" => json!({
            "apiVersion": version, "kind": "CSINode", "metadata": {"name": name}, "spec": {"drivers": []},
        }),
        "room" => json!({
            "apiVersion": version, "kind": "CSIStorageCapacity",
            "metadata": {"name": name, "namespace": "default"}, "storageClassName": "", "nodeTopology": {},
        }),
        "attached" => json!({
            "apiVersion": version, "kind": "VolumeAttachment", "metadata": {"name": name},
            "spec": {"attacher": "", "nodeName": "", "source": {"persistentVolumeName": name}},
            "status": {"attached": true},
        }),
        _ => return None,
    })
}
