use std::collections::BTreeSet;

use serde_json::json;

use super::{
    fields::{FIELDS, Use},
    *,
};

/// Every field of upstream's type, as `k8s.io/kubelet` v0.37's `config/v1beta1/types.go` has it.
const UPSTREAM: &str = include_str!("tests/fields.txt");
/// What kubeadm writes.
const KUBEADM: &str = include_str!("tests/kubeadm.yaml");

fn read_text(text: &str) -> Result<KubeletConfiguration, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
    std::fs::write(&file, format!("{head}{text}")).unwrap();
    let read = KubeletConfiguration::read(Some(&file), None);
    read.map_err(|error| error.to_string())
}

#[test]
fn every_field_of_upstreams_type_is_known_and_no_other() {
    let upstream: BTreeSet<&str> = UPSTREAM.lines().collect();
    let known: BTreeSet<&str> = FIELDS.iter().map(|field| field.path).collect();
    assert_eq!(known.len(), FIELDS.len(), "a field is there twice");
    assert_eq!(known, upstream);
}

#[test]
fn defaults_are_values_of_their_fields() {
    for field in FIELDS {
        let value = field.default_value();
        assert_eq!(value.is_none(), field.default.is_empty(), "{}", field.path);
        if let Some(value) = value {
            let mut tree = Tree::new();
            decode::set(&mut tree, field.path, Some(value));
            decode::refuse(&tree).unwrap();
        }
        if let Use::Only(others, _) = field.what {
            for other in others {
                serde_json::from_str::<Value>(other).unwrap();
            }
        }
    }
    let tree = KubeletConfiguration::default().tree();
    assert_eq!(tree["imageGCHighThresholdPercent"], 85);
    assert_eq!(tree["nodeStatusReportFrequency"], "5m0s");
    assert_eq!(tree["authentication"]["anonymous"]["enabled"], false);
    assert_eq!(tree.get("tracing"), None);
}

#[test]
fn what_kubeadm_writes_is_understood() {
    let own = read_text(KUBEADM).unwrap();
    let settings = &own.settings;
    assert_eq!(settings.cluster_dns, ["10.96.0.10"]);
    assert_eq!(
        settings.static_pod_path,
        Path::new("/etc/kubernetes/manifests")
    );
    assert_eq!(settings.image_minimum_gc_age.as_secs(), 120);
    assert_eq!(settings.node_status_update_frequency.as_secs(), 10);
    assert_eq!(settings.registry_burst, 10);
    assert_eq!(own.container_runtime_endpoint(), None);
}

#[test]
fn what_is_wrong_is_told_in_upstreams_words() {
    for (text, expected) in [
        (
            "maxPodz: 3",
            "strict decoding error: unknown field \"maxPodz\"",
        ),
        (
            "authentication: {anonymous: {enable: false}}",
            "strict decoding error: unknown field \"authentication.anonymous.enable\"",
        ),
        (
            "maxPods: many",
            "maxPods: must be a whole number of 32 bits",
        ),
        ("maxPods: 1\nmaxPods: 2", "duplicate"),
        (
            "imageMinimumGCAge: 5",
            "imageMinimumGCAge: must be a duration",
        ),
        ("imageMinimumGCAge: 5x", "time: unknown unit \"x\""),
        (
            "imageGCLowThresholdPercent: 90",
            "invalid configuration: imageGCLowThresholdPercent (--image-gc-low-threshold) 90 must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) 85",
        ),
        (
            "imageMaximumGCAge: 1m",
            "imageMaximumGCAge 1m0s must be greater than imageMinimumGCAge 2m0s",
        ),
        (
            "serializeImagePulls: true\nmaxParallelImagePulls: 2",
            "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls",
        ),
        (
            "containerLogMaxFiles: 1",
            "containerLogMaxFiles must be greater than 1",
        ),
        (
            "featureGates: {Foo: true}",
            "unrecognized feature gate: Foo",
        ),
        (
            "featureGates: {NodeSwap: false}",
            "cannot set feature gate NodeSwap to false, feature is locked to true",
        ),
        (
            "systemReserved: {gpu: 1}",
            "systemReserved: must be an object of strings",
        ),
        (
            "systemReserved: {gpu: '1'}",
            "cannot reserve \"gpu\" resource",
        ),
        (
            "evictionHard: {disk: 1Gi}",
            "unsupported eviction signal disk",
        ),
        (
            "hairpinMode: maybe",
            "option \"maybe\" specified for hairpinMode",
        ),
        (
            "registerWithTaints: [{key: a, effect: Sometimes}]",
            "invalid taint: a=:Sometimes",
        ),
        (
            "registerWithTaints: [{key: a, efect: NoSchedule}]",
            "unknown field \"efect\"",
        ),
        (
            "crashLoopBackOff: {maxContainerRestartPeriod: 10m}",
            "must be set between 1s and 300s",
        ),
        ("clusterDNS: [here]", "invalid IP address: \"here\""),
        (
            "shutdownGracePeriodCriticalPods: 10s",
            "shutdownGracePeriodCriticalPods {10s} must be <= shutdownGracePeriod {0s}",
        ),
        (
            "shutdownGracePeriod: 10ms",
            "shutdownGracePeriod {10ms} must be either zero or otherwise >= 1 sec",
        ),
        (
            "shutdownGracePeriod: 10s\nshutdownGracePeriodByPodPriority: [{priority: 1, shutdownGracePeriodSeconds: 2}]",
            "Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod",
        ),
        (
            "cpuManagerPolicy: dynamic",
            "unknown cpu manager policy: \"dynamic\"",
        ),
        (
            "memoryManagerPolicy: static",
            "unknown memory manager policy: \"static\"",
        ),
        (
            "topologyManagerPolicy: strict",
            "must be one of: [\"none\" \"best-effort\" \"restricted\" \"single-numa-node\"]",
        ),
        (
            "topologyManagerScope: node",
            "must be one of: \"container\", or \"pod\"",
        ),
        (
            "cpuManagerPolicyOptions: {align-by-socket: 'true'}",
            "Alpha-level Options not enabled",
        ),
        (
            "topologyManagerPolicyOptions: {max-allowable-numa-nodes: '2'}",
            "should not be less than 8",
        ),
        (
            "reservedSystemCPUs: 0-x",
            "unable to parse reservedSystemCPUs (--reserved-cpus) 0-x",
        ),
        (
            "reservedMemory: [{numaNode: 0, limits: {cpu: '1'}}]",
            "the limit type \"cpu\" for NUMA node 0 is not supported",
        ),
        (
            "reservedMemory: [{numaNode: 1, limits: {memory: '0'}}]",
            "reserved memory may not be zero for NUMA node 1",
        ),
        (
            "reservedMemory: [{numaNode: 0, limits: {memory: 1Gi}}, {numaNode: 0, limits: {memory: 1Gi}}]",
            "the reserved memory has a duplicate value for NUMA node 0",
        ),
    ] {
        let error = read_text(text).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn what_cannot_be_had_is_refused_with_its_path() {
    for (text, path) in [
        (
            "readOnlyPort: 10255",
            "readOnlyPort: 10255 is not supported: ",
        ),
        (
            "authentication: {anonymous: {enabled: true}}",
            "authentication.anonymous.enabled: true",
        ),
        (
            "authorization: {mode: AlwaysAllow}",
            "authorization.mode: \"AlwaysAllow\"",
        ),
        (
            "tlsCertFile: /x.crt",
            "tlsCertFile and tlsPrivateKeyFile must be specified together",
        ),
        (
            "enforceNodeAllocatable: [pods, system-reserved]",
            "enforceNodeAllocatable: ",
        ),
    ] {
        let error = read_text(text).map(|_| ()).unwrap_err();
        assert!(error.contains(path), "{text}: {error}");
    }
    // As good as not said.
    for text in [
        "readOnlyPort: 0",
        "tlsCertFile: /x.crt\ntlsPrivateKeyFile: /x.key",
        "shutdownGracePeriod: 0s",
        "streamingConnectionIdleTimeout: 4h",
        "enforceNodeAllocatable: [none]",
        "cgroupDriver: systemd",
        "tracing: null",
        "featureGates: {NodeSwap: true, AllAlpha: false}",
    ] {
        read_text(text).unwrap();
    }
}

#[test]
fn zeros_are_defaults_where_upstream_has_no_pointer() {
    let own = read_text("maxPods: 0\nnodeStatusMaxImages: 0\nevictionHard: {}").unwrap();
    assert_eq!(own.settings.max_pods, 110);
    assert_eq!(own.settings.node_status_max_images, 0);
    assert!(own.settings.eviction_hard.is_empty());
    let own = read_text("nodeStatusUpdateFrequency: 20s").unwrap();
    assert_eq!(own.settings.node_status_report_frequency.as_secs(), 20);
    let own = read_text("evictionHard: {pid.available: 5%}\nmergeDefaultEvictionSettings: true");
    let hard = own.unwrap().settings.eviction_hard.clone();
    assert_eq!((hard["pid.available"].as_str(), hard.len()), ("5%", 6));
    let own = read_text("maxParallelImagePulls: 1").unwrap();
    assert!(own.settings.serialize_image_pulls);
}

#[test]
fn the_first_cpu_is_no_zero() {
    let own = read_text("cpuManagerPolicy: static\nreservedSystemCPUs: '0'").unwrap();
    assert_eq!(own.settings.reserved_system_cpus, "0");
    assert_eq!(own.settings.reserved().cpu_milli, 1_000);
}

#[test]
fn drop_ins_are_merged_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{head}{text}")).unwrap();
    };
    put(
        "base.yaml",
        "maxPods: 1\nstaticPodPath: pods\nclusterDNS: [10.0.0.1, 10.0.0.2]\nevictionSoft: {memory.available: 1Gi}\nevictionSoftGracePeriod: {memory.available: 1m}",
    );
    put("more/20.conf", "maxPods: 20\nclusterDNS: [10.0.0.3]");
    put(
        "more/10.conf",
        "maxPods: 10\nevictionSoftGracePeriod: {memory.available: 2m}",
    );
    put("more/30/a.conf", "nodeStatusMaxImages: 7");
    put("more/40.yaml", "maxPods: 40");
    let base = dir.path().join("base.yaml");
    let more = dir.path().join("more");
    let own = KubeletConfiguration::read(Some(&base), Some(&more)).unwrap();
    let settings = &own.settings;
    assert_eq!(
        (settings.max_pods, settings.node_status_max_images),
        (20, 7)
    );
    assert_eq!(settings.cluster_dns, ["10.0.0.3"]);
    assert_eq!(
        settings.eviction_soft_grace_period["memory.available"],
        "2m"
    );
    assert_eq!(settings.static_pod_path, dir.path().join("pods"));
    put("more/50.conf", "maxPods: 50");
    std::fs::write(more.join("60.conf"), "maxPods: 60").unwrap();
    let error = KubeletConfiguration::read(Some(&base), Some(&more)).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("60.conf") && error.contains("'apiVersion' is missing"),
        "{error}"
    );
}

#[test]
fn flags_go_before_files() {
    let own = read_text("staticPodPath: /a\nclusterDomain: b.c\nresolvConf: /d\nallowedUnsafeSysctls: [kernel.msg*]").unwrap();
    let config = crate::Config {
        manifest_path: Some("/flag".into()),
        ..crate::Config::default()
    };
    let config = config.configured(own).unwrap();
    assert_eq!(config.manifest_path.as_deref(), Some(Path::new("/flag")));
    assert_eq!(config.cluster_domain, "b.c");
    assert_eq!(config.resolv_conf, Path::new("/d"));
    assert_eq!(config.allowed_unsafe_sysctls, ["kernel.msg*"]);
    let absent = read_text("authentication: {x509: {clientCAFile: /nowhere/ca.crt}}").unwrap();
    let error = crate::Config::default().configured(absent).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("unable to load client CA file /nowhere/ca.crt")
    );
    let long = tempfile::NamedTempFile::new().unwrap();
    long.as_file().set_len(2 << 20).unwrap();
    let long = format!(
        "authentication: {{x509: {{clientCAFile: '{}'}}}}",
        long.path().display()
    );
    let long = read_text(&long).unwrap();
    let error = crate::Config::default().configured(long).unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn the_whole_is_shown_without_headers() {
    let own =
        read_text("staticPodURL: http://h/p\nstaticPodURLHeader: {X-Token: [secret]}").unwrap();
    let tree = own.tree();
    assert_eq!(tree["kind"], "KubeletConfiguration");
    assert_eq!(tree["evictionHard"]["memory.available"], json!("100Mi"));
    assert!(!tree.to_string().contains("secret"));
}
