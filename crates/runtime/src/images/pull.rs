//! Pulls images from registries (the OCI distribution protocol).
//!
//! ```text
//! reference -> manifest (of this platform) -> configuration -> layers that are not unpacked yet -> commit
//! ```
//!
//! A layer goes from the socket through the decompressor into its directory, while its digests are computed: nothing
//! compressed is kept. What a failed pull has unpacked stays for the next one. Pulls of one reference with the same
//! credentials are one pull.

mod auth;
mod error;
mod fetch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

pub use auth::Credentials;
pub use error::{PullError, PullFailure};

use super::{ImageStore, Reference};

/// Layers fetched at a time, of one image.
const MAX_LAYERS_AT_A_TIME: usize = 3;
/// How long a registry may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a registry may send nothing.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);

type Outcome = Result<String, Arc<PullError>>;
type Key = (String, Credentials);

/// Pulls into a store.
#[derive(Clone)]
pub struct Puller {
    images: Arc<ImageStore>,
    /// Registries (`host` or `host:port`) spoken to without TLS, besides those of the loopback.
    insecure: Arc<[String]>,
    running: Arc<Mutex<HashMap<Key, Shared<BoxFuture<'static, Outcome>>>>>,
    tasks: TaskTracker,
}

impl Puller {
    /// Pulls run as tasks of `tasks`: one goes on when who asked for it has left.
    pub fn new(images: Arc<ImageStore>, insecure: &[String], tasks: TaskTracker) -> Self {
        Self {
            images,
            insecure: insecure.into(),
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
            let started = std::time::Instant::now();
            let fetching = fetch::image(&this.images, &reference, &key.1, &this.insecure);
            let outcome = fetching.await.map_err(|failure| {
                Arc::new(PullError {
                    reference: key.0.clone(),
                    failure,
                })
            });
            this.running.lock().remove(&key);
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
}
