//! Calls of webhooks: a client configuration, the way to its server, an answer within bounds. And the way to other servers behind
//! Services: aggregated API servers.
//!
//! ```text
//! ClientConfig --> Clients (a pool of connections a configuration) --> service's endpoint or URL --> TLS --> POST --> bytes
//! Target, Trust --> Backend (a pool of connections) -----------------------------^-------------------> any request --> answer
//! Kubeconfig --> Remote (a pool of connections) ---------------------------------^-------------------> POST --> bytes
//! ```
//!
//! Admission webhooks and conversion webhooks are called alike. Whoever runs one is trusted with what it is asked, and with nothing
//! else: its answer has a size and a deadline, redirects are not followed, and calls of one that hangs wait for each other, not for
//! those of others. Errors are told in the words of Go's HTTP client, which people search for.
//!
//! Rejected: reqwest (it resolves the name that it verifies; a service is reached at a pod's address under the name of the
//! service).

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod answer;
mod backend;
mod client;
mod config;
mod connect;
mod error;
mod kubeconfig;
mod local;
mod place;
mod remote;
mod service;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod verify;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use knarr_auth::objects::Objects;
use lru::LruCache;
use parking_lot::Mutex;

use self::client::Client;
pub use self::{
    backend::{Backend, Body, Failure},
    config::{ClientConfig, Target},
    error::Error,
    kubeconfig::{Credentials, Identity, Kubeconfig, KubeconfigError},
    local::LocalApi,
    place::{aside, with_place},
    remote::{Remote, fetch},
    verify::Trust,
};

/// Configurations whose connections are kept, as upstream's cache of clients has a bound.
const CLIENTS: NonZeroUsize = NonZeroUsize::new(200).expect("is not zero");

/// The clients of all webhooks.
pub struct Clients {
    /// Where services and their endpoints are looked up.
    objects: Arc<dyn Objects>,
    clients: Mutex<LruCache<ClientConfig, Arc<Client>>>,
}

/// What one call may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From waiting for a place to the last byte of the answer.
    pub time: Duration,
    pub answer_bytes: usize,
}

impl Clients {
    pub fn new(objects: Arc<dyn Objects>) -> Clients {
        Clients {
            objects,
            clients: Mutex::new(LruCache::new(CLIENTS)),
        }
    }

    /// POSTs a review and gives the answer's body.
    ///
    /// # Errors
    /// Where the configuration is none, the server cannot be reached, does not prove who it is, does not answer in time, answers
    /// too much, or not with 2xx.
    pub async fn call(
        &self,
        config: &ClientConfig,
        review: Bytes,
        bounds: Bounds,
    ) -> Result<Bytes, Error> {
        let client = self.client(config)?;
        aside(client.post(review, bounds)).await
    }

    fn client(&self, config: &ClientConfig) -> Result<Arc<Client>, Error> {
        if let Some(client) = self.clients.lock().get(config) {
            return Ok(client.clone());
        }
        // Outside of the lock: certificates are parsed.
        let client = Arc::new(Client::new(config, self.objects.clone())?);
        self.clients.lock().put(config.clone(), client.clone());
        Ok(client)
    }
}
