//! The one thread that writes. Each round takes what waits in the queue, decides every op against the newest state
//! (what this round wrote included), writes it all in one transaction with a piece of the compaction's sweep, syncs,
//! publishes, and only then answers: also the conflicts, which may rest on what the round itself wrote.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::disk::{CommitError, Disk, Marks, Transaction};
use super::index::Stamp;
use super::policy::Policy;
use super::queue::Request;
use super::{FatalHook, Shared};
use crate::types::{Change, Error, Event, Expect, KeyValue, Op, Outcome, Result};

/// Revisions that one transaction sweeps at most: about a millisecond of its time.
const SWEEP_REVISIONS: u64 = 128;
/// After a round that could not be written (a full disk), the sweep waits so long before it tries again.
const SWEEP_RETRY: Duration = Duration::from_secs(1);
/// Longer transactions are worth a line in the log.
const SLOW_COMMIT: Duration = Duration::from_millis(500);

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) disk: Arc<Disk>,
    /// Dropped with the thread, which tells every watcher that the store is closed.
    pub(crate) published: watch::Sender<u64>,
    pub(crate) policy: Policy,
    /// No sweep before this.
    pub(crate) sweep_at: Instant,
    pub(crate) fatal: FatalHook,
}

/// What a round is going to publish.
#[derive(Default)]
struct Round {
    /// Newest revision, synced or not.
    revision: u64,
    /// Newest stamp of each key that this round wrote.
    written: HashMap<Arc<str>, Stamp>,
    events: Vec<Event>,
    forgotten: Vec<(Arc<str>, u64)>,
    /// Where the sweep is after this round, if it moved.
    swept: Option<u64>,
}

type Answer = (oneshot::Sender<Result<Outcome>>, Result<Outcome>);

impl Drop for Writer {
    /// However the thread ends, nobody may wait for it.
    fn drop(&mut self) {
        self.shared.queue.abandon();
    }
}

impl Writer {
    /// Serves the queue until it is closed and empty, or until a commit fails.
    pub(crate) fn run(mut self) {
        loop {
            let wait = self.wait(Instant::now());
            let Some(batch) = self.shared.queue.take(wait) else {
                return;
            };
            self.compact_when_due();
            if batch.is_empty() && !self.wait(Instant::now()).is_zero() {
                continue;
            }
            if let Err(error) = self.round(batch) {
                tracing::error!(%error, "store cannot make writes durable");
                self.shared.queue.close();
                (self.fatal)(&error);
                return;
            }
        }
    }

    /// How long there is nothing to do but requests.
    fn wait(&self, now: Instant) -> Duration {
        let policy = self.policy.wait(now);
        let state = self.shared.state.read();
        match state.swept < state.compacted {
            true => policy.min(self.sweep_at.saturating_duration_since(now)),
            false => policy,
        }
    }

    fn compact_when_due(&mut self) {
        if !self.policy.wait(Instant::now()).is_zero() {
            return;
        }
        let mut state = self.shared.state.write();
        if let Some(target) = self
            .policy
            .target(Instant::now(), state.revision, state.compacted)
        {
            tracing::debug!(revision = target, "compacting");
            state.compacted = target;
            state.ring.forget(target);
        }
    }

    /// Fails only when nobody can know what is on disk.
    fn round(&mut self, batch: Vec<Request>) -> Result<()> {
        let begin = Instant::now();
        let count = batch.len();
        let revision = self.shared.state.read().revision;
        let mut round = Round {
            revision,
            ..Round::default()
        };
        let (ops, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|r| (r.op, r.reply)).unzip();
        let outcomes = match self.write(ops, &mut round)? {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // Nothing was written: the round fails, the store lives.
                tracing::error!(%error, writes = count, "store refused writes");
                answer(replies.into_iter().map(|reply| (reply, Err(error.clone()))));
                self.sweep_at = Instant::now() + SWEEP_RETRY;
                return Ok(());
            }
        };
        self.publish(round);
        answer(replies.into_iter().zip(outcomes.into_iter().map(Ok)));
        let elapsed = begin.elapsed();
        if elapsed > SLOW_COMMIT {
            tracing::warn!(?elapsed, writes = count, "slow disk: a commit took long");
        }
        Ok(())
    }

    /// The round's transaction. After the outer error nobody knows what is on disk; after the inner one nothing was
    /// changed.
    fn write(&self, ops: Vec<Op>, round: &mut Round) -> Result<Result<Vec<Outcome>>> {
        let prepare = || -> Result<_> {
            let mut txn = self.disk.begin()?;
            let outcomes = ops
                .into_iter()
                .map(|op| self.apply(&mut txn, op, round))
                .collect::<Result<Vec<_>>>()?;
            self.sweep(&mut txn, round)?;
            Ok((txn, outcomes))
        };
        let (txn, outcomes) = match prepare() {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Err(error)),
        };
        if round.events.is_empty() && round.swept.is_none() {
            return Ok(Ok(outcomes));
        }
        match txn.commit() {
            Ok(()) => Ok(Ok(outcomes)),
            Err(CommitError::Refused(error)) => Ok(Err(error)),
            Err(CommitError::Unknown(error)) => Err(error),
        }
    }

    fn apply(&self, txn: &mut Transaction<'_>, op: Op, round: &mut Round) -> Result<Outcome> {
        let known = match round.written.get_key_value(op.key.as_str()) {
            Some((key, stamp)) => Some((key.clone(), *stamp)),
            None => self.shared.state.read().index.last(&op.key),
        };
        let current = match &known {
            Some((key, stamp)) => stamp
                .live()
                .map(|at| txn.value(key.clone(), at))
                .transpose()?,
            None => None,
        };
        if !expected(op.expect, current.as_ref()) {
            return Ok(Outcome::Conflict {
                current,
                revision: round.revision,
            });
        }
        if current.is_none() && op.change == Change::Delete {
            return Ok(Outcome::Committed {
                revision: round.revision,
                previous: None,
            });
        }
        let key = known.map_or_else(|| Arc::from(op.key), |(key, _)| key);
        let revision = round.revision + 1;
        let value = match op.change {
            Change::Put(value) => Some(KeyValue {
                key: key.clone(),
                value,
                create_revision: current.as_ref().map_or(revision, |kv| kv.create_revision),
                mod_revision: revision,
                version: current.as_ref().map_or(1, |kv| kv.version + 1),
            }),
            Change::Delete => None,
        };
        match &value {
            Some(kv) => txn.put(kv)?,
            None => txn.delete(&key, revision)?,
        }
        round.revision = revision;
        round
            .written
            .insert(key.clone(), Stamp::new(revision, value.is_none()));
        round.events.push(Event {
            key,
            value,
            previous: current.clone(),
        });
        Ok(Outcome::Committed {
            revision,
            previous: current,
        })
    }

    /// Walks the next revisions up to the compaction: what each of them superseded goes, and so does a delete.
    fn sweep(&self, txn: &mut Transaction<'_>, round: &mut Round) -> Result<()> {
        let state = self.shared.state.read();
        if state.swept >= state.compacted || Instant::now() < self.sweep_at {
            return Ok(());
        }
        let last = state.compacted.min(state.swept + SWEEP_REVISIONS);
        let snapshot = self.disk.snapshot()?;
        for entry in snapshot.entries(state.swept + 1..=last)? {
            let entry = entry?;
            let Some((key, _)) = state.index.last(entry.key) else {
                continue;
            };
            let superseded = state
                .index
                .before(entry.key, entry.stamp.revision())
                .filter(|stamp| !stamp.deleted());
            for stamp in superseded
                .into_iter()
                .chain(entry.stamp.deleted().then_some(entry.stamp))
            {
                txn.forget(stamp)?;
                round.forgotten.push((key.clone(), stamp.revision()));
            }
        }
        txn.set_marks(Marks {
            compacted: state.compacted,
            swept: last,
        })?;
        round.swept = Some(last);
        Ok(())
    }

    /// Shows what is durable now to readers and watchers.
    fn publish(&self, round: Round) {
        let changed = !round.events.is_empty();
        let mut state = self.shared.state.write();
        for event in round.events {
            let revision = state.revision + 1;
            state.index.push(
                event.key.clone(),
                Stamp::new(revision, event.value.is_none()),
            );
            state.ring.push(event);
            state.revision = revision;
        }
        for (key, revision) in round.forgotten {
            state.index.remove(&key, revision);
        }
        if let Some(swept) = round.swept {
            state.swept = swept;
        }
        drop(state);
        if changed {
            self.published.send_replace(round.revision);
        }
    }
}

fn expected(expect: Expect, current: Option<&KeyValue>) -> bool {
    match expect {
        Expect::Any => true,
        Expect::Absent | Expect::Revision(0) => current.is_none(),
        Expect::Revision(revision) => current.is_some_and(|kv| kv.mod_revision == revision),
    }
}

/// A writer that went away does not want its answer.
fn answer(answers: impl Iterator<Item = Answer>) {
    for (reply, outcome) in answers {
        let _ = reply.send(outcome);
    }
}

/// A failed sync ends the process: nobody may believe anything that is in memory after it.
pub(crate) fn abort(error: &Error) {
    tracing::error!(%error, "ending the process");
    std::process::abort();
}
