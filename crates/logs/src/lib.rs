//! The log agent: what containers and the node itself write is followed, kept for a while, searched and forwarded.
//!
//! ```text
//! logs/pods/*/*/*.log --inotify--> Follower --records--> Store ----> Searcher (`knarr logs`, through the kubelet's server)
//! the node's own log ---------------^                      |
//! pods of the node (informer): labels ---^                 +-------> an output each: Tail, filters, request, place
//! ```
//!
//! There is one sequence of blocks on the disk ([`store`]). It is what is searched when a pod is long gone, and it is the buffer
//! of every output, which remembers its place in it: a line is written once, however many want it, and a receiver that is away
//! holds up nobody.
//!
//! Nothing is lost and nothing comes out of order within a pod while a receiver is away, for as long as what was retained lasts; what
//! was not, because a pod logs faster than it may, because the disk is full or because a receiver was away for too long, is
//! counted and said. After a crash of the process nothing is read twice; after a power failure the lines of the last seconds may be read
//! again, or be missing as they may be in the log files.
//!
//! Following is blocking work in small steps: the agent runs on a thread of its own.
//!
//! Rejected: a queue on the disk for each output (as many copies as outputs, and one more that is searched), an inverted index of
//! words (several times as large as the sets of grams, which rule out most blocks as well).

mod counts;
mod follow;
mod forward;
mod metrics;
mod positions;
mod query;
mod record;
mod search;
mod store;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use knarr_client::{InformerScope, Informers};
use knarr_tasks::Tasks;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::{
    follow::{BYTES_PER_SECOND, Follower, Pods, Settings},
    forward::Forwarder,
    positions::{Position, Positions},
    store::{FREE_PERCENT, Limits, Store},
};
pub use self::{
    forward::config::{Forwarding, Output},
    metrics::Metric,
    query::{BadQuery, DEFAULT_LIMIT, MAX_LIMIT},
    search::{Refused, Searcher},
    store::MIN_BYTES,
};

/// Kept on a node unless it is told otherwise, bytes.
pub const DEFAULT_RETENTION_BYTES: u64 = 256 << 20;
/// Kept for so long at most unless it is told otherwise.
pub const DEFAULT_RETENTION_AGE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Labels are waited for so long, then logs are followed without.
const PODS_TIMEOUT: Duration = Duration::from_secs(10);

/// What an agent is told at start.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    /// The node's directory of logs: holds `pods`, written by others, and `retained`, which is the agent's.
    pub directory: PathBuf,
    /// The node's own log, where it is a file.
    pub own_log: Option<PathBuf>,
    /// On the disk, bytes; 0 keeps nothing.
    pub retention_bytes: u64,
    /// Zero keeps nothing.
    pub retention_age: Duration,
    pub forwarding: Forwarding,
}

impl Config {
    /// Whether there is anything to do for an agent.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.retains() || !self.forwarding.outputs.is_empty()
    }

    fn retains(&self) -> bool {
        self.retention_bytes > 0 && !self.retention_age.is_zero()
    }
}

/// Kept for outputs where nothing else is to be kept, bytes.
const BUFFER_BYTES: u64 = 64 << 20;

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the retained logs in {}: {source}", directory.display())]
    Store {
        directory: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot follow the logs in {}: {source}", directory.display())]
    Follow {
        directory: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("output {output}: {reason}")]
    Output { output: String, reason: String },
}

/// The agent of a node.
pub struct Agent {
    config: Config,
    store: Arc<Store>,
    /// How far files were read when the last process ended, beside what is saved.
    positions: Vec<Position>,
    forwarders: Vec<Forwarder>,
    outputs: metrics::Outputs,
}

impl Agent {
    /// Opens what is retained.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(config: Config) -> Result<Self, Error> {
        let limits = match config.retains() {
            true => Limits {
                bytes: config.retention_bytes.max(MIN_BYTES),
                age: config.retention_age,
                free_percent: FREE_PERCENT,
            },
            false => Limits {
                bytes: BUFFER_BYTES,
                age: DEFAULT_RETENTION_AGE,
                free_percent: FREE_PERCENT,
            },
        };
        let directory = config.directory.join("retained");
        let opened = Store::open(&directory, limits);
        let failed = |source| Error::Store {
            directory: directory.clone(),
            source,
        };
        let (store, positions) = opened.map_err(failed)?;
        let store = Arc::new(store);
        let wanted = &config.forwarding.outputs;
        forward::forget_others(&directory, wanted).map_err(failed)?;
        let mut outputs = metrics::Outputs::default();
        let mut forwarders = Vec::new();
        for output in wanted {
            let counts = outputs.of(&output.name);
            let made = Forwarder::new(output, &config.node_name, &store, &directory, counts);
            forwarders.push(made.map_err(|reason| Error::Output {
                output: output.name.clone(),
                reason,
            })?);
        }
        Ok(Self {
            config,
            store,
            positions,
            forwarders,
            outputs,
        })
    }

    /// What answers queries.
    #[must_use]
    pub fn searcher(&self) -> Searcher {
        let only_follows = !self.config.retains();
        let outputs = self.outputs.clone();
        Searcher::new(
            &self.config.node_name,
            self.store.clone(),
            outputs,
            only_follows,
        )
    }

    /// Follows the node's logs until the token is cancelled. Blocks in between: for a thread of its own.
    pub async fn run(self, informers: &Informers, token: CancellationToken) {
        let informer = informers.informer_with::<Pod>(InformerScope {
            field_selector: Some(format!("spec.nodeName={}", self.config.node_name)),
            ..InformerScope::default()
        });
        let pods = Pods::new(informer, self.config.forwarding.annotations());
        let synced = timeout(PODS_TIMEOUT, pods.synced());
        if token.run_until_cancelled(synced).await.is_none() {
            return;
        }
        let retained = self.config.directory.join("retained");
        let positions = Positions::load(&retained, self.positions);
        let settings = Settings {
            pods: self.config.directory.join("pods"),
            own: self.config.own_log,
            rate: BYTES_PER_SECOND,
        };
        let outputs = Tasks::new(token.clone());
        for forwarder in self.forwarders {
            forwarder.start(&outputs);
        }
        let directory = settings.pods.clone();
        match Follower::new(settings, self.store, pods, positions) {
            Ok(follower) => follower.run(token).await,
            Err(source) => {
                let error = Error::Follow { directory, source };
                // The node is a node without it.
                tracing::error!(%error, "no logs are followed");
                token.cancelled().await;
            }
        }
        outputs.stopped().await;
    }
}
