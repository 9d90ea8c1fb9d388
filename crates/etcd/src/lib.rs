//! An etcd cluster as the store of one or several servers.
//!
//! ```text
//! commit() -> one transaction: compare the key's mod revision, then put or delete; else read what is there
//! revision() -> one linearizable read for all who ask while the last one is under way
//! get(), range() -> reads at a revision, in pages
//! watch() -> a stream over all keys, opened again where it ended whenever it breaks
//! ```
//!
//! A watch is of all keys, and looks for its own among them: each revision has an event then, so that the stream tells how far it
//! is, without progress notifications, which overtake events before etcd 3.4.31. The cluster has etcd for itself, as upstream's.
//!
//! Each call goes to one endpoint until that does not answer, and to the next one then. Reads are tried again until their
//! deadline; a write only where it cannot have been sent, since the first one may have been made. What cannot be
//! reached is [`knarr_store::Error::Unavailable`], never "not found".
//!
//! Rejected: the crate etcd-client. It balances over endpoints by load, and one that is down has none; it copies values, panics at events
//! it does not know, and brings locks, elections, users and leases that nobody needs here.

mod address;
mod calls;
mod compactor;
mod errors;
mod messages;
mod revision;
mod watch;

#[allow(clippy::all, missing_docs)]
mod api {
    tonic::include_proto!("etcdserverpb");
}

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use knarr_store::{Error, KeyValue, Op, Outcome, Range, Result, Store, Watch};
use knarr_tasks::Tasks;
use tokio_util::sync::CancellationToken;

pub use self::address::{Address, AddressError};
use self::{calls::Calls, revision::Revisions, watch::Source};

/// Keys that are asked for at once: etcd holds a page in memory, and so do we.
const PAGE_KEYS: usize = 500;

/// How etcd is reached.
#[derive(Clone, Debug)]
pub struct Options {
    pub address: Address,
    pub tls: Option<Tls>,
    /// How often history is compacted: each time to where it was the time before. One server of all does it.
    pub compaction_interval: Duration,
    /// How long a call may take in all, with what is tried again.
    pub deadline: Duration,
}

impl Options {
    /// Upstream's `--etcd-compaction-interval`, and no TLS.
    pub fn of(address: Address) -> Options {
        Options {
            address,
            tls: None,
            compaction_interval: Duration::from_secs(5 * 60),
            deadline: Duration::from_secs(10),
        }
    }
}

/// Whom to trust, and who we are; all PEM.
#[derive(Clone)]
pub struct Tls {
    pub ca: Vec<u8>,
    /// Certificate and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("etcd's certificates cannot be used: {0}")]
    Tls(tonic::transport::Error),
    #[error("{0} is not where an etcd can be")]
    Uri(String),
    #[error("cannot use etcd at {address}")]
    Etcd { address: Address, source: Error },
}

/// What every part of the client has.
struct Shared {
    calls: Calls,
    /// The last compaction that we know of; others compact, too.
    compacted: AtomicU64,
}

impl Shared {
    fn note_compaction(&self, revision: u64) {
        self.compacted.fetch_max(revision, Ordering::AcqRel);
    }
}

/// An etcd cluster.
pub struct Etcd {
    shared: Arc<Shared>,
    revisions: Revisions,
    tasks: Tasks,
}

impl Etcd {
    /// Connects, and asks for the revision, so that what is wrong is said at once.
    ///
    /// # Errors
    /// [`ConnectError`], after the deadline of a call where nobody answers.
    pub async fn connect(options: Options) -> Result<Etcd, ConnectError> {
        let Options { address, tls, .. } = &options;
        let shared = Arc::new(Shared {
            calls: Calls::new(address, tls.as_ref(), options.deadline)?,
            compacted: AtomicU64::new(0),
        });
        let revision = shared.calls.revision().await;
        let revision = revision.map_err(|source| ConnectError::Etcd {
            address: address.clone(),
            source,
        })?;
        tracing::info!(%address, revision, "store opened");
        let tasks = Tasks::new(CancellationToken::new());
        let revisions = Revisions::start(shared.clone(), &tasks);
        let stop = tasks.token().clone();
        let compactor = compactor::run(shared.clone(), options.compaction_interval);
        tasks.keep("etcd compactor", async move {
            stop.run_until_cancelled(compactor).await;
        });
        Ok(Etcd {
            shared,
            revisions,
            tasks,
        })
    }

    /// Ends what runs in the background; whoever waits for a revision is answered `Closed`.
    pub async fn close(&self) {
        self.tasks.token().cancel();
        self.tasks.stopped().await;
    }

    /// The error of a read at `at`, with what etcd does not say.
    async fn read_error(&self, error: Error, at: Option<u64>) -> Error {
        match error {
            Error::Future { .. } => match self.revision().await {
                Ok(current) => Error::Future { current },
                Err(error) => error,
            },
            Error::Compacted { .. } => {
                self.shared
                    .note_compaction(at.unwrap_or(0).saturating_add(1));
                Error::Compacted {
                    compacted: self.compacted(),
                }
            }
            other => other,
        }
    }

    async fn pages(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        at: u64,
    ) -> Result<Range> {
        let mut next = messages::start(prefix, start_after);
        let mut found = Range {
            revision: 0,
            kvs: Vec::new(),
            more: true,
            remaining: 0,
        };
        let mut at = at;
        while found.more && (limit == 0 || found.kvs.len() < limit) {
            let wanted = match limit {
                0 => PAGE_KEYS,
                limit => PAGE_KEYS.min(limit - found.kvs.len()),
            };
            let request = messages::page(next.clone(), prefix, wanted, at);
            let page = self.shared.calls.range(&request).await?;
            let revision = messages::revision(page.header.as_ref());
            if found.revision == 0 {
                found.revision = revision;
                // Further pages are of the same state.
                at = if at == 0 { revision } else { at };
            }
            let Some(last) = page.kvs.last() else {
                found.more = false;
                break;
            };
            next = messages::after(&last.key);
            let here = page.kvs.len() as u64;
            found.remaining = messages::unsigned(page.count).saturating_sub(here);
            found.more = page.more;
            for kv in page.kvs {
                found.kvs.push(messages::key_value(kv)?);
            }
        }
        Ok(found)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.tasks.token().cancel();
    }
}

#[async_trait]
impl Store for Etcd {
    async fn revision(&self) -> Result<u64> {
        self.revisions.newest().await
    }

    async fn get(&self, key: &str, at: Option<u64>) -> Result<(u64, Option<KeyValue>)> {
        let request = messages::get(key, at.unwrap_or(0));
        let response = match self.shared.calls.range(&request).await {
            Ok(response) => response,
            Err(error) => return Err(self.read_error(error, at).await),
        };
        let revision = messages::revision(response.header.as_ref());
        let kv = response.kvs.into_iter().next().map(messages::key_value);
        Ok((revision, kv.transpose()?))
    }

    async fn range(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        at: Option<u64>,
    ) -> Result<Range> {
        match self
            .pages(prefix, start_after, limit, at.unwrap_or(0))
            .await
        {
            Err(error) => Err(self.read_error(error, at).await),
            found => found,
        }
    }

    async fn commit(&self, op: Op) -> Result<Outcome> {
        let bytes = messages::size(&op);
        let response = self.shared.calls.txn(&messages::txn(op)).await;
        match response {
            Ok(response) => messages::outcome(response),
            Err(Error::TooLarge { limit, .. }) => Err(Error::TooLarge { bytes, limit }),
            Err(error) => Err(error),
        }
    }

    async fn watch(&self, prefix: &str, from: u64) -> Result<Watch> {
        let from = match from {
            0 => self.revision().await?.saturating_add(1),
            from => from,
        };
        let compacted = self.compacted();
        if from <= compacted {
            return Err(Error::Compacted { compacted });
        }
        let source = Source::new(
            self.shared.clone(),
            prefix,
            from,
            self.tasks.token().clone(),
        );
        Ok(Watch::new(Box::new(source), from))
    }

    async fn compact(&self, revision: u64) -> Result<()> {
        match self.shared.calls.compact(revision).await {
            Ok(()) => {
                self.shared.note_compaction(revision);
                Ok(())
            }
            Err(error) => Err(self
                .read_error(error, Some(revision.saturating_sub(1)))
                .await),
        }
    }

    fn compacted(&self) -> u64 {
        self.shared.compacted.load(Ordering::Acquire)
    }
}
