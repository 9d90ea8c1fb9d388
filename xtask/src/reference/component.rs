//! A program of the cluster, and what all of them are told: names, addresses, where files are.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::go::{Module, Program, SUITE};

pub const NODE: &str = "node";
/// At [`NODE_IP`].
pub const API_URL: &str = "https://192.0.2.1:6443";
/// Of the Service `default/kubernetes`.
pub const SERVICE_IP: &str = "10.96.0.1";
pub const DNS_IP: &str = "10.96.0.10";
pub const SERVICE_CIDR: &str = "10.96.0.0/12";
pub const CLUSTER_CIDR: &str = "10.244.0.0/16";
/// Below the configurations: no nameserver.
pub const RESOLVER: &str = "resolv.conf";
/// There is one of each: who cannot renew in time, on a busy machine, would end.
pub const LEADER: &str = "--leader-elect=false";
/// Logs of the components, below the cluster's directory.
pub const LOGS: &str = "logs";

pub const API_SERVER: Program = program(SUITE, "k8s.io/kubernetes/cmd/kube-apiserver");
pub const CONTROLLER_MANAGER: Program =
    program(SUITE, "k8s.io/kubernetes/cmd/kube-controller-manager");
pub const SCHEDULER: Program = program(SUITE, "k8s.io/kubernetes/cmd/kube-scheduler");
pub const PROXY: Program = program(SUITE, "k8s.io/kubernetes/cmd/kube-proxy");
pub const KUBELET: Program = program(SUITE, "k8s.io/kubernetes/cmd/kubelet");
pub const KUBECTL: Program = program(SUITE, "k8s.io/kubernetes/cmd/kubectl");

pub const fn program(module: Module, package: &'static str) -> Program {
    Program { module, package }
}

/// A program that runs as long as the cluster does.
pub struct Component {
    pub name: &'static str,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// PATH, where it finds what it starts.
    pub path: OsString,
}

pub fn component(name: &'static str, program: Program, arguments: Vec<String>) -> Component {
    named(name, program.path(), arguments)
}

/// A component whose program is not upstream's.
pub fn named(name: &'static str, program: PathBuf, arguments: Vec<String>) -> Component {
    Component {
        name,
        program,
        arguments,
        path: env::var_os("PATH").unwrap_or_default(),
    }
}

pub fn flag(name: &str, value: impl AsRef<Path>) -> String {
    format!("--{name}={}", value.as_ref().display())
}

/// A file of configuration.
pub fn config(dir: &Path, file: &str) -> PathBuf {
    dir.join("config").join(file)
}

pub fn kubeconfig(dir: &Path, client: &str) -> PathBuf {
    dir.join(format!("{client}.kubeconfig"))
}

/// What a kubelet stands on.
pub struct KubeletPlace<'a> {
    /// The container runtime's socket.
    pub endpoint: &'a Path,
    /// Authority of its server's clients.
    pub client_ca: &'a Path,
    pub cgroup_root: &'a str,
    pub cluster_dns: &'a str,
    /// A file that names no nameserver.
    pub resolver: &'a Path,
}

/// What a kubelet is told about full disks, ours and upstream's alike.
pub fn disk_config() -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // Images that were imported cannot be pulled again: a full disk must not cost them.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
    })
}

pub fn kubelet_config(place: &KubeletPlace<'_>) -> Value {
    let endpoint = format!("unix://{}", place.endpoint.display());
    let more = json!({
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true, "cacheTTL": "0s"},
            "x509": {"clientCAFile": place.client_ca},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": place.cgroup_root,
        "clusterDNS": [place.cluster_dns],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": endpoint,
        "failCgroupV1": false,
        "failSwapOn": false,
        "resolvConf": place.resolver,
    });
    let mut config = disk_config();
    if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
        config.extend(more);
    }
    config
}

pub fn proxy_config(own: &Path, cluster_cidr: &str) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": own},
        "clusterCIDR": cluster_cidr,
        "hostnameOverride": NODE,
        "mode": "nftables",
        // Limits of the whole machine, which a network namespace cannot set.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
}
