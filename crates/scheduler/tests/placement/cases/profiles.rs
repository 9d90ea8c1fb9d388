//! Configurations of a scheduler, for some of the clusters.

use serde_json::{Value, json};

use super::{Cases, KEYS, OTHER, ZONE};

/// Plugins that a profile may do without.
const LEFT_OUT: [&str; 10] = [
    "NodePorts",
    "TaintToleration",
    "NodeAffinity",
    "PodTopologySpread",
    "InterPodAffinity",
    "VolumeRestrictions",
    "NodeVolumeLimits",
    "VolumeZone",
    "ImageLocality",
    "DefaultPreemption",
];
/// Plugins that rank nodes.
const SCORES: [&str; 7] = [
    "NodeResourcesBalancedAllocation",
    "ImageLocality",
    "InterPodAffinity",
    "NodeResourcesFit",
    "NodeAffinity",
    "PodTopologySpread",
    "TaintToleration",
];

impl Cases {
    /// A configuration as JSON, which is YAML.
    pub fn config(&mut self) -> String {
        let profiles = [self.profile("default-scheduler"), self.profile(OTHER)];
        json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "profiles": profiles,
        })
        .to_string()
    }

    fn profile(&mut self, name: &str) -> Value {
        let mut profile = json!({"schedulerName": name, "plugins": {}, "pluginConfig": []});
        let left_out = self.chance(40).then(|| self.one(&LEFT_OUT));
        if let Some(plugin) = left_out {
            profile["plugins"]["multiPoint"] = json!({"disabled": [{"name": plugin}]});
        }
        let plugin = self.one(&SCORES);
        if self.chance(50) && left_out != Some(plugin) {
            // Its weight is another one.
            let weight = self.random.i32(1..=20);
            profile["plugins"]["score"] = json!({
                "disabled": [{"name": plugin}], "enabled": [{"name": plugin, "weight": weight}],
            });
        }
        let mut args = Vec::new();
        if self.chance(60) {
            args.push(json!({"name": "NodeResourcesFit", "args": self.fit()}));
        }
        if self.chance(30) {
            let resources = json!([{"name": self.one(&["cpu", "memory"]), "weight": 1}, {"name": "example.com/gpu", "weight": 1}]);
            args.push(json!({"name": "NodeResourcesBalancedAllocation", "args": {"resources": resources}}));
        }
        if self.chance(30) {
            args.push(json!({"name": "InterPodAffinity", "args": {
                "hardPodAffinityWeight": self.random.i32(0..=100),
                "ignorePreferredTermsOfExistingPods": self.chance(50),
            }}));
        }
        if self.chance(25) {
            let mut added = json!({"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": self.random.i32(1..=100), "preference": self.node_term()},
            ]});
            if self.chance(50) {
                added["requiredDuringSchedulingIgnoredDuringExecution"] =
                    json!({"nodeSelectorTerms": [self.node_term(), self.node_term()]});
            }
            args.push(json!({"name": "NodeAffinity", "args": {"addedAffinity": added}}));
        }
        if self.chance(30) {
            args.push(json!({"name": "PodTopologySpread", "args": self.spread()}));
        }
        profile["pluginConfig"] = json!(args);
        profile
    }

    fn fit(&mut self) -> Value {
        let resources = json!([
            {"name": "cpu", "weight": self.random.i32(1..=10)},
            {"name": "memory", "weight": self.random.i32(1..=10)},
        ]);
        let kind = self.one(&[
            "LeastAllocated",
            "MostAllocated",
            "RequestedToCapacityRatio",
        ]);
        let mut strategy = json!({"type": kind, "resources": resources});
        if kind == "RequestedToCapacityRatio" {
            strategy["requestedToCapacityRatio"] = json!({"shape": [
                {"utilization": 0, "score": self.random.i32(0..=10)},
                {"utilization": self.random.i32(1..100), "score": self.random.i32(0..=10)},
                {"utilization": 100, "score": self.random.i32(0..=10)},
            ]});
        }
        let mut fit = json!({"scoringStrategy": strategy});
        match self.random.u32(..6) {
            0 => fit["ignoredResources"] = json!(["example.com/gpu"]),
            1 => fit["ignoredResourceGroups"] = json!(["example.com"]),
            _ => {}
        }
        fit
    }

    fn spread(&mut self) -> Value {
        let key = self.one(&KEYS);
        let mut constraints = vec![json!({
            "maxSkew": self.random.i32(1..=3), "topologyKey": key,
            "whenUnsatisfiable": self.one(&["DoNotSchedule", "ScheduleAnyway"]),
        })];
        if key != ZONE && self.chance(40) {
            constraints.push(
                json!({"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "ScheduleAnyway"}),
            );
        }
        json!({"defaultingType": "List", "defaultConstraints": constraints})
    }
}
