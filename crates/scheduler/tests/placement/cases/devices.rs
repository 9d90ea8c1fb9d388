//! Devices, their classes, and claims of them, for some of the clusters.

use serde_json::{Value, json};

use super::Cases;

const DRIVER: &str = "d.example.com";
/// Of all devices, of those with much memory, and of those that stand for an extended resource.
const CLASSES: [&str; 3] = ["any", "big", "extended"];
const VERSION: &str = "resource.k8s.io/v1";

/// Adds a claim to a pod.
fn claim(pod: &mut Value, name: &str) {
    let claims = &mut pod["spec"]["resourceClaims"];
    let claim = json!({"name": name, "resourceClaimName": name});
    match claims.as_array_mut() {
        Some(claims) => claims.push(claim),
        None => *claims = json!([claim]),
    }
}

impl Cases {
    /// What there is, and what the pod wants of it.
    pub fn devices(&mut self, nodes: usize, pod: &mut Value) -> Vec<Value> {
        let mut objects: Vec<Value> = CLASSES.map(|name| self.class(name)).into();
        let mut free = Vec::new();
        for node in 0..nodes {
            let count = self.random.usize(..=3);
            if count > 0 {
                let node = format!("n{node}");
                free.extend((0..count).map(|device| (node.clone(), format!("d{device}"))));
                objects.push(self.slice(&node, count));
            }
        }
        let namespace = pod["metadata"]["namespace"].clone();
        let mut names = Vec::new();
        for number in 0..self.random.usize(1..=3) {
            let name = format!("devices{number}");
            let mut made = self.device_claim(&name, &namespace);
            if self.chance(40) && !free.is_empty() {
                let (node, device) = free.swap_remove(self.random.usize(..free.len()));
                made["status"] = allocated(&node, &device);
            }
            names.push(name);
            objects.push(made);
        }
        for _ in 0..self.random.usize(1..=2) {
            if !names.is_empty() {
                let name = names.swap_remove(self.random.usize(..names.len()));
                claim(pod, &name);
            }
        }
        if self.chance(4) {
            claim(pod, "missing");
        }
        if self.chance(15) {
            let requests = &mut pod["spec"]["containers"][0]["resources"]["requests"];
            requests["example.com/device"] = json!("1");
        }
        objects
    }

    fn class(&mut self, name: &str) -> Value {
        let spec = match name {
            "big" => json!({"selectors": [{"cel": {
                "expression": format!("device.attributes['{DRIVER}'].memory >= 8"),
            }}]}),
            "extended" => json!({"extendedResourceName": "example.com/device"}),
            _ => json!({}),
        };
        json!({"apiVersion": VERSION, "kind": "DeviceClass", "metadata": {"name": name}, "spec": spec})
    }

    fn slice(&mut self, node: &str, count: usize) -> Value {
        let mut devices = Vec::new();
        for device in 0..count {
            let memory = self.one(&[4, 8, 16]);
            let bus = self.one(&["x", "y"]);
            let mut device = json!({
                "name": format!("d{device}"),
                "attributes": {"memory": {"int": memory}, "bus": {"string": bus}},
            });
            if self.chance(15) {
                device["taints"] = json!([{"key": "broken", "effect": "NoSchedule"}]);
            }
            devices.push(device);
        }
        json!({
            "apiVersion": VERSION, "kind": "ResourceSlice", "metadata": {"name": node},
            "spec": {
                "driver": DRIVER, "nodeName": node, "devices": devices,
                "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            },
        })
    }

    fn exactly(&mut self) -> Value {
        let class = self.one(&["any", "any", "big", "extended", "gone"]);
        let mut exactly = match self.chance(15) {
            true => json!({"deviceClassName": class, "allocationMode": "All"}),
            false => {
                let count = self.random.i64(1..=2);
                json!({"deviceClassName": class, "allocationMode": "ExactCount", "count": count})
            }
        };
        if self.chance(15) {
            let expression = format!("device.attributes['{DRIVER}'].bus == 'x'");
            exactly["selectors"] = json!([{"cel": {"expression": expression}}]);
        }
        if self.chance(25) {
            exactly["tolerations"] = json!([{"key": "broken", "operator": "Exists"}]);
        }
        exactly
    }

    fn device_claim(&mut self, name: &str, namespace: &Value) -> Value {
        let mut requests = Vec::new();
        for number in 0..self.random.usize(1..=2) {
            let mut request = json!({"name": format!("r{number}")});
            if self.chance(20) {
                let (mut first, mut second) = (self.exactly(), self.exactly());
                first["name"] = json!("first");
                second["name"] = json!("second");
                request["firstAvailable"] = json!([first, second]);
            } else {
                request["exactly"] = self.exactly();
            }
            requests.push(request);
        }
        let mut devices = json!({"requests": requests});
        // Upstream's cycle ends with an error where all devices are asked for and differ.
        let all = devices.to_string().contains("\"All\"");
        if self.chance(20) && !all {
            devices["constraints"] = json!([{"matchAttribute": format!("{DRIVER}/bus")}]);
        }
        json!({
            "apiVersion": VERSION, "kind": "ResourceClaim",
            "metadata": {"name": name, "namespace": namespace, "uid": name},
            "spec": {"devices": devices},
        })
    }
}

/// The status of a claim that has a device, and another pod that uses it.
fn allocated(node: &str, device: &str) -> Value {
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    json!({
        "allocation": {
            "devices": {"results": [{"request": "r0", "driver": DRIVER, "pool": node, "device": device}]},
            "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]},
        },
        "reservedFor": [{"resource": "pods", "name": "other", "uid": "other"}],
    })
}
