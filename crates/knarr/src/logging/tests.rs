use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    sync::{Arc, mpsc},
    thread,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sys::stat::Mode,
};
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// More than what may wait to be written, and what a pipe holds.
const LINES: usize = 40_000;
const DEADLINE: Duration = Duration::from_secs(60);

/// Sends what `work` returns, so that work which never ends fails a test instead of holding it up.
fn within_deadline<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(DEADLINE).expect("it ends")
}

/// The log is a pipe that nobody reads: as good as a disk that stalls.
#[test]
fn a_log_that_nobody_takes_holds_up_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a pipe");
    let reader = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .expect("its reader");
    let log = Log {
        log_level: "info".to_owned(),
        log_format: LogFormat::Text,
        log_file: Some(path),
    };
    let flushed = start(&log, Some(directory.path())).expect("a log");
    within_deadline(|| {
        for number in 0..LINES {
            tracing::info!(number, "a line of some length, of which there are many");
        }
        tracing::error!("the last words");
    });
    let writer = WRITER.get().expect("a writer");
    assert!(!writer.flush(Duration::from_millis(1)), "who has taken it?");

    fcntl(reader.as_raw_fd(), FcntlArg::F_SETFL(OFlag::empty())).expect("reads wait");
    let (said, lost) = within_deadline(move || {
        let mut said = Vec::new();
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            if let Some(lost) = number(&line, "lines=") {
                return (said, lost);
            }
            said.push(line);
        }
        panic!("nothing is said of lost lines")
    });
    drop(flushed);
    let numbers: Vec<usize> = said.iter().filter_map(|l| number(l, "number=")).collect();
    assert!(numbers.iter().copied().eq(0..LINES - lost), "out of order");
    let last = said.last().expect("lines");
    assert!(last.contains("the last words"), "{last}");
}

/// The number after `field`.
fn number(line: &str, field: &str) -> Option<usize> {
    let (_, value) = line.split_once(field)?;
    value.split_whitespace().next()?.parse().ok()
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn after_the_last_words_nobody_talks() {
    let kept = Kept::default();
    let writer = Writer::start(kept.clone()).expect("a thread");
    let say = |line: &[u8]| writer.make_writer().write_all(line).expect("a line");
    say(b"before\n");
    assert!(writer.close(DEADLINE));
    say(b"after\n");
    assert!(writer.flush(DEADLINE));
    assert_eq!(*kept.0.lock(), b"before\n");
}
