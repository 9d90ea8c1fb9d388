//! The log's writer: whoever logs puts a line into memory, and a thread of its own writes it.
//!
//! A disk that stalls for half a minute, a full one or a pipe that nobody reads holds up that thread, and not the request that had
//! something to say. Lines are written in the order in which they came. What finds no room, or could not be written, is counted,
//! and the count is a line of its own as soon as lines are taken again. Errors have room of their own, so that what ends a process
//! is not lost in what led there.
//!
//! Lines that are not written yet go with a process that is killed or aborts; who ends it calls [`Writer::flush`].
//!
//! Rejected: `tracing-appender`, whose queue is bounded by a number of lines (128 000 unless told otherwise) of any length, which
//! counts what it drops and leaves the saying to others, and keeps no room for errors.

use std::{
    io::{self, Write},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written, bytes.
const CAPACITY_BYTES: usize = 1 << 20;
/// What errors may take beyond that, bytes.
const RESERVE_BYTES: usize = 64 << 10;
/// Memory that is kept when it is not needed, bytes.
const IDLE_BYTES: usize = 16 << 10;

/// Where lines are put. Clones share it.
#[derive(Clone, Default)]
pub struct Writer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// All has been written, or could not be.
    done: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// The thread has taken lines that it is not done with.
    is_writing: bool,
    /// Lines that found no room since it was last said.
    lost: u64,
    /// Nothing more is taken.
    is_closed: bool,
}

impl Writer {
    /// Starts the thread that writes to `sink`, for as long as the process lives.
    ///
    /// # Errors
    ///
    /// Where the system has no thread to give.
    pub fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let writer = Self::default();
        let shared = Arc::clone(&writer.shared);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_to(sink))?;
        Ok(writer)
    }

    /// Takes no more lines: tasks that nobody waits for must not go on talking after the process has said why it ends. Waits as
    /// [`flush`](Self::flush) does.
    pub fn close(&self, timeout: Duration) -> bool {
        self.shared.state.lock().is_closed = true;
        self.flush(timeout)
    }

    /// Waits until every line is written; whether that was so within `timeout`.
    pub fn flush(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut state = self.shared.state.lock();
        while state.is_writing || !state.waiting.is_empty() {
            if self.shared.done.wait_until(&mut state, until).timed_out() {
                return false;
            }
        }
        true
    }
}

impl Shared {
    fn write_to(&self, mut sink: impl Write) {
        let mut lines = Vec::new();
        let mut lost = 0;
        loop {
            lost += self.take(&mut lines);
            match sink.write_all(&lines).and_then(|()| sink.flush()) {
                Ok(()) if lost > 0 => {
                    // Nobody else's lock is held here: this goes the way of all lines.
                    tracing::error!(
                        lines = lost,
                        "the log has lost lines: they could not be written in time"
                    );
                    lost = 0;
                }
                Ok(()) => {}
                // Told when there is something to tell it to; the next line tries again.
                Err(_) => lost += count(&lines),
            }
            lines.clear();
            lines.shrink_to(IDLE_BYTES);
            self.end_writing();
        }
    }

    /// Waits for lines, and takes them for the empty `lines`; how many have been lost meanwhile.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            self.filled.wait(&mut state);
        }
        std::mem::swap(&mut state.waiting, lines);
        state.is_writing = true;
        std::mem::take(&mut state.lost)
    }

    fn end_writing(&self) {
        let mut state = self.state.lock();
        state.is_writing = false;
        if state.waiting.is_empty() {
            self.done.notify_all();
        }
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// Takes a line.
pub struct Line<'w> {
    shared: &'w Shared,
    /// What may wait with it, bytes.
    room: usize,
}

impl<'w> MakeWriter<'w> for Writer {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        Line {
            shared: &self.shared,
            room: CAPACITY_BYTES,
        }
    }

    fn make_writer_for(&'w self, meta: &Metadata<'_>) -> Line<'w> {
        let mut line = self.make_writer();
        if *meta.level() == Level::ERROR {
            line.room += RESERVE_BYTES;
        }
        line
    }
}

impl Write for Line<'_> {
    /// Takes the whole line, or loses the whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.state.lock();
        if state.is_closed {
            return Ok(line.len());
        }
        if state.waiting.len().saturating_add(line.len()) > self.room {
            state.lost += 1;
        } else {
            state.waiting.extend_from_slice(line);
            self.shared.filled.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
