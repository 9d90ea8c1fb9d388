//! Parts that take each other's places: ours in upstream's cluster, and upstream's in knarr's.

use std::{fs, path::Path};

use anyhow::Result;
use clap::ValueEnum;
use knarr_testkit::{NODE_IP, knarr_binary};
use serde_json::{Value, json};

use super::{
    component::{self, Component, config, flag, kubeconfig, named},
    containerd, host, pki,
};
use crate::go::Program;

/// As `knarr up` has them by default.
const OUR_CLUSTER_CIDR: &str = "10.42.0.0/16";
const OUR_SERVICE_CIDR: &str = "10.43.0.0/16";
const OUR_DNS_IP: &str = "10.43.0.10";

/// A part of a cluster that both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Scheduler,
    ControllerManager,
    Kubelet,
    Proxy,
}

/// The certificate of upstream's kubelet's server.
const SERVER: &str = "kubelet-server";
/// What our kubelet reads, below the configurations.
pub const OUR_KUBELET_CONFIG: &str = "knarr-kubelet.json";

/// What ours keep, below the cluster's directory.
pub const FOLDERS: [&str; 2] = ["knarr-kubelet", "knarr-proxy"];

impl Part {
    pub const ALL: [Part; 4] = [
        Part::Scheduler,
        Part::ControllerManager,
        Part::Kubelet,
        Part::Proxy,
    ];

    /// As it is written on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Part::Scheduler => "scheduler",
            Part::ControllerManager => "controller-manager",
            Part::Kubelet => "kubelet",
            Part::Proxy => "proxy",
        }
    }
}

/// Ours, for upstream's cluster in `dir`, whose control groups have this name.
pub fn ours(part: Part, dir: &Path, group: &str) -> Result<Component> {
    let pki = |file: &str| dir.join(pki::FOLDER).join(file);
    let (name, client, more) = match part {
        Part::Scheduler => (
            "knarr-scheduler",
            "scheduler",
            vec![
                "--bind-address=127.0.0.1".to_owned(),
                component::LEADER.to_owned(),
            ],
        ),
        Part::ControllerManager => (
            "knarr-controller-manager",
            "controller-manager",
            vec![
                flag("cluster-cidr", component::CLUSTER_CIDR),
                flag("cluster-signing-cert-file", pki("ca.crt")),
                flag("cluster-signing-key-file", pki("ca.key")),
                flag("root-ca-file", pki("ca.crt")),
                flag("service-account-private-key-file", pki("sa.key")),
                flag("service-cluster-ip-range", component::SERVICE_CIDR),
                "--allocate-node-cidrs=true".to_owned(),
                "--bind-address=127.0.0.1".to_owned(),
                "--controllers=*,bootstrapsigner,tokencleaner".to_owned(),
                component::LEADER.to_owned(),
                "--use-service-account-credentials=true".to_owned(),
            ],
        ),
        Part::Kubelet => (
            "knarr-kubelet",
            "kubelet",
            vec![
                flag("cgroup-root", format!("/{group}")),
                flag("client-ca-file", pki("ca.crt")),
                flag("cluster-cidr", component::CLUSTER_CIDR),
                flag("cluster-dns", component::DNS_IP),
                format!(
                    "--container-runtime-endpoint=unix://{}",
                    containerd::socket(dir).display()
                ),
                flag("data-dir", dir.join(FOLDERS[0])),
                flag("kubelet-config", config(dir, OUR_KUBELET_CONFIG)),
                flag("node-ip", NODE_IP),
                flag("node-name", component::NODE),
                flag("resolv-conf", config(dir, component::RESOLVER)),
                // The cluster's own there, and short enough for sockets wherever the cluster is kept.
                flag("root-dir", host::KUBELET),
                flag("service-cluster-ip-range", component::SERVICE_CIDR),
            ],
        ),
        Part::Proxy => (
            "knarr-proxy",
            "proxy",
            vec![
                flag("cluster-cidr", component::CLUSTER_CIDR),
                flag("data-dir", dir.join(FOLDERS[1])),
                flag("hostname-override", component::NODE),
            ],
        ),
    };
    let mut arguments = vec![
        part.name().to_owned(),
        flag("kubeconfig", kubeconfig(dir, client)),
    ];
    arguments.extend(more);
    Ok(named(name, knarr_binary()?, arguments))
}

/// Upstream's program.
pub fn program(part: Part) -> Program {
    match part {
        Part::Scheduler => component::SCHEDULER,
        Part::ControllerManager => component::CONTROLLER_MANAGER,
        Part::Kubelet => component::KUBELET,
        Part::Proxy => component::PROXY,
    }
}

/// Who upstream's part is, and in which group, as kubeadm has it.
pub fn identity(part: Part) -> (&'static str, Option<&'static str>) {
    match part {
        Part::Scheduler => ("system:kube-scheduler", None),
        Part::ControllerManager => ("system:kube-controller-manager", None),
        Part::Kubelet => ("system:node:node", Some("system:nodes")),
        Part::Proxy => ("system:kube-proxy", Some("system:node-proxiers")),
    }
}

/// Where a part of upstream's finds what it needs of a cluster of ours.
pub struct Place<'a> {
    /// Its own, for what it reads and keeps.
    pub dir: &'a Path,
    /// The cluster's.
    pub data_dir: &'a Path,
    /// The control group below which pods are.
    pub cgroup_root: &'a str,
    pub kubeconfig: &'a Path,
}

/// Upstream's arguments in a cluster of ours.
pub fn theirs(part: Part, place: &Place<'_>) -> Result<Vec<String>> {
    let pki = |file: &str| place.data_dir.join("pki").join(file);
    let own = |names: &[&str]| -> Vec<String> {
        let names = names.iter();
        names.map(|name| flag(name, place.kubeconfig)).collect()
    };
    let all = [
        "authentication-kubeconfig",
        "authorization-kubeconfig",
        "kubeconfig",
    ];
    let mut arguments = Vec::new();
    match part {
        Part::Scheduler => {
            arguments.extend(own(&all));
            arguments.push(component::LEADER.to_owned());
        }
        Part::ControllerManager => {
            arguments.extend(own(&all));
            arguments.extend([
                flag("client-ca-file", pki("ca.crt")),
                flag("cluster-cidr", OUR_CLUSTER_CIDR),
                flag("cluster-signing-cert-file", pki("ca.crt")),
                flag("cluster-signing-key-file", pki("ca.key")),
                flag("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
                flag("root-ca-file", pki("ca.crt")),
                flag("service-account-private-key-file", pki("sa.key")),
                flag("service-cluster-ip-range", OUR_SERVICE_CIDR),
                "--allocate-node-cidrs=true".to_owned(),
                "--controllers=*,bootstrapsigner,tokencleaner".to_owned(),
                component::LEADER.to_owned(),
                "--use-service-account-credentials=true".to_owned(),
            ]);
        }
        Part::Proxy => {
            let path = place.dir.join("proxy.json");
            let config = component::proxy_config(place.kubeconfig, OUR_CLUSTER_CIDR);
            fs::write(&path, config.to_string())?;
            arguments.push(flag("config", path));
        }
        Part::Kubelet => {
            let path = place.dir.join("kubelet.json");
            fs::write(&path, kubelet_config(place)?.to_string())?;
            arguments.extend(own(&["kubeconfig"]));
            arguments.extend([
                flag("cert-dir", place.dir.join("certificates")),
                flag("config", path),
                flag("root-dir", place.dir.join("kubelet")),
                format!("--hostname-override={}", component::NODE),
                format!("--node-ip={NODE_IP}"),
            ]);
        }
    }
    Ok(arguments)
}

fn kubelet_config(place: &Place<'_>) -> Result<Value> {
    let socket = place.data_dir.join("run/runtime.sock");
    let resolver = place.dir.join(component::RESOLVER);
    fs::write(&resolver, "")?;
    let mut config = component::kubelet_config(&component::KubeletPlace {
        endpoint: &socket,
        client_ca: &place.data_dir.join("pki/ca.crt"),
        cgroup_root: place.cgroup_root,
        cluster_dns: OUR_DNS_IP,
        resolver: &resolver,
    });
    // Our API server calls no kubelet whose certificate is not of the cluster's authority, which gives its own name to no node that asks.
    pki::kubelet_server(place.dir, SERVER, &place.data_dir.join("pki"))?;
    config["tlsCertFile"] = json!(place.dir.join(format!("{SERVER}.crt")));
    config["tlsPrivateKeyFile"] = json!(place.dir.join(format!("{SERVER}.key")));
    config["podLogsDir"] = json!(place.dir.join("pod-logs"));
    Ok(config)
}
