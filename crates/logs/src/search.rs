//! Answering a query: lines of JSON, the newest first; then, if asked, those to come as they come.
//!
//! ```text
//! {"time":"...","node":"...","namespace":"...","pod":"...","container":"...","stream":"stdout","message":"..."}
//! {"progress":{"searched":256,"of":4096}}      now and then, where no index helps
//! {"end":{"found":3,"unread":0,"skippedBytes":0}}   what there was has been searched
//! {"missed":12}                                 while following: whoever reads was too slow
//! ```

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::{self, Metric, Outputs},
    query::Query,
    record::{Record, Source, Stream},
    store::{
        Place, Snapshot, Store, Tail,
        block::Decoder,
        segment::{ENTRY_BYTES, Entry},
    },
};

/// Searches at a time: each takes a processor. Others wait.
const MAX_SEARCHES: usize = 2;
/// Answers at a time, those that follow included: each holds a block.
const MAX_ANSWERS: usize = 16;
/// Pieces on their way to the client.
const QUEUE_PIECES: usize = 8;
/// Lines are sent together up to this, bytes.
const PIECE_BYTES: usize = 32 << 10;
/// A client that takes nothing for so long is gone.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Blocks between two lines of progress.
const PROGRESS_BLOCKS: u64 = 512;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Query(#[from] crate::query::BadQuery),
    #[error("{MAX_ANSWERS} queries of logs are being answered here, try again later")]
    TooMany,
    #[error(
        "no logs are retained on this node; start it with --log-retention-size and --log-retention-age above 0"
    )]
    NothingRetained,
}

/// Answers queries from a node's store.
#[derive(Clone, Debug)]
pub struct Searcher {
    node: Arc<str>,
    store: Arc<Store>,
    outputs: Outputs,
    /// What is kept is kept for outputs alone.
    only_follows: bool,
    answers: Arc<Semaphore>,
    searches: Arc<Semaphore>,
}

impl Searcher {
    pub(crate) fn new(node: &str, store: Arc<Store>, outputs: Outputs, only_follows: bool) -> Self {
        Self {
            node: node.into(),
            store,
            outputs,
            only_follows,
            answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
            searches: Arc::new(Semaphore::new(MAX_SEARCHES)),
        }
    }

    /// Begins to answer the query of a URL, until the token is cancelled or the receiver is dropped.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn answer(
        &self,
        query: &str,
        token: CancellationToken,
    ) -> Result<mpsc::Receiver<Bytes>, Refused> {
        let query = Query::parse(query, Timestamp::now())?;
        if self.only_follows && !query.follow {
            return Err(Refused::NothingRetained);
        }
        let place = self.answers.clone().try_acquire_owned();
        let place = place.map_err(|_| Refused::TooMany)?;
        let (pieces, receiver) = mpsc::channel(QUEUE_PIECES);
        let searcher = self.clone();
        let work = async move {
            searcher.run(Arc::new(query), pieces, token).await;
            drop(place);
        };
        knarr_tasks::spawn("a search of logs", work);
        Ok(receiver)
    }

    /// What has been kept, lost and left out.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        metrics::of(&self.store, &self.outputs)
    }

    async fn run(&self, query: Arc<Query>, pieces: mpsc::Sender<Bytes>, token: CancellationToken) {
        let Ok(turn) = self.searches.acquire().await else {
            return;
        };
        let mut answer = Answer::new(self.node.clone(), pieces, token.clone());
        let (searcher, asked) = (self.clone(), query.clone());
        let searched = spawn_blocking(move || {
            let place = searcher.search(&asked, &mut answer);
            (answer, place)
        });
        let Ok((answer, place)) = searched.await else {
            return;
        };
        drop(turn);
        if query.follow && !answer.is_over {
            let tail = Tail::new(self.store.clone(), place);
            token
                .run_until_cancelled(self.follow(tail, query, answer))
                .await;
        }
    }

    /// What there is; where it ends.
    fn search(&self, query: &Query, answer: &mut Answer) -> Place {
        let (snapshot, place) = self.store.snapshot();
        let mut search = Search {
            query,
            left: if self.only_follows { 0 } else { query.limit },
            unread: 0,
        };
        let found = |search: &Search<'_>| query.limit - search.left;
        search.newest_first(&snapshot, answer);
        let end = json!({ "end": {
            "found": if self.only_follows { 0 } else { found(&search) },
            "unread": search.unread,
            "skippedBytes": self.store.counts.skipped.load(Ordering::Relaxed),
        }});
        answer.line(&end.to_string());
        answer.flush();
        place
    }

    /// What is to come.
    async fn follow(&self, mut tail: Tail, query: Arc<Query>, mut answer: Answer) {
        let mut written = self.store.written();
        loop {
            written.borrow_and_update();
            let asked = query.clone();
            let sent = spawn_blocking(move || {
                // A block that cannot be read is left out.
                while let Some(record) = tail.next().unwrap_or_default() {
                    let record = Record {
                        source: record.source,
                        stream: record.stream,
                        time: record.time,
                        text: &record.text,
                    };
                    if asked.takes(&record.source) && asked.matches(&record) {
                        answer.record(&record);
                    }
                    if answer.is_over {
                        break;
                    }
                }
                let missed = tail.take_missed();
                if missed > 0 {
                    answer.line(&json!({ "missed": missed }).to_string());
                }
                answer.flush();
                (tail, answer)
            });
            let Ok(back) = sent.await else { return };
            (tail, answer) = back;
            if answer.is_over {
                return;
            }
            tokio::select! {
                changed = written.changed() => if changed.is_err() { return },
                () = answer.pieces.closed() => return,
            }
        }
    }
}

/// Goes from the newest block to the oldest.
struct Search<'q> {
    query: &'q Query,
    /// Lines that are still wanted.
    left: usize,
    /// Blocks that could not be read.
    unread: u64,
}

impl Search<'_> {
    fn newest_first(&mut self, snapshot: &Snapshot, answer: &mut Answer) {
        self.block(&snapshot.head, answer);
        let (needed, helps) = self.query.needed();
        let all: u64 = snapshot.segments.iter().map(|segment| segment.blocks).sum();
        let mut searched = 0;
        for segment in snapshot.segments.iter().rev() {
            // One that is gone meanwhile was old.
            let Ok(entries) = segment.entries() else {
                continue;
            };
            for bytes in entries.chunks_exact(ENTRY_BYTES).rev() {
                if self.left == 0 || answer.is_over() {
                    return;
                }
                searched += 1;
                if !helps && searched % PROGRESS_BLOCKS == 0 {
                    let progress = json!({ "progress": { "searched": searched, "of": all } });
                    answer.line(&progress.to_string());
                    answer.flush();
                }
                let Some(entry) = Entry::decode(bytes) else {
                    self.unread += 1;
                    continue;
                };
                let is_older = |since| entry.summary.last_time < since;
                if self.query.since.is_some_and(is_older) || !needed.may_be_in(Entry::grams(bytes))
                {
                    continue;
                }
                match segment.read(&entry) {
                    Ok(block) => self.block(&block, answer),
                    Err(_) => self.unread += 1,
                }
            }
        }
    }

    /// The newest of a block that are wanted.
    fn block(&mut self, bytes: &[u8], answer: &mut Answer) {
        if self.left == 0 || !self.query.may_be_in(bytes) {
            return;
        }
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        // Records of a source come one after the other, mostly.
        let mut last: Option<(Arc<Source>, bool)> = None;
        while let Ok(Some(record)) = decoder.next(bytes) {
            let is_taken = match &last {
                Some((source, is_taken)) if Arc::ptr_eq(source, &record.source) => *is_taken,
                _ => {
                    let is_taken = self.query.takes(&record.source);
                    last = Some((record.source.clone(), is_taken));
                    is_taken
                }
            };
            if is_taken && self.query.matches(&record) {
                found.push(record);
            }
        }
        // Several files are read in turn: within a block times may go back.
        found.sort_by_key(|record| record.time);
        for record in found.iter().rev().take(self.left) {
            answer.record(record);
        }
        self.left = self.left.saturating_sub(found.len());
        answer.flush();
    }
}

/// Lines on their way to whoever asked.
struct Answer {
    node: Arc<str>,
    pieces: mpsc::Sender<Bytes>,
    token: CancellationToken,
    buffer: Vec<u8>,
    runtime: Handle,
    /// Nobody listens any more.
    is_over: bool,
}

impl Answer {
    fn new(node: Arc<str>, pieces: mpsc::Sender<Bytes>, token: CancellationToken) -> Self {
        Self {
            node,
            pieces,
            token,
            buffer: Vec::new(),
            runtime: Handle::current(),
            is_over: false,
        }
    }

    fn is_over(&mut self) -> bool {
        self.is_over |= self.token.is_cancelled() || self.pieces.is_closed();
        self.is_over
    }

    fn record(&mut self, record: &Record<'_>) {
        let source = &record.source;
        let line = Line {
            time: time(record.time),
            node: &self.node,
            namespace: &source.namespace,
            pod: &source.pod,
            uid: &source.uid,
            container: &source.container,
            stream: record.stream,
            message: &String::from_utf8_lossy(record.text),
        };
        // Strings alone.
        let line = serde_json::to_string(&line).unwrap_or_default();
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.push(b'\n');
        if self.buffer.len() >= PIECE_BYTES {
            self.flush();
        }
    }

    /// Sends what there is; blocks while the client has enough.
    fn flush(&mut self) {
        if self.buffer.is_empty() || self.is_over() {
            return;
        }
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        let sending = timeout(CLIENT_TIMEOUT, self.pieces.send(piece));
        let sent = self
            .runtime
            .block_on(self.token.run_until_cancelled(sending));
        self.is_over |= !matches!(sent, Some(Ok(Ok(()))));
    }
}

/// A line of an answer.
#[derive(serde::Serialize)]
struct Line<'a> {
    time: String,
    node: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pod: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    container: &'a str,
    #[serde(serialize_with = "name")]
    stream: Stream,
    message: &'a str,
}

fn name<S: serde::Serializer>(stream: &Stream, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(stream.name())
}

/// As RFC 3339 has it, with nanoseconds: answers of several nodes are put in order by it.
pub fn time(nanos: i64) -> String {
    let time = Timestamp::from_nanosecond(nanos.into()).unwrap_or_default();
    format!("{time:.9}")
}

#[cfg(test)]
mod tests;
