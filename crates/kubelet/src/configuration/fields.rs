//! Every field of `KubeletConfiguration` of v1.37: its form, its value where a file says nothing, and what becomes of it here.
//!
//! Values are upstream's (`pkg/kubelet/apis/config/v1beta1/defaults.go`), but for those marked `own`, which the page of decisions
//! 0035 explains.

use serde_json::Value;

/// What a value looks like in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Bool,
    /// Of 32 bits.
    Int,
    /// Of 64 bits.
    Long,
    Float,
    Text,
    /// As Go writes them: `1m30s`.
    Duration,
    /// A duration, or a number of nanoseconds.
    DurationOrInt,
    Ints,
    Texts,
    TextMap,
    TextsMap,
    BoolMap,
    /// A list of objects with these fields.
    Objects(&'static [&'static str]),
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Honoured,
    /// Any value does: why nothing has to be done.
    Harmless(&'static str),
    /// Refused but for the value that it has without a file, and these, as JSON: why.
    Only(&'static [&'static str], &'static str),
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// From the top, with dots.
    pub path: &'static str,
    pub shape: Shape,
    /// As JSON, but texts and durations bare; empty for none.
    pub default: &'static str,
    /// Whether a zero value is as good as none: upstream has no pointer there.
    pub zero_is_unset: bool,
    pub what: Use,
}

impl Field {
    /// The value without a file.
    pub(super) fn default_value(&self) -> Option<Value> {
        match (self.default, self.shape) {
            ("", _) => None,
            (text, Shape::Text | Shape::Duration | Shape::DurationOrInt) => {
                Some(Value::String(text.to_owned()))
            }
            (json, _) => serde_json::from_str(json).ok(),
        }
    }
}

/// A field without a pointer upstream.
const fn value(path: &'static str, shape: Shape, default: &'static str, what: Use) -> Field {
    Field {
        path,
        shape,
        default,
        zero_is_unset: true,
        what,
    }
}

/// A field with a pointer upstream: zero is a value like any other.
const fn pointer(path: &'static str, shape: Shape, default: &'static str, what: Use) -> Field {
    Field {
        path,
        shape,
        default,
        zero_is_unset: false,
        what,
    }
}

use Shape::{
    Bool, BoolMap, Duration, DurationOrInt, Float, Int, Ints, Long, Objects, Text, TextMap, Texts,
    TextsMap,
};
use Use::{Harmless, Honoured, Only};

const EVENTS_DRIVE: &str =
    "pods are looked at when something happens to them, not from time to time";
const FLAG: &str = "the port that the API server and firewalls know cannot be changed";
const ROTATED: &str = "certificates of a node are issued by its cluster and always renewed";
const NO_IPTABLES: &str = "Services and pods are in nf_tables, iptables has no part in it";
const OWN_CLIENT: &str =
    "the kubelet's client does not hold requests back, the API server's flow control does";
const NOT_GO: &str = "there are no such handlers, the program is not written in Go";
const LOG_FLAGS: &str = "the program's own log is told by --log-level and --log-file";
const RESERVED_GROUPS: &str = "only pods are held to what they may have";

/// All of them, in upstream's order.
#[rustfmt::skip]
pub(super) const FIELDS: &[Field] = &[
    pointer("enableServer", Bool, "true", Only(&[], "the API server needs it")),
    value("staticPodPath", Text, "", Honoured),
    value("podLogsDir", Text, "", Only(&["\"/var/log/pods\""], "logs are below the data directory")),
    value("syncFrequency", Duration, "1m0s", Harmless(EVENTS_DRIVE)),
    value("fileCheckFrequency", Duration, "20s", Honoured),
    value("httpCheckFrequency", Duration, "20s", Honoured),
    value("staticPodURL", Text, "", Honoured),
    value("staticPodURLHeader", TextsMap, "", Honoured),
    value("address", Text, "0.0.0.0", Honoured),
    value("port", Int, "10250", Only(&[], FLAG)),
    value("readOnlyPort", Int, "0", Only(&[], "nothing is served without TLS and authorization")),
    value("tlsCertFile", Text, "", Honoured),
    value("tlsPrivateKeyFile", Text, "", Honoured),
    value("tlsCipherSuites", Texts, "", Honoured),
    value("tlsCurvePreferences", Ints, "", Only(&[], "the curves of TLS cannot be chosen")),
    value("tlsMinVersion", Text, "", Honoured),
    value("rotateCertificates", Bool, "true", Harmless(ROTATED)),
    value("serverTLSBootstrap", Bool, "false", Harmless(ROTATED)),
    value("authentication.x509.clientCAFile", Text, "", Honoured),
    pointer("authentication.webhook.enabled", Bool, "true", Only(&[], "tokens are always reviewed by the API server")),
    value("authentication.webhook.cacheTTL", Duration, "2m0s", Only(&[], "how long answers are good for cannot be chosen")),
    pointer("authentication.anonymous.enabled", Bool, "false", Only(&[], "nobody is served without a name")),
    value("authorization.mode", Text, "Webhook", Only(&[], "the API server says who may")),
    value("authorization.webhook.cacheAuthorizedTTL", Duration, "5m0s", Only(&[], "how long answers are good for cannot be chosen")),
    value("authorization.webhook.cacheUnauthorizedTTL", Duration, "30s", Only(&[], "how long answers are good for cannot be chosen")),
    // own: pulls wait for places, of their namespace and of their registry, instead of failing.
    pointer("registryPullQPS", Int, "0", Honoured),
    value("registryBurst", Int, "10", Honoured),
    value("imagePullCredentialsVerificationPolicy", Text, "NeverVerifyPreloadedImages", Honoured),
    value("preloadedImagesVerificationAllowlist", Texts, "", Only(&[], "images are not told apart by a list")),
    pointer("eventRecordQPS", Int, "50", Harmless("events have a queue of their own with a limit, and the API server's")),
    value("eventBurst", Int, "100", Harmless("events have a queue of their own with a limit, and the API server's")),
    pointer("enableDebuggingHandlers", Bool, "true", Honoured),
    value("enableContentionProfiling", Bool, "false", Harmless(NOT_GO)),
    pointer("healthzPort", Int, "10248", Harmless("/healthz is served on the node's port")),
    value("healthzBindAddress", Text, "127.0.0.1", Harmless("/healthz is served on the node's port")),
    pointer("oomScoreAdj", Int, "-999", Only(&[], "the process keeps the score that it is started with")),
    value("clusterDomain", Text, "", Honoured),
    value("clusterDNS", Texts, "", Honoured),
    value("streamingConnectionIdleTimeout", Duration, "4h0m0s", Only(&[], "streams end with their client or their container")),
    value("nodeStatusUpdateFrequency", Duration, "10s", Honoured),
    value("nodeStatusReportFrequency", Duration, "5m0s", Honoured),
    value("nodeLeaseDurationSeconds", Int, "40", Honoured),
    value("imageMinimumGCAge", Duration, "2m0s", Honoured),
    value("imageMaximumGCAge", Duration, "0s", Honoured),
    pointer("imageGCHighThresholdPercent", Int, "85", Honoured),
    pointer("imageGCLowThresholdPercent", Int, "80", Honoured),
    value("volumeStatsAggPeriod", Duration, "1m0s", Harmless("volumes are measured when their figures matter")),
    value("kubeletCgroups", Text, "", Only(&[], "the process stays in the group that it is started in")),
    value("systemCgroups", Text, "", Only(&[], "processes of the system stay in their groups")),
    value("cgroupRoot", Text, "", Only(&["\"/\""], "it is told by --cgroup-root")),
    pointer("cgroupsPerQOS", Bool, "true", Only(&[], "pods always have groups of their own")),
    value("cgroupDriver", Text, "cgroupfs", Harmless("the runtime is told what it understands")),
    value("cpuManagerPolicy", Text, "none", Honoured),
    pointer("singleProcessOOMKill", Bool, "", Only(&["true"], "the kernel kills one process of a container")),
    value("cpuManagerPolicyOptions", TextMap, "", Honoured),
    value("cpuManagerReconcilePeriod", Duration, "10s", Honoured),
    value("memoryManagerPolicy", Text, "None", Honoured),
    value("topologyManagerPolicy", Text, "none", Honoured),
    value("topologyManagerScope", Text, "container", Honoured),
    value("topologyManagerPolicyOptions", TextMap, "", Honoured),
    value("qosReserved", TextMap, "", Only(&[], "needs the feature gate QOSReserved, which is off")),
    value("runtimeRequestTimeout", Duration, "2m0s", Honoured),
    value("hairpinMode", Text, "promiscuous-bridge", Harmless("pods reach themselves through Services by routes, whatever the mode")),
    value("maxPods", Int, "110", Honoured),
    value("podCIDR", Text, "", Only(&[], "the cluster gives each node its range")),
    pointer("podPidsLimit", Long, "-1", Honoured),
    pointer("resolvConf", Text, "/etc/resolv.conf", Honoured),
    value("runOnce", Bool, "false", Honoured),
    pointer("cpuCFSQuota", Bool, "true", Only(&[], "limits of CPUs are always enforced")),
    pointer("cpuCFSQuotaPeriod", Duration, "100ms", Only(&[], "the period of CPU limits cannot be chosen")),
    pointer("nodeStatusMaxImages", Int, "50", Honoured),
    value("maxOpenFiles", Long, "1000000", Harmless("the process takes as many as its host allows")),
    value("contentType", Text, "application/vnd.kubernetes.protobuf", Harmless("the kubelet's client speaks JSON, which says the same")),
    pointer("kubeAPIQPS", Int, "50", Harmless(OWN_CLIENT)),
    value("kubeAPIBurst", Int, "100", Harmless(OWN_CLIENT)),
    // own: one slow registry would hold up all pods.
    pointer("serializeImagePulls", Bool, "false", Honoured),
    pointer("maxParallelImagePulls", Int, "", Honoured),
    // own: what fills the disks of laptops is not pods, which others' 10 and 15 percent are for.
    pointer("evictionHard", TextMap, r#"{"memory.available":"100Mi","nodefs.available":"5%","nodefs.inodesFree":"5%","imagefs.available":"5%","imagefs.inodesFree":"5%"}"#, Honoured),
    value("evictionSoft", TextMap, "", Honoured),
    value("evictionSoftGracePeriod", TextMap, "", Honoured),
    value("evictionPressureTransitionPeriod", Duration, "5m0s", Honoured),
    value("evictionMaxPodGracePeriod", Int, "0", Honoured),
    value("evictionMinimumReclaim", TextMap, "", Honoured),
    pointer("mergeDefaultEvictionSettings", Bool, "false", Honoured),
    value("podsPerCore", Int, "0", Honoured),
    pointer("enableControllerAttachDetach", Bool, "true", Only(&[], "volumes are attached by the controller")),
    value("protectKernelDefaults", Bool, "false", Honoured),
    pointer("makeIPTablesUtilChains", Bool, "true", Harmless(NO_IPTABLES)),
    pointer("iptablesMasqueradeBit", Int, "14", Harmless(NO_IPTABLES)),
    pointer("iptablesDropBit", Int, "15", Harmless(NO_IPTABLES)),
    value("featureGates", BoolMap, "", Honoured),
    // own: laptops have swap.
    pointer("failSwapOn", Bool, "false", Honoured),
    value("memorySwap.swapBehavior", Text, "", Honoured),
    value("containerLogMaxSize", Text, "10Mi", Honoured),
    pointer("containerLogMaxFiles", Int, "5", Honoured),
    pointer("containerLogMaxWorkers", Int, "1", Honoured),
    pointer("containerLogMonitorInterval", Duration, "10s", Honoured),
    value("configMapAndSecretChangeDetectionStrategy", Text, "Watch", Harmless("changes are always watched, which is the fastest of the ways")),
    value("systemReserved", TextMap, "", Honoured),
    value("kubeReserved", TextMap, "", Honoured),
    value("reservedSystemCPUs", Text, "", Honoured),
    value("showHiddenMetricsForVersion", Text, "", Only(&[], "no metrics are hidden")),
    value("systemReservedCgroup", Text, "", Only(&[], RESERVED_GROUPS)),
    value("kubeReservedCgroup", Text, "", Only(&[], RESERVED_GROUPS)),
    pointer("enforceNodeAllocatable", Texts, r#"["pods"]"#, Only(&["[]", r#"["none"]"#], RESERVED_GROUPS)),
    value("allowedUnsafeSysctls", Texts, "", Honoured),
    value("defaultPodSysctls", TextMap, "", Honoured),
    value("volumePluginDir", Text, "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/", Harmless("FlexVolumes are refused, wherever their programs are")),
    value("providerID", Text, "", Honoured),
    value("kernelMemcgNotification", Bool, "false", Only(&[], "memory is looked at every ten seconds")),
    value("logging.format", Text, "text", Only(&[], LOG_FLAGS)),
    value("logging.flushFrequency", DurationOrInt, "5s", Harmless(LOG_FLAGS)),
    value("logging.verbosity", Int, "0", Harmless(LOG_FLAGS)),
    value("logging.vmodule", Objects(&["filePattern", "verbosity"]), "", Harmless(LOG_FLAGS)),
    value("logging.options.text.splitStream", Bool, "false", Harmless(LOG_FLAGS)),
    value("logging.options.text.infoBufferSize", Text, "0", Harmless(LOG_FLAGS)),
    value("logging.options.json.splitStream", Bool, "false", Harmless(LOG_FLAGS)),
    value("logging.options.json.infoBufferSize", Text, "0", Harmless(LOG_FLAGS)),
    pointer("enableSystemLogHandler", Bool, "true", Honoured),
    pointer("enableSystemLogQuery", Bool, "false", Honoured),
    value("shutdownGracePeriod", Duration, "0s", Honoured),
    value("shutdownGracePeriodCriticalPods", Duration, "0s", Honoured),
    value("shutdownGracePeriodByPodPriority", Objects(&["priority", "shutdownGracePeriodSeconds"]), "", Honoured),
    pointer("crashLoopBackOff.maxContainerRestartPeriod", Duration, "5m0s", Honoured),
    value("reservedMemory", Objects(&["numaNode", "limits"]), "", Honoured),
    pointer("enableProfilingHandler", Bool, "true", Harmless(NOT_GO)),
    pointer("enableDebugFlagsHandler", Bool, "true", Harmless(NOT_GO)),
    pointer("seccompDefault", Bool, "false", Honoured),
    pointer("memoryThrottlingFactor", Float, "", Only(&[], "memory is limited, not throttled below its limit")),
    value("memoryReservationPolicy", Text, "None", Only(&[], "memory that is asked for is not set aside in the kernel")),
    value("registerWithTaints", Objects(&["key", "value", "effect", "timeAdded"]), "", Honoured),
    pointer("registerNode", Bool, "true", Only(&[], "a node registers itself")),
    pointer("tracing.endpoint", Text, "", Only(&[], "the kubelet sends no traces")),
    pointer("tracing.samplingRatePerMillion", Int, "", Only(&["0"], "the kubelet sends no traces")),
    pointer("localStorageCapacityIsolation", Bool, "true", Only(&[], "local storage is always accounted for")),
    value("containerRuntimeEndpoint", Text, "", Honoured),
    value("imageServiceEndpoint", Text, "", Only(&[], "images are asked of the runtime")),
    // own: version 1 is supported.
    pointer("failCgroupV1", Bool, "false", Honoured),
    pointer("userNamespaces.idsPerPod", Long, "", Honoured),
];
