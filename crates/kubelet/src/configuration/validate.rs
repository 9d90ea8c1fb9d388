//! Upstream's validation of what is honoured, in its words (`pkg/kubelet/apis/config/validation/validation.go`).

use std::{collections::HashSet, time::Duration};

use knarr_meta::{duration, field::quote};

use super::{gates, managers, settings::Settings};
use crate::eviction::Thresholds;

const MAX_BACK_OFF: Duration = Duration::from_secs(300);
const MIN_BACK_OFF: Duration = Duration::from_secs(1);
const MIN_LOG_MONITOR_INTERVAL: Duration = Duration::from_secs(3);
const HAIRPIN_MODES: [&str; 3] = ["none", "hairpin-veth", "promiscuous-bridge"];
const VERIFICATION_POLICIES: [&str; 4] = [
    "NeverVerify",
    "NeverVerifyPreloadedImages",
    "NeverVerifyAllowlistedImages",
    "AlwaysVerify",
];

/// Everything that is wrong.
pub(super) fn errors(own: &Settings) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for (name, wanted) in &own.feature_gates {
        all.extend(gates::check(name, *wanted).err());
    }
    let invalid = |text: String| format!("invalid configuration: {text}");
    all.extend(numbers(own).into_iter().map(invalid));
    all.extend(images(own).into_iter().map(invalid));
    all.extend(words(own).into_iter().map(invalid));
    all.extend(logs(own).into_iter().map(invalid));
    all.extend(node(own));
    all.extend(managers::errors(own).into_iter().map(invalid));
    all.extend(shutdown(own).into_iter().map(invalid));
    all.extend(Thresholds::parse(own).err());
    all
}

fn numbers(own: &Settings) -> Vec<String> {
    let mut all = Vec::new();
    if own.node_lease_duration_seconds <= 0 {
        all.push("nodeLeaseDurationSeconds must be greater than 0".to_owned());
    }
    for (field, flag, value) in [
        ("maxPods", "max-pods", own.max_pods),
        ("podsPerCore", "pods-per-core", own.pods_per_core),
        ("registryBurst", "registry-burst", own.registry_burst),
        ("registryPullQPS", "registry-qps", own.registry_pull_qps),
    ] {
        if value < 0 {
            all.push(format!(
                "{field} (--{flag}) {value} must not be a negative number"
            ));
        }
    }
    if own.node_status_max_images < -1 {
        all.push(format!(
            "nodeStatusMaxImages (--node-status-max-images) {} must be -1 or greater",
            own.node_status_max_images
        ));
    }
    let longest = own.crash_loop_back_off.max_container_restart_period;
    if !(MIN_BACK_OFF..=MAX_BACK_OFF).contains(&longest) {
        all.push(format!(
            "CrashLoopBackOff.MaxContainerRestartPeriod (got: {} seconds) must be set between 1s and 300s",
            longest.as_secs_f64()
        ));
    }
    all.extend(own.user_namespaces.ids_per_pod().err());
    if own.eviction_max_pod_grace_period < 0 {
        all.push("evictionMaxPodGracePeriod must not be negative".to_owned());
    }
    all
}

fn images(own: &Settings) -> Vec<String> {
    let (high, low) = (
        own.image_gc_high_threshold_percent,
        own.image_gc_low_threshold_percent,
    );
    let mut all = Vec::new();
    for (name, flag, value) in [
        (
            "imageGCHighThresholdPercent",
            "image-gc-high-threshold",
            high,
        ),
        ("imageGCLowThresholdPercent", "image-gc-low-threshold", low),
    ] {
        if !(0..=100).contains(&value) {
            all.push(format!(
                "{name} (--{flag}) {value} must be between 0 and 100, inclusive"
            ));
        }
    }
    if low >= high {
        all.push(format!(
            "imageGCLowThresholdPercent (--image-gc-low-threshold) {low} must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) {high}"
        ));
    }
    let (least, most) = (own.image_minimum_gc_age, own.image_maximum_gc_age);
    if !most.is_zero() && most <= least {
        all.push(format!(
            "imageMaximumGCAge {} must be greater than imageMinimumGCAge {}",
            go(most),
            go(least)
        ));
    }
    if own.max_parallel_image_pulls.is_some_and(|most| most < 1) {
        let most = own.max_parallel_image_pulls.unwrap_or_default();
        all.push(format!(
            "maxParallelImagePulls {most} must be a positive number"
        ));
    }
    if own.serialize_image_pulls && own.max_parallel_image_pulls.is_some_and(|most| most > 1) {
        all.push("maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set to false".to_owned());
    }
    let policy = own.image_pull_credentials_verification_policy.as_str();
    if !VERIFICATION_POLICIES.contains(&policy) {
        let [a, b, c, d] = VERIFICATION_POLICIES.map(quote);
        all.push(format!(
            "option {} specified for imagePullCredentialsVerificationPolicy. Valid options are {a}, {b}, {c} or {d}",
            quote(policy)
        ));
    } else if policy == "NeverVerifyAllowlistedImages" {
        all.push(
            "imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages is not supported: images are not told apart by a list"
                .to_owned(),
        );
    }
    all
}

fn words(own: &Settings) -> Vec<String> {
    let mut all = Vec::new();
    if own.run_once {
        all.push(
            "runOnce (--runOnce) true, Runonce mode has been deprecated and should not be set"
                .to_owned(),
        );
    }
    if !HAIRPIN_MODES.contains(&own.hairpin_mode.as_str()) {
        let [a, b, c] = HAIRPIN_MODES.map(quote);
        all.push(format!(
            "option {} specified for hairpinMode (--hairpin-mode). Valid options are {a}, {b} or {c}",
            quote(&own.hairpin_mode)
        ));
    }
    let swap = own.memory_swap.swap_behavior.as_str();
    if !["", "NoSwap", "LimitedSwap"].contains(&swap) {
        all.push(format!(
            "memorySwap.swapBehavior {} must be one of: \"\", \"LimitedSwap\" or \"NoSwap\"",
            quote(swap)
        ));
    }
    if !own.default_pod_sysctls.is_empty() {
        all.push("DefaultPodSysctls feature gate is required for Kubelet configuration option defaultPodSysctls".to_owned());
    }
    if ![
        "",
        "VersionTLS10",
        "VersionTLS11",
        "VersionTLS12",
        "VersionTLS13",
    ]
    .contains(&own.tls_min_version.as_str())
    {
        all.push(format!(
            "tlsMinVersion: unknown tls version {}",
            quote(&own.tls_min_version)
        ));
    }
    let files = [&own.tls_cert_file, &own.tls_private_key_file];
    if files
        .iter()
        .filter(|file| file.as_os_str().is_empty())
        .count()
        == 1
    {
        all.push("tlsCertFile and tlsPrivateKeyFile must be specified together".to_owned());
    }
    if own.enable_system_log_query && !own.enable_system_log_handler {
        all.push("enableSystemLogHandler is required for enableSystemLogQuery".to_owned());
    }
    let mut seen = HashSet::new();
    for enforced in &own.enforce_node_allocatable {
        if !seen.insert(enforced) {
            all.push(format!(
                "duplicated enforcements {} in enforceNodeAllocatable (--enforce-node-allocatable)",
                quote(enforced)
            ));
        }
    }
    all
}

fn logs(own: &Settings) -> Vec<String> {
    let mut all = Vec::new();
    if own.container_log_max_workers < 1 {
        all.push("containerLogMaxWorkers must be greater than or equal to 1".to_owned());
    }
    if own.container_log_monitor_interval < MIN_LOG_MONITOR_INTERVAL {
        all.push("containerLogMonitorInterval must be a positive time duration greater than or equal to 3s".to_owned());
    }
    if own.container_log_max_files <= 1 {
        all.push("containerLogMaxFiles must be greater than 1".to_owned());
    }
    if own.container_log_max_size == 0 {
        all.push("containerLogMaxSize must be positive".to_owned());
    }
    all
}

/// How long the machine's shutdown is delayed for pods.
fn shutdown(own: &Settings) -> Vec<String> {
    let mut all = Vec::new();
    let (whole, critical) = (
        own.shutdown_grace_period,
        own.shutdown_grace_period_critical_pods,
    );
    if critical > whole {
        all.push(format!(
            "shutdownGracePeriodCriticalPods {{{}}} must be <= shutdownGracePeriod {{{}}}",
            go(critical),
            go(whole)
        ));
    }
    for (field, time) in [
        ("shutdownGracePeriod", whole),
        ("shutdownGracePeriodCriticalPods", critical),
    ] {
        if !time.is_zero() && time < Duration::from_secs(1) {
            all.push(format!(
                "{field} {{{}}} must be either zero or otherwise >= 1 sec",
                go(time)
            ));
        }
    }
    let by_priority = &own.shutdown_grace_period_by_pod_priority;
    if !by_priority.is_empty() && !whole.is_zero() {
        all.push("Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time".to_owned());
    }
    if by_priority.iter().any(|period| period.seconds < 0) {
        all.push("shutdownGracePeriodByPodPriority must not have negative periods".to_owned());
    }
    all
}

/// What the node is registered with, and keeps for itself.
fn node(own: &Settings) -> Vec<String> {
    let mut all = Vec::new();
    for taint in &own.register_with_taints {
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if taint.key.is_empty() || !effects.contains(&taint.effect.as_str()) {
            let value = taint.value.as_deref().unwrap_or_default();
            all.push(format!(
                "invalid taint: {}={value}:{}",
                taint.key, taint.effect
            ));
        }
        if taint.time_added.is_some() {
            all.push("invalid configuration: taint.TimeAdded is not nil".to_owned());
        }
    }
    for (field, reserved) in [
        ("systemReserved", &own.system_reserved),
        ("kubeReserved", &own.kube_reserved),
    ] {
        all.extend(super::reserved::parse(field, reserved).err());
    }
    for address in &own.cluster_dns {
        if address.parse::<std::net::IpAddr>().is_err() {
            all.push(format!(
                "invalid configuration: clusterDNS: invalid IP address: {}",
                quote(address)
            ));
        }
    }
    all
}

/// As Go writes it.
fn go(time: Duration) -> String {
    duration::format(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}
