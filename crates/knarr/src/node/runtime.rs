//! The container runtime of a node: the embedded one, unless another is given.

use std::path::Path;

use anyhow::{Context, Error, Result};
use knarr_runtime::{Registries, Runtime, images::Imported};
use knarr_tasks::Tasks;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Host;
use crate::{archives, cli::NodeFlags, parts::Failure, progress::Progress};

/// A runtime that answers at its endpoint.
pub struct ContainerRuntime {
    endpoint: String,
    /// None of another runtime.
    tasks: Tasks,
}

impl ContainerRuntime {
    /// Starts the embedded runtime, unless another is given. Images are imported before anything can ask for them; who looks at
    /// `progress` is told of archives that are none, which keep no cluster from running.
    pub async fn start(
        host: &Host,
        flags: &NodeFlags,
        failure: &Failure,
        progress: &Progress,
    ) -> Result<Self> {
        let tasks = Tasks::new(CancellationToken::new());
        if let Some(endpoint) = &flags.container_runtime_endpoint {
            if !flags.image_dir.is_empty() {
                warn!(
                    "--image-dir is for the embedded runtime; another runtime has its own images"
                );
            }
            if flags.registries.is_some() {
                warn!(
                    "--registries is for the embedded runtime; another runtime has its own mirrors"
                );
            }
            let endpoint = endpoint.clone();
            return Ok(Self { endpoint, tasks });
        }
        let mut config = knarr_runtime::Config::new(&host.data_dir);
        config.cgroup_root.clone_from(&host.cgroup);
        if let Some(path) = &flags.registries {
            config.registries = Registries::read(path)?;
        }
        let endpoint = format!("unix://{}", config.socket.display());
        let runtime = Runtime::new(config).await?;
        for dir in &flags.image_dir {
            for refused in import_images(&runtime, dir).await? {
                progress.line(&format!("    {refused}"));
            }
        }
        let token = tasks.token().clone();
        failure.must_run(&tasks, "container runtime", async move {
            runtime.run(token).await.map_err(Error::from)
        });
        Ok(Self { endpoint, tasks })
    }

    /// Its CRI endpoint.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }
}

/// What could not be imported: whoever wants to mend it, or to make room, needs a cluster that runs, and most images are there from
/// an earlier start. Unpacking is work for the disk: off the async threads.
async fn import_images(runtime: &Runtime, dir: &Path) -> Result<Vec<String>> {
    let archives = archives::in_directory(dir)?;
    let images = runtime.images();
    let imported = tokio::task::spawn_blocking(move || {
        let mut refused = Vec::new();
        for archive in archives {
            match images.import_tar(&archive) {
                Ok(Imported { images, skipped }) => {
                    info!(archive = %archive.display(), ?images, ?skipped, "images imported");
                }
                Err(error) => {
                    warn!(archive = %archive.display(), %error, "images not imported");
                    refused.push(format!("cannot import {}: {error}", archive.display()));
                }
            }
        }
        refused
    });
    imported.await.context("importing images was aborted")
}
