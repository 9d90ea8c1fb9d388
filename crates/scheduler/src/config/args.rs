//! The arguments of plugins, with upstream's defaults.

use std::time::Duration;

use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use knarr_meta::duration;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{file, strict};

/// What each plugin that takes arguments was given.
#[derive(Clone, Debug, Default)]
pub struct Args {
    pub fit: NodeResourcesFitArgs,
    pub balanced: NodeResourcesBalancedAllocationArgs,
    pub spread: PodTopologySpreadArgs,
    pub affinity: InterPodAffinityArgs,
    pub nodes: NodeAffinityArgs,
    pub preemption: DefaultPreemptionArgs,
    pub volumes: VolumeBindingArgs,
    pub devices: DynamicResourcesArgs,
}

/// Names of the plugins that take arguments.
pub const WITH_ARGS: [&str; 8] = [
    "DefaultPreemption",
    "DynamicResources",
    "InterPodAffinity",
    "NodeAffinity",
    "NodeResourcesBalancedAllocation",
    "NodeResourcesFit",
    "PodTopologySpread",
    "VolumeBinding",
];

impl Args {
    /// Takes over the arguments of a plugin of [`WITH_ARGS`].
    ///
    /// # Errors
    /// They are of another form.
    pub fn set(&mut self, plugin: &str, args: Option<&Value>) -> Result<(), Vec<String>> {
        let empty = Value::Object(serde_json::Map::new());
        let args = args.unwrap_or(&empty);
        of_kind(plugin, args)?;
        match plugin {
            "NodeResourcesFit" => self.fit = decode(plugin, args)?,
            "NodeResourcesBalancedAllocation" => self.balanced = decode(plugin, args)?,
            "PodTopologySpread" => self.spread = decode(plugin, args)?,
            "InterPodAffinity" => self.affinity = decode(plugin, args)?,
            "NodeAffinity" => self.nodes = decode(plugin, args)?,
            "DefaultPreemption" => self.preemption = decode(plugin, args)?,
            "VolumeBinding" => self.volumes = decode(plugin, args)?,
            "DynamicResources" => self.devices = decode(plugin, args)?,
            other => return Err(vec![format!("plugin {other} takes no arguments")]),
        }
        Ok(())
    }

    /// Sets what is set by default where it was left out, once all is read.
    pub fn set_defaults(&mut self) {
        let strategy = self.fit.scoring_strategy.get_or_insert_default();
        default_resources(&mut strategy.resources);
        default_resources(&mut self.balanced.resources);
        if self.spread.defaulting_type.is_empty() {
            self.spread.defaulting_type = SYSTEM.to_owned();
        }
    }
}

fn decode<T: DeserializeOwned + Serialize>(plugin: &str, args: &Value) -> Result<T, Vec<String>> {
    strict::decode(args).map_err(|errors| {
        let errors = errors.into_iter();
        errors
            .map(|error| {
                format!("decoding args for plugin {plugin}: strict decoding error: {error}")
            })
            .collect()
    })
}

/// Arguments may say of what kind they are.
fn of_kind(plugin: &str, args: &Value) -> Result<(), Vec<String>> {
    let said = |name: &str| args.get(name).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (said("apiVersion"), said("kind"));
    let wanted = format!("{plugin}Args");
    if !version.is_empty() && version != file::VERSION || !kind.is_empty() && kind != wanted {
        let group = file::VERSION.trim_end_matches("/v1");
        return Err(vec![format!(
            "args for plugin {plugin} were not of type {wanted}.{group}, got {kind} of version \"{version}\""
        )]);
    }
    Ok(())
}

fn default_resources(resources: &mut Vec<ResourceSpec>) {
    if resources.is_empty() {
        *resources = default_resource_specs();
    }
    for resource in resources {
        if resource.weight == 0 {
            resource.weight = 1;
        }
    }
}

fn default_resource_specs() -> Vec<ResourceSpec> {
    ["cpu", "memory"].map(ResourceSpec::of).into()
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeResourcesFitArgs {
    pub api_version: String,
    pub kind: String,
    pub ignored_resources: Vec<String>,
    pub ignored_resource_groups: Vec<String>,
    /// The default one where there is none.
    pub scoring_strategy: Option<ScoringStrategy>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScoringStrategy {
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub resources: Vec<ResourceSpec>,
    #[serde(default)]
    pub requested_to_capacity_ratio: Option<RequestedToCapacityRatio>,
}

pub const LEAST_ALLOCATED: &str = "LeastAllocated";
pub const MOST_ALLOCATED: &str = "MostAllocated";
pub const REQUESTED_TO_CAPACITY_RATIO: &str = "RequestedToCapacityRatio";

impl Default for ScoringStrategy {
    fn default() -> Self {
        Self {
            kind: LEAST_ALLOCATED.to_owned(),
            resources: default_resource_specs(),
            requested_to_capacity_ratio: None,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RequestedToCapacityRatio {
    pub shape: Vec<ShapePoint>,
}

/// A point of a function: utilization in percent, score of 10.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ShapePoint {
    pub utilization: i32,
    pub score: i32,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct ResourceSpec {
    pub name: String,
    pub weight: i64,
}

impl ResourceSpec {
    fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            weight: 1,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeResourcesBalancedAllocationArgs {
    pub api_version: String,
    pub kind: String,
    pub resources: Vec<ResourceSpec>,
}

impl Default for NodeResourcesBalancedAllocationArgs {
    fn default() -> Self {
        Self {
            api_version: String::new(),
            kind: String::new(),
            resources: default_resource_specs(),
        }
    }
}

pub const SYSTEM: &str = "System";
pub const LIST: &str = "List";

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodTopologySpreadArgs {
    pub api_version: String,
    pub kind: String,
    pub default_constraints: Vec<TopologySpreadConstraint>,
    pub defaulting_type: String,
}

impl Default for PodTopologySpreadArgs {
    fn default() -> Self {
        Self {
            api_version: String::new(),
            kind: String::new(),
            default_constraints: Vec::new(),
            defaulting_type: SYSTEM.to_owned(),
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InterPodAffinityArgs {
    pub api_version: String,
    pub kind: String,
    pub hard_pod_affinity_weight: i32,
    pub ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinityArgs {
    fn default() -> Self {
        Self {
            api_version: String::new(),
            kind: String::new(),
            hard_pod_affinity_weight: 1,
            ignore_preferred_terms_of_existing_pods: false,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeAffinityArgs {
    pub api_version: String,
    pub kind: String,
    pub added_affinity: Option<NodeAffinity>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DefaultPreemptionArgs {
    pub api_version: String,
    pub kind: String,
    pub min_candidate_nodes_percentage: i32,
    pub min_candidate_nodes_absolute: i32,
}

impl Default for DefaultPreemptionArgs {
    fn default() -> Self {
        Self {
            api_version: String::new(),
            kind: String::new(),
            min_candidate_nodes_percentage: 10,
            min_candidate_nodes_absolute: 100,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeBindingArgs {
    pub api_version: String,
    pub kind: String,
    pub bind_timeout_seconds: i64,
    pub shape: Vec<ShapePoint>,
}

impl Default for VolumeBindingArgs {
    fn default() -> Self {
        Self {
            api_version: String::new(),
            kind: String::new(),
            bind_timeout_seconds: 600,
            shape: Vec::new(),
        }
    }
}

impl VolumeBindingArgs {
    /// How long volumes may take to be bound.
    pub fn bind_timeout(&self) -> Duration {
        Duration::from_secs(self.bind_timeout_seconds.try_into().unwrap_or(0))
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DynamicResourcesArgs {
    pub api_version: String,
    pub kind: String,
    pub filter_timeout: Option<GoDuration>,
    pub binding_timeout: Option<GoDuration>,
}

/// A `metav1.Duration`, written as Go's `time.ParseDuration` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoDuration {
    pub nanos: i64,
    /// As it was written.
    pub text: String,
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let nanos = duration::parse(&text).map_err(serde::de::Error::custom)?;
        Ok(Self { nanos, text })
    }
}

impl Serialize for GoDuration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
