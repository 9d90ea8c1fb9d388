//! Where a client runs: beside a cluster or a runtime of its own, or with a kubeconfig that was given.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use knarr_testkit::{Cluster, Options, can_run_clusters};

use crate::reference::Runtime;

use super::{build::Subject, visit::Visit};

const ENDPOINT: &str = "CRI_ENDPOINT";

pub enum Place {
    Own(Box<Cluster>),
    Containerd(Box<Runtime>),
    Given(Visit),
}

impl Place {
    /// The cluster of a kubeconfig; without one, what the client wants, made for it.
    pub fn new(
        kubeconfig: Option<&Path>,
        namespace: &'static str,
        subject: &Subject,
    ) -> Result<Self> {
        if let Some(path) = kubeconfig {
            return Ok(Self::Given(Visit::begin(path, namespace)?));
        }
        if !can_run_clusters() {
            bail!("needs root, or --kubeconfig");
        }
        let images = match subject {
            Subject::Cluster => None,
            Subject::Runtime(images) => Some(images.clone()),
            Subject::Containerd { images, pause } => {
                return Ok(Self::Containerd(Box::new(Runtime::start(images, pause)?)));
            }
        };
        let cluster = Cluster::start_with(Options {
            images,
            ..Options::default()
        })?;
        Ok(Self::Own(Box::new(cluster)))
    }

    /// A program that talks to the cluster or runtime. `CLIENT_DIR` is a directory of its own, `CRI_ENDPOINT` the runtime's socket.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let mut command = match self {
            Self::Own(cluster) => {
                let mut command = cluster.command(program);
                command.env(
                    ENDPOINT,
                    endpoint(&cluster.data_dir().join("run/runtime.sock")),
                );
                command
            }
            Self::Containerd(runtime) => {
                let mut command = runtime.command(program)?;
                command.env(ENDPOINT, endpoint(&runtime.socket()));
                command
            }
            Self::Given(visit) => visit.command(program),
        };
        let dir = self.client_dir();
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        command.env("CLIENT_DIR", dir);
        Ok(command)
    }

    /// The directory that is the client's own.
    pub fn client_dir(&self) -> PathBuf {
        match self {
            Self::Own(cluster) => cluster.directory().join("client"),
            Self::Containerd(runtime) => runtime.directory().join("client"),
            Self::Given(visit) => visit.directory(),
        }
    }

    /// Restarts the cluster, as a crash and a new start would; false where it is somebody else's.
    pub fn restart(&mut self) -> Result<bool> {
        match self {
            Self::Own(cluster) => {
                cluster.kill()?;
                cluster.up()?;
                Ok(true)
            }
            Self::Containerd(_) | Self::Given(_) => Ok(false),
        }
    }

    /// Keeps what knarr or containerd logged beside the client's log.
    pub fn keep_log(&self, logs: &Path, name: &str) {
        let (from, whose) = match self {
            Self::Own(cluster) => (cluster.directory().join("knarr.log"), "knarr"),
            Self::Containerd(runtime) => (runtime.log(), "containerd"),
            Self::Given(_) => return,
        };
        let _ = fs::copy(from, logs.join(format!("{name}.{whose}.log")));
    }
}

fn endpoint(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}
