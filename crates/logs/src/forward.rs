//! Forwarding: outputs, each fed from the store at its own pace.
//!
//! ```text
//! Tail -> filters -> a batch -> request --accepted--> the place after the batch is saved
//!                                  ^  '--refused for now--> again, later and later
//!                                  '-----------------------'
//! ```
//!
//! A batch is sent again until it is taken, so that a receiver has every line at least once and those of a pod in order. What a receiver
//! says that it will never take is counted and left out. One batch is under way at a time: a receiver that is slow is waited for,
//! and what it has not had yet is in the store.

pub mod config;
mod elasticsearch;
mod file;
mod filter;
mod fluent;
mod http;
mod loki;
mod otlp;
mod output;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use knarr_tasks::Tasks;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::{filter::Filter, output::Output};
use crate::{
    counts::Counts,
    record::Owned,
    store::{Place, Store, Tail},
};

/// Lines of a batch.
const MAX_BATCH_RECORDS: usize = 4_096;
/// Text of a batch, bytes.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Lines that are read for one batch: many may be filtered out.
const MAX_BATCH_READ: u32 = 100_000;
/// Lines are collected for so long when there are few.
const LINGER: Duration = Duration::from_millis(200);
/// After a refusal; doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// A place is saved so often at most. What was sent since is sent again after a crash.
const SAVE: Duration = Duration::from_secs(1);
/// A receiver that is away is told of so often.
const TELL: Duration = Duration::from_secs(60);
/// Directory of places, below the store's.
const PLACES: &str = "outputs";

/// A batch for a receiver; all of it is of this node.
pub struct Batch<'a> {
    pub node: &'a str,
    pub records: &'a [Owned],
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It may be taken another time.
    #[error("{0}")]
    Now(String),
    /// It will not be.
    #[error("{0}")]
    Forever(String),
}

/// Whoever takes batches.
#[async_trait]
pub trait Receiver: Send {
    /// Sends a batch; when this returns it is the receiver's. The result is how many lines of it were refused for good.
    async fn send(&mut self, batch: Batch<'_>) -> Result<u64, Refusal>;
}

/// An output that runs.
pub struct Forwarder {
    name: String,
    node: Arc<str>,
    store: Arc<Store>,
    tail: Option<Tail>,
    filter: Filter,
    receiver: Box<dyn Receiver>,
    counts: Arc<Counts>,
    path: PathBuf,
    saved: Place,
    save_at: Instant,
}

/// Removes the places of outputs that are no more: one of the same name begins anew.
pub fn forget_others(directory: &Path, outputs: &[Output]) -> io::Result<()> {
    let directory = directory.join(PLACES);
    fs::create_dir_all(&directory)?;
    for entry in fs::read_dir(&directory)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default();
        if !outputs.iter().any(|output| *output.name == *name) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

impl Forwarder {
    /// An output goes on from where it was; a new one gets what comes from now on.
    ///
    /// # Errors
    /// What is wrong with its configuration, for its author.
    pub fn new(
        output: &Output,
        node: &str,
        store: &Arc<Store>,
        directory: &Path,
        counts: Arc<Counts>,
    ) -> Result<Self, String> {
        let path = directory.join(PLACES).join(format!("{}.json", output.name));
        let saved = fs::read(&path).ok();
        let saved = saved.and_then(|json| serde_json::from_slice(&json).ok());
        let place = match saved {
            Some(place) => place,
            None => {
                // What comes while a new receiver is away is its, too.
                let place = store.end();
                save(&path, &place).map_err(|error| error.to_string())?;
                place
            }
        };
        Ok(Self {
            name: output.name.clone(),
            node: node.into(),
            tail: Some(Tail::new(store.clone(), place)),
            store: store.clone(),
            filter: Filter::new(output)?,
            receiver: output.receiver()?,
            counts,
            path,
            saved: place,
            save_at: Instant::now(),
        })
    }

    /// Starts it.
    pub fn start(self, tasks: &Tasks) {
        let (name, token) = (format!("log output {}", self.name), tasks.token().clone());
        tasks.keep(name, self.run(token));
    }

    async fn run(mut self, token: CancellationToken) {
        let mut written = self.store.written();
        while !token.is_cancelled() {
            written.borrow_and_update();
            let Some((records, was_all)) = self.collect().await else {
                break;
            };
            if !records.is_empty()
                && token
                    .run_until_cancelled(self.send(&records))
                    .await
                    .is_none()
            {
                // Not taken: it is sent again by the next process.
                return;
            }
            self.save(false).await;
            if was_all {
                let more = async {
                    let _ = written.changed().await;
                    sleep(LINGER).await;
                };
                token.run_until_cancelled(more).await;
            }
        }
        self.save(true).await;
    }

    /// The next lines that the output wants, and whether that was all there is.
    async fn collect(&mut self) -> Option<(Vec<Owned>, bool)> {
        let mut tail = self.tail.take()?;
        let mut filter = std::mem::take(&mut self.filter);
        let collected = spawn_blocking(move || {
            let (mut records, mut bytes) = (Vec::new(), 0);
            for _ in 0..MAX_BATCH_READ {
                match tail.next() {
                    Ok(Some(record)) if filter.takes(&record) => {
                        bytes += record.text.len();
                        records.push(record);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return (tail, filter, records, true),
                    Err(error) => tracing::warn!(%error, "a block of logs cannot be read"),
                }
                if records.len() >= MAX_BATCH_RECORDS || bytes >= MAX_BATCH_BYTES {
                    break;
                }
            }
            (tail, filter, records, false)
        });
        let (mut tail, mut filter, records, was_all) = collected.await.ok()?;
        let (missed, limited) = (tail.take_missed(), filter.take_limited());
        self.counts.missed.fetch_add(missed, Ordering::Relaxed);
        self.counts.limited.fetch_add(limited, Ordering::Relaxed);
        if missed > 0 {
            let output = &self.name;
            tracing::warn!(
                output,
                lines = missed,
                "lines were gone before an output took them"
            );
        }
        (self.tail, self.filter) = (Some(tail), filter);
        Some((records, was_all))
    }

    /// Sends a batch until it is taken, or never will be.
    async fn send(&mut self, records: &[Owned]) {
        let mut wait = RETRY_FIRST;
        let mut tell_at = Instant::now();
        let mut was_away = false;
        let output = self.name.clone();
        loop {
            let batch = Batch {
                node: &self.node,
                records,
            };
            match self.receiver.send(batch).await {
                Ok(refused) => {
                    let sent = (records.len() as u64).saturating_sub(refused);
                    self.counts.sent.fetch_add(sent, Ordering::Relaxed);
                    self.refused(refused, "");
                    if was_away {
                        tracing::info!(output, "an output of logs takes them again");
                    }
                    return;
                }
                Err(Refusal::Forever(error)) => {
                    return self.refused(records.len() as u64, &error);
                }
                Err(Refusal::Now(error)) => {
                    self.counts.retries.fetch_add(1, Ordering::Relaxed);
                    was_away = true;
                    if tell_at <= Instant::now() {
                        tell_at = Instant::now() + TELL;
                        tracing::warn!(output, error, "an output of logs takes none, trying again");
                    }
                }
            }
            // Not all nodes at once.
            sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            wait = (wait * 2).min(RETRY_LONGEST);
        }
    }

    fn refused(&self, lines: u64, error: &str) {
        if lines > 0 {
            self.counts.refused.fetch_add(lines, Ordering::Relaxed);
            let output = &self.name;
            tracing::warn!(
                output,
                lines,
                error,
                "an output of logs has refused lines for good"
            );
        }
    }

    /// Saves the place, when it is time or the end.
    async fn save(&mut self, is_end: bool) {
        let Some(place) = self.tail.as_ref().map(Tail::place) else {
            return;
        };
        if place == self.saved || (!is_end && Instant::now() < self.save_at) {
            return;
        }
        self.save_at = Instant::now() + SAVE;
        let path = self.path.clone();
        match spawn_blocking(move || save(&path, &place)).await {
            Ok(Ok(())) => self.saved = place,
            Ok(Err(error)) => {
                tracing::warn!(%error, output = self.name, "cannot save how much an output has taken")
            }
            Err(_) => {}
        }
    }
}

fn save(path: &Path, place: &Place) -> io::Result<()> {
    knarr_host::write_durably(path, &serde_json::to_vec(place)?)
}

#[cfg(test)]
mod tests;
