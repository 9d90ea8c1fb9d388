//! What is kept of all logs: one sequence of blocks, the newest of which is being filled.
//!
//! ```text
//! record -> head (memory and a file) --128 KiB--> block of a segment (compressed, indexed) -> ... -> removed with its segment
//!             |                                   |
//!             +---------- search, tails ----------+
//! ```
//!
//! The same sequence is what is searched and what outputs are fed from: an output is a [`Tail`] that remembers its place. A
//! receiver that is away costs nothing but what it has not read yet, and what it had no time to read is counted.
//!
//! There are limits of bytes and of age, and one that is the disk's: as it fills, the oldest segment goes, and if there is none,
//! what has not been compressed yet.

pub mod block;
pub mod grams;
mod head;
pub mod segment;
mod tail;

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::statvfs;
use tokio::sync::watch;

pub use self::tail::{Place, Tail};
use self::{
    grams::{Grams, Name},
    head::Head,
    segment::{MAX_BLOCKS, Segment},
};
use crate::{positions::Position, record::Record};

/// A block is compressed when it is as long as this, bytes.
const BLOCK_BYTES: usize = 128 << 10;
/// A segment is at most this part of what is kept, so that little goes at once.
const SEGMENTS_MIN: u64 = 16;
/// Between two lines that logs make room for others.
const TELL_PERIOD: Duration = Duration::from_secs(60);
/// The least that can be kept, bytes: some blocks.
pub const MIN_BYTES: u64 = 8 << 20;
/// Of a disk that has less free than this, percent, little is taken. Pods are evicted at 5.
pub const FREE_PERCENT: u64 = 8;
/// The part of what is kept that stays on such a disk: whoever fills it must not be able to take everybody's logs with it. That
/// goes too when a write finds no room.
const RESERVE: u64 = 4;

/// What may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// On the disk.
    pub bytes: u64,
    pub age: Duration,
    /// What has to be free of the disk, percent.
    pub free_percent: u64,
}

/// What has been kept and lost since the start.
#[derive(Debug, Default)]
pub struct Counts {
    pub records: AtomicU64,
    /// Records that found no room on the disk.
    pub lost: AtomicU64,
    /// Bytes of log files that were skipped: their pod logs faster than it may.
    pub skipped: AtomicU64,
}

/// The logs of a node. All of it blocks for as long as a disk does.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    limits: Limits,
    state: Mutex<State>,
    /// How many records there have been; those who follow wait for it.
    written: watch::Sender<u64>,
    pub counts: Counts,
}

struct State {
    segments: VecDeque<Segment>,
    head: Head,
    /// Blocks before this one are on the disk.
    synced: u64,
    /// Its last failure was told.
    is_failing: bool,
    /// When it was last told that logs make room for others.
    told: Option<Instant>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("segments", &self.segments)
            .finish_non_exhaustive()
    }
}

/// The store at a moment: what a search looks at.
pub struct Snapshot {
    /// Oldest first.
    pub segments: Vec<Segment>,
    /// The block that is being filled.
    pub head: Vec<u8>,
}

impl Store {
    /// Opens what is in a directory, or makes it; with the positions that were written and not saved.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn open(directory: &Path, limits: Limits) -> io::Result<(Self, Vec<Position>)> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let segments: VecDeque<Segment> = Segment::all(directory)?.into();
        let (block, record) = segments
            .back()
            .map_or((0, 0), |last| (last.next_block(), last.next_record()));
        let (head, positions) = Head::recover(directory, block, record)?;
        let next = head.first_record + u64::from(head.block.summary().records);
        let store = Self {
            directory: directory.to_owned(),
            limits,
            state: Mutex::new(State {
                segments,
                synced: block,
                head,
                is_failing: false,
                told: None,
            }),
            written: watch::Sender::new(next),
            counts: Counts::default(),
        };
        store.trim(jiff::Timestamp::now());
        Ok((store, positions))
    }

    /// To add records; nobody else reads or writes meanwhile.
    pub fn writer(&self) -> Writer<'_> {
        Writer {
            store: self,
            state: self.state.lock(),
        }
    }

    /// Changes with every record.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// What is there now, and where it ends.
    pub fn snapshot(&self) -> (Snapshot, Place) {
        let state = self.state.lock();
        let snapshot = Snapshot {
            segments: state.segments.iter().cloned().collect(),
            head: state.head.block.bytes().to_vec(),
        };
        (snapshot, state.end())
    }

    /// The place after all that there is.
    pub fn end(&self) -> Place {
        self.state.lock().end()
    }

    /// Brings what was written to the disk.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn sync(&self) -> io::Result<()> {
        let unsynced = {
            let mut state = self.state.lock();
            state.head.sync()?;
            let next = state.head.number;
            let from = std::mem::replace(&mut state.synced, next);
            let segments = state.segments.iter();
            let unsynced = segments.filter(|segment| segment.next_block() > from);
            unsynced.cloned().collect::<Vec<_>>()
        };
        // Nobody waits for the disk meanwhile.
        unsynced.iter().try_for_each(Segment::sync)
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes()
    }

    /// Removes what is too much, too old, or what others need the disk for.
    pub fn trim(&self, now: jiff::Timestamp) {
        let mut state = self.state.lock();
        let age = i64::try_from(self.limits.age.as_nanos()).unwrap_or(i64::MAX);
        let now = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        let oldest = now.saturating_sub(age);
        while let Some(first) = state.segments.front() {
            let is_old = first
                .last
                .is_none_or(|entry| entry.summary.last_time < oldest);
            let is_too_much = state.bytes() > self.limits.bytes;
            let is_spare = state.bytes() > self.limits.bytes / RESERVE;
            let is_in_the_way = is_spare && self.is_disk_full();
            if !(is_old || is_too_much || is_in_the_way) {
                break;
            }
            if !is_old && !is_too_much {
                let is_news = state.told.is_none_or(|at| at.elapsed() > TELL_PERIOD);
                if is_news {
                    state.told = Some(Instant::now());
                    tracing::warn!("retained logs are removed: the disk is nearly full");
                }
            }
            if !self.remove_oldest(&mut state) {
                break;
            }
        }
    }

    fn is_disk_full(&self) -> bool {
        let Ok(figures) = statvfs(&self.directory) else {
            return false;
        };
        let least = u128::from(figures.f_blocks) * u128::from(self.limits.free_percent) / 100;
        u128::from(figures.f_bavail) < least
    }

    /// Whether there was one.
    fn remove_oldest(&self, state: &mut State) -> bool {
        let Some(oldest) = state.segments.pop_front() else {
            return false;
        };
        if let Err(error) = oldest.remove() {
            tracing::warn!(%error, "cannot remove old logs");
        }
        true
    }

    /// Does what takes room on the disk, with that of old segments if there is no other.
    fn with_room(
        &self,
        state: &mut State,
        mut work: impl FnMut(&mut State) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let error = match work(state) {
                Ok(()) => {
                    state.is_failing = false;
                    return Ok(());
                }
                Err(error) => error,
            };
            let is_full = matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            );
            if !is_full || !self.remove_oldest(state) {
                if !std::mem::replace(&mut state.is_failing, true) {
                    tracing::warn!(%error, "logs cannot be kept");
                }
                return Err(error);
            }
        }
    }

    /// Makes a block of the head. What there is no room for is lost, and counted.
    fn seal(&self, state: &mut State) {
        let summary = state.head.block.summary();
        let mut grams = Grams::default();
        for source in state.head.block.sources() {
            grams.add_name(Name::Namespace, &source.namespace);
            grams.add_name(Name::Pod, &source.pod);
            grams.add_name(Name::Container, &source.container);
        }
        let mut decoder = block::Decoder::default();
        while let Ok(Some(record)) = decoder.next(state.head.block.bytes()) {
            grams.add_text(record.text);
        }
        let max = self.limits.bytes / SEGMENTS_MIN;
        let sealed = self.with_room(state, |state| {
            let number = state.head.number;
            let fits = state.segments.back().is_some_and(|last| {
                last.blocks < MAX_BLOCKS && last.bytes < max && last.next_block() == number
            });
            if !fits {
                let made = Segment::new(&self.directory, number);
                state.segments.push_back(made);
            }
            let head = &state.head;
            let Some(last) = state.segments.back_mut() else {
                return Ok(());
            };
            last.append(head.block.bytes(), &grams, summary, head.first_record)
        });
        if sealed.is_err() {
            let records = u64::from(summary.records);
            self.counts.lost.fetch_add(records, Ordering::Relaxed);
            state.segments.retain(|segment| segment.blocks > 0);
        }
        let number = state.head.number + 1;
        let record = state.head.first_record + u64::from(summary.records);
        if let Err(error) = state.head.remove() {
            tracing::warn!(%error, "cannot remove what was compressed");
        }
        state.head = Head::new(&self.directory, number, record);
    }
}

impl State {
    fn bytes(&self) -> u64 {
        let sealed: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        sealed + self.head.file_bytes
    }

    fn end(&self) -> Place {
        let head = &self.head;
        Place {
            block: head.number,
            offset: head.block.bytes().len() as u64,
            record: head.first_record + u64::from(head.block.summary().records),
        }
    }
}

/// Adds records; see [`Store::writer`].
pub struct Writer<'s> {
    store: &'s Store,
    state: MutexGuard<'s, State>,
}

impl Writer<'_> {
    pub fn push(&mut self, record: &Record<'_>) {
        self.state.head.block.push(record);
    }

    /// Whether a block is full, which [`Self::commit`] compresses.
    pub fn is_full(&self) -> bool {
        self.state.head.block.bytes().len() >= BLOCK_BYTES
    }

    /// Writes what was pushed, with how far the file has been read that it is from. Returns whether all positions that were
    /// committed before are only in memory now, and have to be saved: their block is another file.
    pub fn commit(mut self, position: Option<&Position>) -> bool {
        let (store, state) = (self.store, &mut *self.state);
        // Without a place on the disk it stays in memory, and is compressed all the same.
        let _told = store.with_room(state, |state| state.head.commit(position));
        let next = state.end().record;
        let is_full = self.is_full();
        if is_full {
            store.seal(&mut self.state);
        }
        store.written.send_if_modified(|written| {
            let records = next.saturating_sub(*written);
            store.counts.records.fetch_add(records, Ordering::Relaxed);
            *written = next;
            records > 0
        });
        drop(self.state);
        if is_full {
            store.trim(jiff::Timestamp::now());
        }
        is_full
    }
}

#[cfg(test)]
mod tests;
