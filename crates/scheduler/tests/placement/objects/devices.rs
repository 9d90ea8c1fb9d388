//! Devices and claims of them, in their short form.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{braces, merge};

const VERSION: &str = "resource.k8s.io/v1";

/// A class, a claim of devices or those of a node; `None` for other kinds.
pub fn object(kind: &str, name: &str, words: &[String]) -> Result<Option<Value>> {
    let mut plain = Vec::new();
    let mut more = Vec::new();
    for word in words {
        match braces(word)? {
            Some(object) => more.push(object),
            None => plain.push(word.as_str()),
        }
    }
    let mut object = match kind {
        "deviceclass" => json!({
            "apiVersion": VERSION, "kind": "DeviceClass", "metadata": {"name": name}, "spec": {},
        }),
        "devices" => {
            let devices: Vec<Value> = plain.iter().map(|name| json!({"name": name})).collect();
            json!({
                "apiVersion": VERSION, "kind": "ResourceSlice", "metadata": {"name": name},
                "spec": {
                    "driver": "d.io", "nodeName": name, "devices": devices,
                    "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
                },
            })
        }
        "deviceclaim" => {
            let (class, count) = plain
                .split_first()
                .map_or(("", None), |(c, r)| (*c, r.first()));
            let count = count.map_or(Ok(1), |count| count.parse::<i64>());
            let count = count.context("no number of devices")?;
            let requests = match class {
                "" => json!([]),
                class => json!([{"name": "r", "exactly": {
                    "deviceClassName": class, "allocationMode": "ExactCount", "count": count,
                }}]),
            };
            json!({
                "apiVersion": VERSION, "kind": "ResourceClaim",
                "metadata": {"name": name, "namespace": "default", "uid": name},
                "spec": {"devices": {"requests": requests}},
            })
        }
        _ => return Ok(None),
    };
    more.into_iter().for_each(|more| merge(&mut object, more));
    Ok(Some(object))
}
