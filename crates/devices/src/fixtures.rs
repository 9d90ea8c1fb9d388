//! Objects for tests, written as JSON.

use std::{sync::Arc, time::Instant};

use k8s_openapi::api::{
    core::v1::Node,
    resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice},
};
use serde_json::{Value, json};

use crate::{
    Allocator, Budget, Error, Inventory, Selectors, Usage, claim, taints::DeviceTaintRule,
};

pub(crate) const DRIVER: &str = "gpu.example.com";

/// A node named `name` with a label `zone`.
pub(crate) fn node(name: &str, zone: &str) -> Node {
    let node = json!({"metadata": {"name": name, "labels": {"zone": zone}}});
    serde_json::from_value(node).expect("a node")
}

/// A slice of the pool `pool`, of one slice unless `more` says otherwise.
pub(crate) fn slice(name: &str, pool: &str, devices: Value, more: Value) -> Arc<ResourceSlice> {
    let mut spec = json!({
        "driver": DRIVER,
        "pool": {"name": pool, "generation": 1, "resourceSliceCount": 1},
        "devices": devices,
    });
    merge(&mut spec, more);
    let slice = json!({"metadata": {"name": name}, "spec": spec});
    Arc::new(serde_json::from_value(slice).expect("a slice"))
}

/// A class without selectors, unless `spec` has some.
pub(crate) fn class(name: &str, spec: Value) -> Arc<DeviceClass> {
    let class = json!({"metadata": {"name": name}, "spec": spec});
    Arc::new(serde_json::from_value(class).expect("a class"))
}

/// A claim with `devices` as its specification.
pub(crate) fn claim_of(name: &str, devices: Value) -> Arc<ResourceClaim> {
    let claim = json!({
        "metadata": {"namespace": "x", "name": name, "uid": format!("uid-{name}")},
        "spec": {"devices": devices},
    });
    Arc::new(serde_json::from_value(claim).expect("a claim"))
}

/// A request of the class `gpu`.
pub(crate) fn request(name: &str, more: Value) -> Value {
    let mut exactly = json!({"deviceClassName": "gpu"});
    merge(&mut exactly, more);
    json!({"name": name, "exactly": exactly})
}

pub(crate) fn rule(spec: Value) -> Arc<DeviceTaintRule> {
    let rule = json!({"metadata": {"name": "rule"}, "spec": spec});
    Arc::new(serde_json::from_value(rule).expect("a rule"))
}

/// A cluster to allocate from.
#[derive(Default)]
pub(crate) struct World {
    pub slices: Vec<Arc<ResourceSlice>>,
    pub rules: Vec<Arc<DeviceTaintRule>>,
    pub classes: Vec<Arc<DeviceClass>>,
    pub usage: Usage,
    pub steps: Option<u64>,
    pub until: Option<Instant>,
    pub selectors: Selectors,
}

impl World {
    /// With the class `gpu`, which selects every device of the driver.
    pub fn new(slices: Vec<Arc<ResourceSlice>>) -> Self {
        let expression = format!("device.driver == '{DRIVER}'");
        let selectors = json!({"selectors": [{"cel": {"expression": expression}}]});
        Self {
            slices,
            classes: vec![class("gpu", selectors)],
            ..Self::default()
        }
    }

    pub fn allocate(
        &self,
        node: &Node,
        claims: &[Arc<ResourceClaim>],
    ) -> Result<Option<Vec<AllocationResult>>, Error> {
        let inventory = Arc::new(Inventory::new(self.slices.clone(), &self.rules));
        let usage = Arc::new(self.usage.clone());
        let classes = |name: &str| {
            let mut classes = self.classes.iter();
            let found = classes.find(|class| class.metadata.name.as_deref() == Some(name));
            found.cloned()
        };
        let mut budget = Budget {
            steps: self.steps.unwrap_or(100_000),
            until: self.until,
        };
        let selectors = &self.selectors;
        let allocator = Allocator::new(inventory, usage, claims, &classes, selectors, &budget)?;
        allocator.allocate(node, &mut budget)
    }

    /// What came of it: `request=device` for each device, claims between `|`, or why there is nothing.
    pub fn told(&self, node: &Node, claims: &[Arc<ResourceClaim>]) -> String {
        match self.allocate(node, claims) {
            Err(error) => format!("error: {error}"),
            Ok(None) => "none".to_owned(),
            Ok(Some(all)) => all.iter().map(show).collect::<Vec<_>>().join(" | "),
        }
    }
}

fn show(allocation: &AllocationResult) -> String {
    let results = claim::results(allocation).iter();
    let shown = results.map(|result| {
        let consumed = result.consumed_capacity.iter().flatten();
        let consumed: String = consumed
            .map(|(name, amount)| format!("({name} {})", amount.0))
            .collect();
        let admin = if result.admin_access == Some(true) {
            "!"
        } else {
            ""
        };
        format!("{}={}{consumed}{admin}", result.request, result.device)
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn merge(target: &mut Value, more: Value) {
    match (target, more) {
        (Value::Object(target), Value::Object(more)) => {
            for (key, value) in more {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, more) => *target = more,
    }
}
