//! What all controllers share: how one is made, how its workers run, what happens to a key that failed.
//!
//! A controller is a struct of informers, a client and a queue. Informers' events put keys into the queue; a worker
//! takes one and calls [`Reconciler::reconcile`], which reads informers, plans (a pure function) and executes. A failed
//! key comes back after an exponential delay, for as long as it fails.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use knarr_client::{Clients, Informer, Informers, Object, WorkQueue, errors};
use knarr_tasks::Tasks;
use kube::Resource;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::busy::{self, Timed};
use crate::events::Recorder;
use crate::gone::Gone;

/// Who the controllers are together.
const MANAGER: &str = "system:kube-controller-manager";
/// Longest one reconciliation may take; its key is retried then.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(120);

/// Why a reconciliation did not finish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}", errors::message(.0))]
    Api(#[from] kube::Error),
    #[error("{0}")]
    Other(String),
    /// Not yet: what is waited for brings no event, so it is looked at again.
    #[error("{0}")]
    Again(&'static str),
}

impl Error {
    /// Another writer (or an informer's delay) came in between: worth a retry, not a line in the log.
    pub(crate) fn is_race(&self) -> bool {
        let raced = [
            errors::is_conflict,
            errors::is_already_exists,
            errors::is_not_found,
        ];
        match self {
            Self::Api(error) => raced.iter().any(|is| is(error)),
            Self::Other(_) => false,
            Self::Again(_) => true,
        }
    }

    /// Creates fail until the namespace is gone, and its deletion cleans up: there is nothing to retry.
    pub(crate) fn is_namespace_terminating(&self) -> bool {
        matches!(self, Self::Api(error) if errors::is_namespace_terminating(error))
    }
}

/// Names an object: its namespace (empty for cluster-scoped ones) and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    pub(crate) fn of<K: Object>(object: &K) -> Self {
        Self::new(object.namespace(), object.name())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// One controller's part that differs from the others'.
pub(crate) trait Reconciler: Send + Sync + 'static {
    /// For logs.
    const NAME: &'static str;
    type Key: Clone + Eq + Hash + fmt::Display + Send + Sync + 'static;

    fn queue(&self) -> &WorkQueue<Self::Key>;

    /// Brings what `key` names closer to what it should be. Called by one worker at a time for a key.
    fn reconcile(&self, key: &Self::Key) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What controllers are made from.
pub(crate) struct Context {
    pub config: Config,
    pub clients: Arc<dyn Clients>,
    pub informers: Informers,
    pub gone: Gone,
    pub tasks: Tasks,
    pub token: CancellationToken,
}

impl Context {
    /// A client that writes as the controller's service account, `<name>-controller` or as upstream calls it.
    pub(crate) fn client(&self, service_account: &str) -> kube::Client {
        self.clients
            .as_service_account("kube-system", service_account)
    }

    /// A client that writes as the controller manager itself: what hands out service accounts' tokens has no account of its own.
    pub(crate) fn own_client(&self) -> kube::Client {
        self.clients.as_user(MANAGER, &["system:authenticated"])
    }

    pub(crate) fn recorder(&self, client: &kube::Client, component: &'static str) -> Recorder {
        Recorder::new(client.clone(), component)
    }

    /// Runs `workers` workers of `controller` once `informers` are synced, until the token is cancelled.
    pub(crate) fn start<R: Reconciler>(
        &self,
        controller: Arc<R>,
        workers: usize,
        informers: Vec<Synced>,
    ) {
        let queue = controller.queue().clone();
        let token = self.token.clone();
        self.tasks.spawn("the end of a queue", async move {
            token.cancelled().await;
            queue.shut_down();
        });
        for _ in 0..workers {
            let controller = controller.clone();
            let token = self.token.clone();
            let synced = informers.clone();
            self.tasks.keep(std::any::type_name::<R>(), async move {
                let ready = futures::future::join_all(synced.iter().map(|synced| (synced.0)()));
                if token.run_until_cancelled(ready).await.is_some() {
                    token.run_until_cancelled(work(&*controller)).await;
                }
            });
        }
    }
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A wait for an informer's first list, whatever it holds; each worker makes its own.
#[derive(Clone)]
pub(crate) struct Synced(Arc<dyn Fn() -> Wait + Send + Sync>);

impl Synced {
    pub(crate) fn when<F>(ready: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(ready())))
    }
}

pub(crate) fn synced<K: Object>(informer: &Informer<K>) -> Synced {
    let informer = informer.clone();
    Synced::when(move || {
        let informer = informer.clone();
        async move { informer.synced().await }
    })
}

async fn work<R: Reconciler>(controller: &R) {
    while let Some(key) = controller.queue().next().await {
        let mut reconciled = Timed::new(controller.reconcile(&key));
        let result = timeout(RECONCILE_TIMEOUT, &mut reconciled)
            .await
            .unwrap_or_else(|_| {
                Err(Error::Other(format!(
                    "not done within {RECONCILE_TIMEOUT:?}"
                )))
            });
        match result {
            Ok(()) => controller.queue().forget(&key),
            Err(error) if error.is_namespace_terminating() => controller.queue().forget(&key),
            Err(error) => {
                if error.is_race() {
                    tracing::debug!(controller = R::NAME, %key, %error, "overtaken, retrying");
                } else {
                    tracing::warn!(controller = R::NAME, %key, %error, "reconciliation failed, retrying");
                }
                controller.queue().add_rate_limited(key.clone());
            }
        }
        let rest = busy::rest(reconciled.busy());
        drop(reconciled);
        controller.queue().done_after(&key, rest);
    }
}

/// The object's uid, empty when it has none yet.
pub(crate) fn uid<K: Resource>(object: &K) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}
