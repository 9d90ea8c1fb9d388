//! Pulls images from registries (the OCI distribution protocol).
//!
//! ```text
//! reference -> manifest (of this platform) -> configuration -> layers that are not unpacked yet -> commit
//!
//! registries (mirrors) -> client (authorization, guard) -> spool (bounds, pace, digest) -> file -> reader (share)
//! ```
//!
//! A registry is not trusted with anything but time, and little of that: what it sends goes to a file with no name, and is
//! read once it is whole and has its digest. Nothing compressed is kept; nor are layers of an image that could not be had.
//! Pulls of one reference with the same credentials are one pull.
//!
//! Rejected: a registry client library. The one there is reads manifests, tokens and errors into memory whole, goes
//! wherever a registry sends it, and has no mirrors.

mod auth;
mod client;
mod error;
mod fetch;
mod guard;
mod manifest;
mod spool;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use knarr_tasks::{Full, Quota, Shares};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

pub use auth::Credentials;
pub use error::{PullError, PullFailure};
use fetch::Pull;

use super::{ImageStore, Reference};
use crate::registries::Registries;

/// Images that are pulled at a time. Another is refused.
const MAX_PULLS: usize = 128;
/// Of those, from one registry: one that keeps its pulls waiting is in nobody's way.
const MAX_PULLS_OF_REGISTRY: usize = 64;
/// Layers fetched at a time, of one image.
const MAX_LAYERS_AT_A_TIME: usize = 3;
/// Manifests, configurations and layers that are read at a time, of all images: each takes a thread, and the memory of a
/// decompressor.
const MAX_READING: usize = 12;
/// Of those, of one registry.
const MAX_READING_OF_REGISTRY: usize = 3;

/// How long a registry may keep a pull waiting.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the head of an answer, and for the whole of a short one. Default one minute.
    pub answer: Duration,
    /// Without progress in a body. Default one minute.
    pub progress: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(60),
            progress: Duration::from_secs(60),
        }
    }
}

type Outcome = Result<String, Arc<PullError>>;
type Key = (String, Credentials);
type Pulls = Mutex<HashMap<Key, Shared<BoxFuture<'static, Outcome>>>>;

/// Pulls into a store.
#[derive(Clone)]
pub struct Puller {
    images: Arc<ImageStore>,
    registries: Arc<Registries>,
    timeouts: Timeouts,
    places: Quota,
    shares: Arc<Shares>,
    running: Arc<Pulls>,
    tasks: TaskTracker,
}

/// A pull that is found by those who want the same, until this is dropped.
struct Running<'p>(&'p Pulls, &'p Key);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(self.1);
    }
}

impl Puller {
    /// Pulls run as tasks of `tasks`: one goes on when who asked for it has left.
    pub fn new(
        images: Arc<ImageStore>,
        registries: Registries,
        timeouts: Timeouts,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            images,
            registries: Arc::new(registries),
            timeouts,
            places: Quota::new(MAX_PULLS_OF_REGISTRY, MAX_PULLS),
            shares: Arc::new(Shares::new(MAX_READING_OF_REGISTRY, MAX_READING)),
            running: Arc::default(),
            tasks,
        }
    }

    /// The id of the image that the reference names now.
    pub async fn pull(&self, reference: &Reference, credentials: Credentials) -> Outcome {
        let name = reference.to_string();
        if reference.digest.is_some()
            && let Some(image) = self.images.find(&name)
        {
            return Ok(image.id);
        }
        let key = (name, credentials);
        let running = {
            let mut running = self.running.lock();
            match running.get(&key) {
                Some(pull) => pull.clone(),
                None => {
                    let pull = self.start(reference.clone(), key.clone());
                    running.insert(key, pull.clone());
                    pull
                }
            }
        };
        running.await
    }

    fn start(&self, reference: Reference, key: Key) -> Shared<BoxFuture<'static, Outcome>> {
        let this = self.clone();
        let name = key.0.clone();
        let task = self.tasks.spawn(async move {
            // Also where it panics: what has failed must not be what is found by who asks next.
            let _running = Running(&this.running, &key);
            let started = std::time::Instant::now();
            let outcome = this.fetch(&reference, &key.1).await.map_err(|failure| {
                Arc::new(PullError {
                    reference: key.0.clone(),
                    failure,
                })
            });
            match &outcome {
                Ok(id) => {
                    let seconds = started.elapsed().as_secs_f64();
                    tracing::info!(image = key.0, id, seconds, "pulled an image");
                }
                Err(error) => tracing::debug!(image = key.0, %error, "cannot pull an image"),
            }
            outcome
        });
        async move {
            task.await.unwrap_or_else(|error| {
                Err(Arc::new(PullError {
                    reference: name,
                    failure: PullFailure::Ended(error.to_string()),
                }))
            })
        }
        .boxed()
        .shared()
    }

    async fn fetch(
        &self,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<String, PullFailure> {
        let place = self.places.take(&reference.registry);
        let _place = place.map_err(|full| match full {
            Full::Owner(count) => PullFailure::TooManyOfRegistry(count),
            Full::All(count) => PullFailure::TooMany(count),
        })?;
        let pull = Pull::new(
            &self.images,
            reference,
            &self.registries,
            credentials,
            &self.shares,
            self.timeouts,
        )?;
        let outcome = pull.run().await;
        if outcome.is_err() {
            let images = self.images.clone();
            let swept = tokio::task::spawn_blocking(move || images.sweep_layers()).await;
            if let Ok(Err(error)) = swept {
                tracing::warn!(%error, "cannot remove layers that no image has");
            }
        }
        outcome
    }
}
