//! A cluster that is measured, and how work reaches it.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};

use crate::{
    cluster::Cluster,
    http::{Endpoint, Protocol},
    kubeconfig::Access,
    netns,
    seed::Seed,
};
pub use crate::{
    http::create,
    signals::{interrupted, watch_signals},
};

/// A cluster and what was learnt about it.
pub struct Target {
    /// `knarr`, `against`.
    pub label: &'static str,
    pub endpoint: Endpoint,
    /// The admin's.
    pub access: Access,
    pub protocol: Protocol,
    /// `v1.37.2`, as /version says.
    pub version: String,
    pub image: String,
    /// Present where the bench started it.
    pub cluster: Option<Cluster>,
    /// The ConfigMaps that the rows of reads share.
    seed: Mutex<Option<Seed>>,
    /// Where the disk is measured.
    pub disk: PathBuf,
}

impl Target {
    /// Connects once, to learn that it can and what is there.
    pub fn new(
        label: &'static str,
        access: Access,
        protocol: Protocol,
        image: &str,
        cluster: Option<Cluster>,
    ) -> Result<Self> {
        let netns = cluster.as_ref().map(|cluster| cluster.namespace.path());
        let (endpoint, version) = block_on(netns, || async {
            let endpoint = Endpoint::new(&access, protocol)?;
            let version = endpoint.get("/version").await?;
            let version = version["gitVersion"]
                .as_str()
                .unwrap_or("unknown")
                .to_owned();
            Ok((endpoint, version))
        })
        .with_context(|| format!("cannot reach {}", access.server))?;
        let disk = cluster
            .as_ref()
            .map_or_else(std::env::temp_dir, |c| c.directory().to_owned());
        let (image, seed) = (image.to_owned(), Mutex::new(None));
        Ok(Self {
            label,
            endpoint,
            access,
            protocol,
            version,
            image,
            cluster,
            seed,
            disk,
        })
    }

    /// The ConfigMaps made so far; whoever takes them puts them back or deletes them.
    pub fn take_seed(&self) -> Option<Seed> {
        self.seed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub fn keep_seed(&self, seed: Seed) {
        *self.seed.lock().unwrap_or_else(PoisonError::into_inner) = Some(seed);
    }

    /// Runs a future on one thread in the cluster's network namespace, until it ends or the bench is interrupted.
    pub fn block_on<F, T>(&self, make: impl FnOnce() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>>,
        T: Send,
    {
        block_on(
            self.cluster
                .as_ref()
                .map(|cluster| cluster.namespace.path()),
            make,
        )
    }
}

/// One thread, so that the generator takes at most one core from what it measures.
fn block_on<F, T>(netns: Option<&Path>, make: impl FnOnce() -> F + Send) -> Result<T>
where
    F: Future<Output = Result<T>>,
    T: Send,
{
    netns::within(netns, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            tokio::select! {
                result = make() => result,
                () = interrupted().cancelled() => bail!("interrupted"),
            }
        })
    })
}
