//! The programs of the cluster and how they are told what to do: as kubeadm would, but for paths, and for what a node without
//! systemd and with control groups of version 1 needs.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use knarr_testkit::NODE_IP;
use serde_json::Value;

use super::{
    component::{
        API_SERVER, CLUSTER_CIDR, CONTROLLER_MANAGER, Component, DNS_IP, KUBECTL, KUBELET,
        KubeletPlace, LEADER, LOGS, NODE, PROXY, RESOLVER, SCHEDULER, SERVICE_CIDR, component,
        config, disk_config, flag, kubeconfig, kubelet_config, proxy_config,
    },
    containerd::{self, containerd},
    exchange::{self, Part},
    host, pki,
};
use crate::{go::Program, image::recipes::ETCD_PROGRAM};

const ETCD_URL: &str = "http://127.0.0.1:2379";
/// For clients and for peers; the former in [`ETCD_URL`].
pub const ETCD_PORTS: (u16, u16) = (2379, 2380);
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

/// With the defaults of kubeadm, and its directory of keys below `dir`.
pub fn api_server(dir: &Path) -> Component {
    let arguments = api_server_arguments(dir, SERVICE_CIDR);
    component("kube-apiserver", API_SERVER, arguments)
}

/// What upstream's API server is told in a cluster that is kept in `dir`.
pub fn api_server_arguments(dir: &Path, service_cidr: &str) -> Vec<String> {
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
        flag("service-cluster-ip-range", service_cidr),
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
    arguments
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
    for folder in FOLDERS.iter().copied().chain([LOGS]) {
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
    write(dir, exchange::OUR_KUBELET_CONFIG, &disk_config())?;
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

#[cfg(test)]
mod tests;
