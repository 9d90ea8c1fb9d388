//! Logs of containers. The first line of an input is the query of a request for logs; the rest is what a container writes, a NUL
//! wherever it turns from standard output to standard error and back, or what somebody else has written into its log, when it
//! begins with a NUL.
//!
//! What was written is read: each stream whole, of the last lines as many as were asked for, of bytes no more than were asked for.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use knarr_kubelet::logs::{
    Log,
    read::{Options, send},
};
use knarr_shim::lines::{Lines, timestamp};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::shape;

use super::{Target, scratch, texts};

/// When everything was written, nanoseconds since the epoch.
const WRITTEN: i64 = 1_800_000_000_000_000_000;

pub struct ContainerLog {
    runtime: Runtime,
    dir: tempfile::TempDir,
}

/// What a container wrote, and the log of it.
struct Written {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    log: Vec<u8>,
}

impl Written {
    fn new(text: &[u8]) -> Self {
        let (mut lines, mut streams) = (
            [Lines::new("stdout"), Lines::new("stderr")],
            [Vec::new(), Vec::new()],
        );
        let (mut log, time) = (Vec::new(), timestamp(WRITTEN));
        for (at, piece) in text.split(|byte| *byte == 0).enumerate() {
            lines[at % 2].cut(piece, &time, &mut log);
            streams[at % 2].extend_from_slice(piece);
        }
        for lines in &mut lines {
            log.extend(lines.rest(&time));
        }
        let [stdout, stderr] = streams;
        Self {
            stdout,
            stderr,
            log,
        }
    }
}

impl ContainerLog {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let dir = scratch();
        Self { runtime, dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("0.log")
    }

    /// What a client gets.
    fn read(&self, options: Options) -> Result<Vec<u8>, String> {
        let log = Log::new(self.dir.path().to_owned(), self.path());
        self.runtime.block_on(async {
            let (_alive, state) = watch::channel(false);
            let (out, mut chunks) = mpsc::channel::<std::io::Result<Bytes>>(4);
            let reading = send(log, options, state, out);
            let collecting = async {
                let mut all = Vec::new();
                while let Some(chunk) = chunks.recv().await {
                    all.extend(chunk.map_err(|error| format!("the log is not read: {error}"))?);
                }
                Ok(all)
            };
            tokio::join!(reading, collecting).1
        })
    }

    /// Both streams, and what a query asks for of the first.
    fn check(&self, written: &Written, options: &Options) -> Result<(), String> {
        for (stdout, wanted) in [(true, &written.stdout), (false, &written.stderr)] {
            let stream = Options {
                stdout: Some(stdout),
                ..Options::default()
            };
            let read = self.read(stream)?;
            same(&read, wanted)?;
        }
        if !written.stderr.is_empty() {
            return Ok(());
        }
        if let Some(lines) = options.tail {
            let tail = Options {
                tail: Some(lines),
                ..Options::default()
            };
            same(&self.read(tail)?, last(&written.stdout, lines))?;
        }
        if let Some(limit) = options.limit_bytes {
            let limited = Options {
                limit_bytes: Some(limit),
                ..Options::default()
            };
            let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
            let wanted = wanted.min(written.stdout.len());
            same(&self.read(limited)?, &written.stdout[..wanted])?;
        }
        Ok(())
    }
}

fn same(read: &[u8], wanted: &[u8]) -> Result<(), String> {
    match read == wanted {
        true => Ok(()),
        false => Err(format!(
            "{:?} is read of {:?}",
            String::from_utf8_lossy(read),
            String::from_utf8_lossy(wanted)
        )),
    }
}

/// The last lines of a text; one that has not ended is one.
fn last(text: &[u8], lines: u64) -> &[u8] {
    let all = text.split_inclusive(|byte| *byte == b'\n');
    let skipped = (all.clone().count() as u64).saturating_sub(lines);
    let at: usize = all
        .take(usize::try_from(skipped).unwrap_or(usize::MAX))
        .map(<[u8]>::len)
        .sum();
    &text[at..]
}

fn write(path: &Path, log: &[u8]) -> Result<(), String> {
    std::fs::write(path, log).map_err(|error| error.to_string())
}

impl Target for ContainerLog {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let long = "x".repeat(knarr_shim::lines::MAX_LINE_BYTES);
        let long = format!("tailLines=1\na\n{long}yy\n\0oops\n\0z");
        let mut seeds = texts(&[
            "tailLines=2&timestamps=true&limitBytes=9&sinceSeconds=60\none\ntwo\n\nfour",
            "follow=true&sinceTime=2027-01-15T08:00:00Z&stream=Stderr\none\n\0two\n\0thr\0ee\n\0e\n",
            "tailLines=1\n\x002026-01-01T00:00:01.000000001Z stdout F one\n2026-01-01T00:00:02Z stderr P:x two\nnothing\n2026 stdout F x",
        ]);
        seeds.push(long.into_bytes());
        seeds
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "tailLines=",
            "limitBytes=",
            "sinceSeconds=",
            "sinceTime=2026-01-01T00:00:00Z",
            "stream=Stdout",
            "&timestamps=true",
            "&follow",
            "\0",
            "\n",
            " stdout F ",
            " stderr P ",
            "2026-01-01T00:00:00Z",
            "all",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            return Ok(0);
        };
        let (query, text) = (&input[..end], &input[end + 1..]);
        let now = Timestamp::from_nanosecond(i128::from(WRITTEN)).expect("a time");
        let query = String::from_utf8_lossy(query);
        let options = match Options::parse(&query, now) {
            Ok(options) => options,
            Err(error) => return Ok(shape::of(&error)),
        };
        match text.strip_prefix(b"\0") {
            Some(log) => write(&self.path(), log)?,
            None => {
                let written = Written::new(text);
                write(&self.path(), &written.log)?;
                self.check(&written, &options)?;
            }
        }
        let limit = options.limit_bytes.unwrap_or(u64::MAX);
        let read = self.read(options)?;
        if read.len() as u64 > limit {
            return Err(format!("{} bytes of at most {limit} are read", read.len()));
        }
        let log = Log::new(self.dir.path().to_owned(), self.path());
        let words = log.last_lines(3, 64);
        if words.len() > 3 * 64 || words.lines().count() > 3 {
            return Err(format!("the last words are {words:?}"));
        }
        Ok(shape::of_data(&String::from_utf8_lossy(&read)))
    }
}
