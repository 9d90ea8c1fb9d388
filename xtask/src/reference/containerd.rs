//! containerd with runc and CNI's plugins, as a node of upstream's cluster has them.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use knarr_testkit::run;
use serde_json::{Value, json};

use super::component::{Component, component, config, flag, program};
use crate::go::{Module, Program, RUNC};

/// Pods of the only node.
const POD_CIDR: &str = "10.244.0.0/24";
/// Where the suite's images are served; the suite itself takes port 5000.
pub const REGISTRY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5001);
/// The registry that it stands for.
const REGISTRY_NAME: &str = "registry.k8s.io";
/// Below the configurations.
const REGISTRIES: &str = "registries";
const IMPORT_DEADLINE: Duration = Duration::from_secs(300);

const CONTAINERD: Module = Module("containerd");
const CNI: Module = Module("cni");

const CONTAINERD_PROGRAM: Program = program(
    CONTAINERD,
    "github.com/containerd/containerd/v2/cmd/containerd",
);
const CTR: Program = program(CONTAINERD, "github.com/containerd/containerd/v2/cmd/ctr");
const SHIM: Program = program(
    CONTAINERD,
    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
);
const RUNC_PROGRAM: Program = program(RUNC, "github.com/opencontainers/runc");
const CNI_PLUGINS: [Program; 4] = [
    program(
        CNI,
        "github.com/containernetworking/plugins/plugins/ipam/host-local",
    ),
    program(
        CNI,
        "github.com/containernetworking/plugins/plugins/main/loopback",
    ),
    program(
        CNI,
        "github.com/containernetworking/plugins/plugins/main/ptp",
    ),
    program(
        CNI,
        "github.com/containernetworking/plugins/plugins/meta/portmap",
    ),
];

/// Folders below its directory that are not kept after it.
pub const FOLDERS: [&str; 4] = ["cni", "config", "containerd", "state"];

/// All that is built for it.
pub fn programs() -> Vec<Program> {
    let mut programs = vec![CONTAINERD_PROGRAM, CTR, SHIM, RUNC_PROGRAM];
    programs.extend(CNI_PLUGINS);
    programs
}

/// Where it serves its API and CRI.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("state/containerd.sock")
}

pub fn containerd(dir: &Path) -> Result<Component> {
    let mut containerd = component(
        "containerd",
        CONTAINERD_PROGRAM,
        vec![flag("config", config(dir, "containerd.toml"))],
    );
    let shim = SHIM.path();
    let folders = [shim.parent().context("a program has a folder")?.to_owned()]
        .into_iter()
        .chain(env::split_paths(&containerd.path).collect::<Vec<_>>());
    containerd.path = env::join_paths(folders)?;
    Ok(containerd)
}

/// Writes what it and the plugins read. `pause` is the image that holds a pod's namespaces.
pub fn configure(dir: &Path, pause: &str) -> Result<()> {
    for folder in FOLDERS {
        fs::create_dir_all(dir.join(folder))?;
    }
    fs::write(config(dir, "containerd.toml"), settings(dir, pause)?)?;
    let conf = dir.join("cni/conf");
    fs::create_dir_all(&conf)?;
    let network = serde_json::to_string_pretty(&network_config(dir))?;
    fs::write(conf.join("10-pods.conflist"), network)?;
    let registry = config(dir, REGISTRIES).join(REGISTRY_NAME);
    fs::create_dir_all(&registry)?;
    fs::write(registry.join("hosts.toml"), registry_config())?;
    Ok(())
}

/// Gives it an archive's images for pods.
pub fn import(dir: &Path, archive: &Path) -> Result<()> {
    let mut ctr = Command::new(CTR.path());
    ctr.arg("--address")
        .arg(socket(dir))
        .args(["--namespace", "k8s.io", "images", "import", "--local"])
        .arg(archive);
    run(ctr, IMPORT_DEADLINE)?.success().map(drop)
}

fn settings(dir: &Path, pause: &str) -> Result<String> {
    let plugin = CNI_PLUGINS[0].path();
    let plugins = plugin.parent().context("a program has a folder")?;
    Ok(format!(
        r#"version = 3
root = "{dir}/containerd"
state = "{dir}/state/containerd"
disabled_plugins = [
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/containerd/opt"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{registries}"
[plugins."io.containerd.cri.v1.runtime"]
# Not every host allows to lower it.
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{plugins}"]
conf_dir = "{dir}/cni/conf"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
Root = "{dir}/state/runc"
"#,
        dir = dir.display(),
        registries = config(dir, REGISTRIES).display(),
        socket = socket(dir).display(),
        plugins = plugins.display(),
        runc = RUNC_PROGRAM.path().display(),
    ))
}

fn registry_config() -> String {
    format!(
        "server = \"http://{REGISTRY}\"\n[host.\"http://{REGISTRY}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
    )
}

/// A cable to each pod and routes: without a bridge every packet passes the rules for Services.
fn network_config(dir: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": dir.join("state/addresses"),
                    "ranges": [[{"subnet": POD_CIDR}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {
                "type": "portmap",
                "capabilities": {"portMappings": true},
                "backend": "nftables",
            },
        ],
    })
}
