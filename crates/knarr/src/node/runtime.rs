//! The container runtime of a node: the embedded one, unless another is given.

use std::path::Path;

use anyhow::{Context, Error, Result};
use knarr_runtime::{Registries, Runtime};
use knarr_tasks::Tasks;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Host;
use crate::{archives, cli::NodeFlags, parts::Failure};

/// A runtime that answers at its endpoint.
pub struct ContainerRuntime {
    endpoint: String,
    /// None of another runtime.
    tasks: Tasks,
}

impl ContainerRuntime {
    /// Starts the embedded runtime, unless another is given. Images are imported before anything can ask for them.
    pub async fn start(host: &Host, flags: &NodeFlags, failure: &Failure) -> Result<Self> {
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
            import_images(&runtime, dir).await?;
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

/// Unpacking is work for the disk: off the async threads.
async fn import_images(runtime: &Runtime, dir: &Path) -> Result<()> {
    let archives = archives::in_directory(dir)?;
    let images = runtime.images();
    let imported = tokio::task::spawn_blocking(move || {
        for archive in archives {
            match images.import_tar(&archive) {
                Ok(ids) => info!(archive = %archive.display(), ?ids, "images imported"),
                // Most are there from an earlier start, and whoever wants to make room needs a cluster that runs.
                Err(error) if is_full(&error) => {
                    warn!(archive = %archive.display(), %error, "images not imported");
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot import {}", archive.display()));
                }
            }
        }
        Ok(())
    });
    imported.await.context("importing images was aborted")?
}

/// Whether there is no room left on the disk.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
    })
}
