//! What of the configuration the kubelet reads, typed. What is not here has no effect, or but one value.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use k8s_openapi::api::core::v1::Taint;
use knarr_meta::{duration, quantity::Quantity};
use serde::{Deserialize, Deserializer, de::Error};

use crate::users::UNIT;

/// Text by text: thresholds by signal, quantities by resource, options by name.
pub(crate) type TextMap = BTreeMap<String, String>;

/// The fields in Rust's names; upstream's types file says what each means.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings {
    #[serde(default)]
    pub static_pod_path: PathBuf,
    #[serde(rename = "staticPodURL", default)]
    pub static_pod_url: String,
    #[serde(rename = "staticPodURLHeader", default)]
    pub static_pod_url_header: BTreeMap<String, Vec<String>>,
    #[serde(deserialize_with = "go_duration")]
    pub file_check_frequency: Duration,
    #[serde(deserialize_with = "go_duration")]
    pub http_check_frequency: Duration,
    pub address: String,
    /// Both or none.
    #[serde(default)]
    pub tls_cert_file: PathBuf,
    #[serde(default)]
    pub tls_private_key_file: PathBuf,
    #[serde(default)]
    pub tls_cipher_suites: Vec<String>,
    #[serde(default)]
    pub tls_min_version: String,
    #[serde(default)]
    pub authentication: Authentication,
    #[serde(rename = "registryPullQPS")]
    pub registry_pull_qps: i32,
    pub registry_burst: i32,
    pub image_pull_credentials_verification_policy: String,
    pub enable_debugging_handlers: bool,
    #[serde(default)]
    pub cluster_domain: String,
    #[serde(rename = "clusterDNS", default)]
    pub cluster_dns: Vec<String>,
    #[serde(deserialize_with = "go_duration")]
    pub node_status_update_frequency: Duration,
    #[serde(deserialize_with = "go_duration")]
    pub node_status_report_frequency: Duration,
    pub node_lease_duration_seconds: i32,
    #[serde(rename = "imageMinimumGCAge", deserialize_with = "go_duration")]
    pub image_minimum_gc_age: Duration,
    #[serde(rename = "imageMaximumGCAge", deserialize_with = "go_duration")]
    pub image_maximum_gc_age: Duration,
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: i32,
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: i32,
    pub cpu_manager_policy: String,
    #[serde(default)]
    pub cpu_manager_policy_options: TextMap,
    #[serde(deserialize_with = "go_duration")]
    pub cpu_manager_reconcile_period: Duration,
    pub memory_manager_policy: String,
    pub topology_manager_policy: String,
    pub topology_manager_scope: String,
    #[serde(default)]
    pub topology_manager_policy_options: TextMap,
    #[serde(rename = "reservedSystemCPUs", default)]
    pub reserved_system_cpus: String,
    #[serde(default)]
    pub reserved_memory: Vec<MemoryReservation>,
    #[serde(deserialize_with = "go_duration")]
    pub runtime_request_timeout: Duration,
    pub hairpin_mode: String,
    pub max_pods: i32,
    pub pod_pids_limit: i64,
    pub resolv_conf: PathBuf,
    #[serde(default)]
    pub run_once: bool,
    pub node_status_max_images: i32,
    pub serialize_image_pulls: bool,
    pub max_parallel_image_pulls: Option<i32>,
    #[serde(default)]
    pub eviction_hard: TextMap,
    #[serde(default)]
    pub eviction_soft: TextMap,
    #[serde(default)]
    pub eviction_soft_grace_period: TextMap,
    #[serde(deserialize_with = "go_duration")]
    pub eviction_pressure_transition_period: Duration,
    #[serde(default)]
    pub eviction_max_pod_grace_period: i32,
    #[serde(default)]
    pub eviction_minimum_reclaim: TextMap,
    #[serde(default)]
    pub pods_per_core: i32,
    #[serde(default)]
    pub protect_kernel_defaults: bool,
    #[serde(default)]
    pub feature_gates: BTreeMap<String, bool>,
    pub fail_swap_on: bool,
    #[serde(default)]
    pub memory_swap: MemorySwap,
    #[serde(deserialize_with = "bytes")]
    pub container_log_max_size: u64,
    pub container_log_max_files: i32,
    pub container_log_max_workers: i32,
    #[serde(deserialize_with = "go_duration")]
    pub container_log_monitor_interval: Duration,
    #[serde(default)]
    pub system_reserved: TextMap,
    #[serde(default)]
    pub kube_reserved: TextMap,
    #[serde(default)]
    pub enforce_node_allocatable: Vec<String>,
    #[serde(default)]
    pub allowed_unsafe_sysctls: Vec<String>,
    #[serde(default)]
    pub default_pod_sysctls: TextMap,
    #[serde(rename = "providerID", default)]
    pub provider_id: String,
    pub enable_system_log_handler: bool,
    pub enable_system_log_query: bool,
    #[serde(deserialize_with = "go_duration")]
    pub shutdown_grace_period: Duration,
    #[serde(deserialize_with = "go_duration")]
    pub shutdown_grace_period_critical_pods: Duration,
    #[serde(default)]
    pub shutdown_grace_period_by_pod_priority: Vec<Period>,
    pub crash_loop_back_off: CrashLoopBackOff,
    pub seccomp_default: bool,
    #[serde(default)]
    pub register_with_taints: Vec<Taint>,
    #[serde(default)]
    pub container_runtime_endpoint: String,
    #[serde(rename = "failCgroupV1")]
    pub fail_cgroup_v1: bool,
    #[serde(default)]
    pub user_namespaces: UserNamespaces,
}

impl Settings {
    /// Whether all pods together are held to what there is for them.
    pub(crate) fn enforces_pods(&self) -> bool {
        self.enforce_node_allocatable
            .iter()
            .any(|what| what == "pods")
    }
}

/// Memory of one NUMA node that pods do not get.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemoryReservation {
    pub numa_node: i32,
    #[serde(default)]
    pub limits: TextMap,
}

impl MemoryReservation {
    /// Bytes by resource. The quantities have been read before.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.limits.iter().filter_map(|(resource, text)| {
            let bytes = Quantity::parse(text).ok()?.value();
            Some((resource.clone(), u64::try_from(bytes).ok()?))
        })
    }
}

/// Who may speak to the node's server.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Authentication {
    #[serde(default)]
    pub x509: X509,
}

/// Who may do so by a certificate.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct X509 {
    /// Authorities that are believed besides the cluster's.
    #[serde(rename = "clientCAFile", default)]
    pub client_ca_file: PathBuf,
}

/// Ids of pods whose users are not the node's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserNamespaces {
    ids_per_pod: Option<i64>,
}

impl UserNamespaces {
    /// How many each has, in multiples of 65 536.
    ///
    /// # Errors
    /// It is no such number; the words are upstream's.
    pub(crate) fn ids_per_pod(&self) -> Result<u32, String> {
        let unit = i64::from(UNIT);
        let ids = self.ids_per_pod.unwrap_or(unit);
        if ids < unit {
            return Err(format!(
                "userNamespaces.idsPerPod must not be less than {unit}"
            ));
        }
        if ids % unit != 0 {
            return Err(format!(
                "userNamespaces.idsPerPod must be a multiple of {unit}"
            ));
        }
        u32::try_from(ids).map_err(|_| {
            format!(
                "userNamespaces.idsPerPod must not be more than {}",
                u32::MAX
            )
        })
    }
}

/// What of the node's swap containers get.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemorySwap {
    #[serde(default)]
    pub swap_behavior: String,
}

/// How long containers that end again and again are held back.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CrashLoopBackOff {
    #[serde(deserialize_with = "go_duration")]
    pub max_container_restart_period: Duration,
}

/// A duration that is not negative.
fn go_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let nanos = duration::parse(&text).map_err(D::Error::custom)?;
    let nanos = u64::try_from(nanos)
        .map_err(|_| D::Error::custom(format!("{text} must not be negative")))?;
    Ok(Duration::from_nanos(nanos))
}

/// A size as the API has it: `10Mi`.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    let parsed = Quantity::parse(&text).map_err(|error| D::Error::custom(error.to_string()))?;
    u64::try_from(parsed.value())
        .map_err(|_| D::Error::custom(format!("{text} must not be negative")))
}

/// So long for pods from a priority on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Period {
    #[serde(default)]
    pub priority: i32,
    #[serde(rename = "shutdownGracePeriodSeconds", default)]
    pub seconds: i64,
}
