//! Taints of devices: those of slices, and those that rules of administrators add.

use k8s_openapi::{
    ClusterResourceScope, Metadata, Resource,
    api::resource::v1::{DeviceTaint, DeviceToleration},
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use serde::{Deserialize, Serialize};

pub const NO_SCHEDULE: &str = "NoSchedule";
pub const NO_EXECUTE: &str = "NoExecute";

/// Whether a toleration is for a taint. What an effect means is for the caller to know.
pub fn tolerates(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let set = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
    let (effect, key) = (set(&toleration.effect), set(&toleration.key));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref() {
        None | Some("" | "Equal") => set(&toleration.value) == set(&taint.value),
        Some("Exists") => true,
        Some(_) => false,
    }
}

/// Whether a taint keeps new claims off its device.
pub(crate) fn prevents(taint: &DeviceTaint, tolerations: &[DeviceToleration]) -> bool {
    let acts = taint.effect == NO_SCHEDULE || taint.effect == NO_EXECUTE;
    acts && !tolerations
        .iter()
        .any(|toleration| tolerates(toleration, taint))
}

/// `resource.k8s.io/v1` DeviceTaintRule, which is newer than the types of the workspace's `k8s-openapi`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceTaintRule {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: DeviceTaintRuleSpec,
    #[serde(default)]
    pub status: DeviceTaintRuleStatus,
}

/// Which devices get which taint. Without a selector: none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceTaintRuleSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_selector: Option<DeviceTaintSelector>,
    pub taint: DeviceTaint,
}

/// All that is set must be the device's. Nothing set: every device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceTaintSelector {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceTaintRuleStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl DeviceTaintRule {
    /// Whether it taints a device.
    pub fn selects(&self, driver: &str, pool: &str, device: &str) -> bool {
        let Some(selector) = &self.spec.device_selector else {
            return false;
        };
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        is(&selector.driver, driver) && is(&selector.pool, pool) && is(&selector.device, device)
    }
}

impl Resource for DeviceTaintRule {
    const API_VERSION: &'static str = "resource.k8s.io/v1";
    const GROUP: &'static str = "resource.k8s.io";
    const KIND: &'static str = "DeviceTaintRule";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "devicetaintrules";
    type Scope = ClusterResourceScope;
}

impl Metadata for DeviceTaintRule {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn tolerations_are_for_taints() {
        let taint = json!({"key": "a", "value": "b", "effect": "NoSchedule"});
        let cases = [
            (json!({"operator": "Exists"}), true),
            (json!({"operator": "Exists", "key": "a"}), true),
            (json!({"operator": "Exists", "key": "b"}), false),
            (json!({"operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "a", "value": "b"}), true),
            (
                json!({"key": "a", "operator": "Equal", "value": "c"}),
                false,
            ),
            (json!({"key": "a", "operator": "Like", "value": "b"}), false),
        ];
        let taint: DeviceTaint = serde_json::from_value(taint).unwrap();
        for (toleration, wanted) in cases {
            let of: DeviceToleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(tolerates(&of, &taint), wanted, "{toleration}");
        }
    }

    #[test]
    fn rules_select_devices() {
        let cases = [
            (Value::Null, false),
            (json!({}), true),
            (json!({"driver": "d", "pool": "p", "device": "x"}), true),
            (json!({"driver": "d", "device": "y"}), false),
            (json!({"pool": "other"}), false),
        ];
        for (selector, wanted) in cases {
            let rule = json!({
                "metadata": {"name": "r"},
                "spec": {"deviceSelector": selector, "taint": {"key": "k", "effect": "NoExecute"}},
            });
            let rule: DeviceTaintRule = serde_json::from_value(rule).unwrap();
            assert_eq!(rule.selects("d", "p", "x"), wanted, "{selector}");
        }
    }
}
