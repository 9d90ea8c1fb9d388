//! Where a client runs: beside a cluster of its own, or with a kubeconfig that was given.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use knarr_testkit::{Cluster, Options, can_run_clusters, image};

pub enum Place {
    Own(Box<Cluster>),
    Given { kubeconfig: PathBuf, home: PathBuf },
}

impl Place {
    /// The cluster of a kubeconfig; without one, a new cluster with the archives of a directory, or the project's images.
    pub fn new(kubeconfig: Option<&Path>, images: Option<PathBuf>) -> Result<Self> {
        if let Some(path) = kubeconfig {
            let kubeconfig = fs::canonicalize(path).with_context(|| path.display().to_string())?;
            let home = image::target_dir().join("clients/home");
            fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
            return Ok(Self::Given { kubeconfig, home });
        }
        if !can_run_clusters() {
            bail!("needs root, or --kubeconfig");
        }
        let cluster = Cluster::start_with(Options {
            images,
            ..Options::default()
        })?;
        Ok(Self::Own(Box::new(cluster)))
    }

    /// A program that talks to the cluster. `CLIENT_DIR` is a directory of its own, `CRI_ENDPOINT` the runtime's socket.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let mut command = match self {
            Self::Own(cluster) => {
                let mut command = cluster.command(program);
                let socket = cluster.data_dir().join("run/runtime.sock");
                command.env("CRI_ENDPOINT", format!("unix://{}", socket.display()));
                command
            }
            Self::Given { kubeconfig, home } => {
                let mut command = Command::new(program);
                command.env("KUBECONFIG", kubeconfig).env("HOME", home);
                command
            }
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
            Self::Given { home, .. } => home.join("client"),
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
            Self::Given { .. } => Ok(false),
        }
    }

    /// Keeps what knarr logged beside the client's log.
    pub fn keep_log(&self, logs: &Path, name: &str) {
        if let Self::Own(cluster) = self {
            let from = cluster.directory().join("knarr.log");
            let _ = fs::copy(from, logs.join(format!("{name}.knarr.log")));
        }
    }
}
