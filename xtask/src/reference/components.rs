//! The programs of the cluster and how they are told what to do: as kubeadm would, but for paths, and for what a node without
//! systemd and with control groups of version 1 needs.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use knarr_testkit::NODE_IP;
use serde_json::{Value, json};

use super::{
    containerd::{self, containerd},
    exchange::{self, Part},
    host, init, pki,
};
use crate::{
    go::{Module, Program, SUITE},
    image::recipes::ETCD_PROGRAM,
};

pub const NODE: &str = "node";
/// At [`NODE_IP`].
pub const API_URL: &str = "https://192.0.2.1:6443";
/// Of the Service `default/kubernetes`.
pub const SERVICE_IP: &str = "10.96.0.1";
pub const DNS_IP: &str = "10.96.0.10";
pub const SERVICE_CIDR: &str = "10.96.0.0/12";
pub const CLUSTER_CIDR: &str = "10.244.0.0/16";
const ETCD_URL: &str = "http://127.0.0.1:2379";
/// Below the configurations: no nameserver.
pub const RESOLVER: &str = "resolv.conf";
/// There is one of each: who cannot renew in time, on a busy machine, would end.
pub const LEADER: &str = "--leader-elect=false";
const PAUSE_REPOSITORY: &str = "registry.k8s.io/pause:";

/// Folders below the cluster's directory that are not kept after it.
pub const FOLDERS: [&str; 9] = [
    "cni",
    "config",
    "containerd",
    "etcd",
    host::PRIVATE_FOLDER,
    pki::FOLDER,
    "state",
    exchange::FOLDERS[0],
    exchange::FOLDERS[1],
];

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

/// All that is built for the cluster itself.
pub fn programs() -> Vec<Program> {
    let mut programs = vec![
        ETCD_PROGRAM,
        API_SERVER,
        CONTROLLER_MANAGER,
        SCHEDULER,
        PROXY,
        KUBELET,
        KUBECTL,
    ];
    programs.extend(containerd::programs());
    programs
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

/// What everything else speaks to.
pub fn foundation(dir: &Path) -> Result<Vec<Component>> {
    Ok(vec![etcd(dir), api_server(dir), containerd(dir)?])
}

/// What gives up soon without an API server; `parts` of it are ours. `group` names the cluster's control groups.
pub fn clients(dir: &Path, group: &str, parts: &[Part]) -> Result<Vec<Component>> {
    let of = |part: Part| match parts.contains(&part) {
        true => exchange::ours(part, dir, group),
        false => Ok(theirs(part, dir)),
    };
    Part::ALL.into_iter().map(of).collect()
}

fn theirs(part: Part, dir: &Path) -> Component {
    match part {
        Part::Scheduler => scheduler(dir),
        Part::ControllerManager => controller_manager(dir),
        Part::Kubelet => kubelet(dir),
        Part::Proxy => component(
            "kube-proxy",
            PROXY,
            vec![flag("config", config(dir, "proxy.json"))],
        ),
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

fn etcd(dir: &Path) -> Component {
    component(
        "etcd",
        ETCD_PROGRAM,
        vec![
            flag("data-dir", dir.join("etcd")),
            flag("listen-client-urls", ETCD_URL),
            flag("advertise-client-urls", ETCD_URL),
            "--snapshot-count=10000".to_owned(),
            "--watch-progress-notify-interval=5s".to_owned(),
        ],
    )
}

fn api_server(dir: &Path) -> Component {
    let pki = |file: &str| dir.join(pki::FOLDER).join(file);
    let mut arguments = vec![
        flag("advertise-address", NODE_IP),
        flag("client-ca-file", pki("ca.crt")),
        flag("etcd-servers", ETCD_URL),
        flag(
            "kubelet-client-certificate",
            pki("apiserver-kubelet-client.crt"),
        ),
        flag("kubelet-client-key", pki("apiserver-kubelet-client.key")),
        flag("proxy-client-cert-file", pki("front-proxy-client.crt")),
        flag("proxy-client-key-file", pki("front-proxy-client.key")),
        flag("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        flag("service-account-key-file", pki("sa.pub")),
        flag("service-account-signing-key-file", pki("sa.key")),
        flag("service-cluster-ip-range", SERVICE_CIDR),
        flag("tls-cert-file", pki("apiserver.crt")),
        flag("tls-private-key-file", pki("apiserver.key")),
    ];
    arguments.extend(
        [
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--enable-bootstrap-token-auth=true",
            "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            "--secure-port=6443",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        ]
        .map(str::to_owned),
    );
    component("kube-apiserver", API_SERVER, arguments)
}

fn controller_manager(dir: &Path) -> Component {
    let pki = |file: &str| dir.join(pki::FOLDER).join(file);
    let own = kubeconfig(dir, "controller-manager");
    component(
        "kube-controller-manager",
        CONTROLLER_MANAGER,
        vec![
            flag("authentication-kubeconfig", &own),
            flag("authorization-kubeconfig", &own),
            flag("kubeconfig", &own),
            flag("client-ca-file", pki("ca.crt")),
            flag("cluster-cidr", CLUSTER_CIDR),
            flag("cluster-signing-cert-file", pki("ca.crt")),
            flag("cluster-signing-key-file", pki("ca.key")),
            flag("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
            flag("root-ca-file", pki("ca.crt")),
            flag("service-account-private-key-file", pki("sa.key")),
            flag("service-cluster-ip-range", SERVICE_CIDR),
            "--allocate-node-cidrs=true".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--cluster-name=kubernetes".to_owned(),
            "--controllers=*,bootstrapsigner,tokencleaner".to_owned(),
            LEADER.to_owned(),
            "--use-service-account-credentials=true".to_owned(),
        ],
    )
}

fn scheduler(dir: &Path) -> Component {
    let own = kubeconfig(dir, "scheduler");
    component(
        "kube-scheduler",
        SCHEDULER,
        vec![
            flag("authentication-kubeconfig", &own),
            flag("authorization-kubeconfig", &own),
            flag("kubeconfig", &own),
            "--bind-address=127.0.0.1".to_owned(),
            LEADER.to_owned(),
        ],
    )
}

fn kubelet(dir: &Path) -> Component {
    component(
        "kubelet",
        KUBELET,
        vec![
            flag("config", config(dir, "kubelet.json")),
            flag("kubeconfig", kubeconfig(dir, "kubelet")),
            format!("--hostname-override={NODE}"),
            format!("--node-ip={NODE_IP}"),
        ],
    )
}

/// Writes what the components read. `images` are the names that the suite asks for.
pub fn configure(dir: &Path, name: &str, images: &[String]) -> Result<()> {
    for folder in FOLDERS.iter().copied().chain([init::LOGS]) {
        fs::create_dir_all(dir.join(folder))?;
    }
    let pause = images
        .iter()
        .find(|image| image.starts_with(PAUSE_REPOSITORY))
        .context("the suite has no pause image")?;
    containerd::configure(dir, pause)?;
    let kubelet = kubelet_config(&KubeletPlace {
        endpoint: &containerd::socket(dir),
        client_ca: &dir.join(pki::FOLDER).join("ca.crt"),
        cgroup_root: &format!("/{name}"),
        cluster_dns: DNS_IP,
        resolver: &config(dir, RESOLVER),
    });
    write(dir, "kubelet.json", &kubelet)?;
    let proxy = proxy_config(&kubeconfig(dir, "proxy"), CLUSTER_CIDR);
    write(dir, "proxy.json", &proxy)?;
    // Names of no cluster are nobody's: there is no way out.
    fs::write(config(dir, RESOLVER), "")?;
    Ok(())
}

fn write(dir: &Path, file: &str, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    fs::write(config(dir, file), text).with_context(|| format!("cannot write {file}"))
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

pub fn kubelet_config(place: &KubeletPlace<'_>) -> Value {
    let endpoint = format!("unix://{}", place.endpoint.display());
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
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

#[cfg(test)]
mod tests;
