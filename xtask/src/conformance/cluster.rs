//! The cluster that the suite is run against: one started for it, or one that is there.

use std::{
    env,
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, NODE_IP, Options, image::target_dir};
use serde_json::json;

use super::exchange::{Theirs, Upstream};
use crate::{
    image::{conformance::ARCHIVE, registry::Registry},
    reference::Part,
};

const NAMESPACES: &str = "/run/netns";
/// The port at which the first node serves the suite's images to all of them; the suite itself takes port 5000.
const MIRROR_PORT: u16 = 5001;
/// The registry that it stands for.
const MIRRORED: &str = "registry.k8s.io";

/// A cluster and the way to it.
pub enum Target {
    /// Started for the run, in its own network namespace, data directory and control group; removed with this value.
    Own {
        /// Ended before the cluster.
        theirs: Option<Mutex<Theirs>>,
        cluster: Box<Cluster>,
    },
    /// Upstream's, with a part of ours; removed with this value.
    Upstream(Mutex<Upstream>),
    Given {
        kubeconfig: PathBuf,
        netns: Option<PathBuf>,
    },
}

impl Target {
    /// A cluster of knarr's with the suite's images: imported, and behind a mirror for specs that insist on a pull.
    /// `theirs` of its parts is upstream's.
    pub fn start(nodes: u8, theirs: Option<Part>) -> Result<Self> {
        let images = target_dir().join("images/conformance");
        ensure!(
            images.is_dir(),
            "the suite's images are missing: cargo xtask image --conformance"
        );
        eprintln!("starting a cluster of {nodes} node(s)");
        let registry = Registry::open(&images.join(ARCHIVE))?;
        let mut cluster = Cluster::prepare(Options {
            images: Some(images),
            nodes,
            ..Options::default()
        })?;
        let mirror = SocketAddr::new(NODE_IP.parse()?, MIRROR_PORT);
        registry.serve(cluster.network().listen(mirror)?);
        let mirrors = cluster.directory().join("registries.yaml");
        fs::write(&mirrors, mirror_config(mirror))?;
        cluster.add_flag(format!("--registries={}", mirrors.display()));
        if let Some(part) = theirs {
            cluster.add_flag(format!("--without={}", part.name()));
        }
        cluster.up()?;
        let theirs = theirs
            .map(|part| Theirs::start(&cluster, part))
            .transpose()?;
        Ok(Self::Own {
            theirs: theirs.map(Mutex::new),
            cluster: Box::new(cluster),
        })
    }

    /// Upstream's own cluster, with a part of ours.
    pub fn upstream(part: Part) -> Result<Self> {
        Ok(Self::Upstream(Mutex::new(Upstream::start(part)?)))
    }

    /// A cluster that runs already.
    pub fn given(kubeconfig: &Path, netns: Option<&str>) -> Result<Self> {
        let kubeconfig = env::current_dir()?.join(kubeconfig);
        ensure!(
            kubeconfig.is_file(),
            "there is no kubeconfig {}",
            kubeconfig.display()
        );
        let netns = netns.map(|name| Path::new(NAMESPACES).join(name));
        if let Some(path) = &netns {
            ensure!(
                path.exists(),
                "there is no network namespace {}",
                path.display()
            );
        }
        Ok(Self::Given { kubeconfig, netns })
    }

    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Own { cluster, .. } => cluster.kubeconfig(),
            Self::Upstream(upstream) => lock(upstream).kubeconfig(),
            Self::Given { kubeconfig, .. } => kubeconfig.clone(),
        }
    }

    /// A program that reaches the cluster and its node.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Own { cluster, .. } => cluster.command(program),
            Self::Upstream(upstream) => within(
                &Path::new(NAMESPACES).join(lock(upstream).network()),
                program,
            ),
            Self::Given { netns: None, .. } => Command::new(program),
            Self::Given {
                netns: Some(path), ..
            } => within(path, program),
        }
    }

    /// An error when the cluster is no more there: every spec after that would fail for the wrong reason.
    pub fn check(&self) -> Result<()> {
        let (theirs, cluster) = match self {
            Self::Own { theirs, cluster } => (theirs, cluster),
            Self::Upstream(upstream) => return lock(upstream).check(),
            Self::Given { .. } => return Ok(()),
        };
        if let Some(theirs) = theirs {
            lock(theirs).check()?;
        }
        let pid = cluster.pid().context("the cluster does not run")?;
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let ended = state.is_empty() || state.contains(") Z ");
        ensure!(!ended, "knarr has ended\n{}", cluster.log_tail());
        Ok(())
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program in a network namespace.
fn within(namespace: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", namespace.display()))
        .arg("--")
        .arg(program);
    command
}

/// JSON is YAML.
fn mirror_config(mirror: SocketAddr) -> String {
    json!({"mirrors": {MIRRORED: {"endpoint": [format!("http://{mirror}")]}}}).to_string()
}
