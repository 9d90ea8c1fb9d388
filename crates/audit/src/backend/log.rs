//! A file of JSON lines, which is rotated, or the standard output.

mod rotation;

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use self::rotation::Rotation;
use super::{Backend, Batching, Mode, Sink, Truncation};
use crate::Error;

/// The path that means the standard output.
pub const STDOUT: &str = "-";

/// What stands before an event in a line: its type.
const TYPE: &[u8] = b"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",";
/// Lines that are written together, at most.
const LINES: usize = 1024;
const MEGABYTE: u64 = 1 << 20;

/// Where the log is, and how much of it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct LogOptions {
    pub path: PathBuf,
    /// 0: it is never rotated.
    pub max_size_megabytes: u64,
    /// Days that a rotated file is kept; 0: without end.
    pub max_age_days: u32,
    /// Rotated files that are kept; 0: all.
    pub max_backups: usize,
    pub mode: Mode,
    /// Whether rotated files are compressed.
    pub compress: bool,
    /// Events that wait in mode `batch`.
    pub buffer: usize,
    /// Without it events are of any size.
    pub truncation: Option<Truncation>,
}

/// Opens the log.
///
/// # Errors
/// Where the file cannot be made or written.
pub fn backend(options: &LogOptions) -> Result<Backend, Error> {
    let failed = |source| Error::Log {
        path: options.path.clone(),
        source,
    };
    let target = match options.path == Path::new(STDOUT) {
        true => Target::Stdout,
        false => Target::File(LogFile::open(options).map_err(failed)?),
    };
    let batching = Batching {
        buffer: options.buffer,
        max_events: LINES,
        max_wait: std::time::Duration::ZERO,
        throttle: None,
    };
    let sink = Box::new(LogSink(Arc::new(Mutex::new(target))));
    Backend::new(
        "log",
        options.mode,
        &batching,
        options.truncation,
        false,
        sink,
    )
}

struct LogSink(Arc<Mutex<Target>>);

enum Target {
    Stdout,
    File(LogFile),
}

#[async_trait]
impl Sink for LogSink {
    async fn keep(&self, events: &[Bytes]) -> Result<(), String> {
        let (target, lines) = (self.0.clone(), lines(events));
        // A disk may take its time.
        let written = tokio::task::spawn_blocking(move || target.lock().write(&lines)).await;
        match written {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Events with their type, a line each.
fn lines(events: &[Bytes]) -> Vec<Vec<u8>> {
    let line = |event: &Bytes| {
        let fields = event.strip_prefix(b"{").unwrap_or_default();
        [TYPE, fields, b"\n"].concat()
    };
    events.iter().map(line).collect()
}

impl Target {
    fn write(&mut self, lines: &[Vec<u8>]) -> io::Result<()> {
        match self {
            Target::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(&lines.concat())?;
                out.flush()
            }
            Target::File(file) => file.write(lines),
        }
    }
}

/// The file that is written to.
struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    /// `None`: it could not be opened after a rotation; the next write tries again.
    file: Option<File>,
    bytes: u64,
}

impl LogFile {
    fn open(options: &LogOptions) -> io::Result<LogFile> {
        let path = &options.path;
        if let Some(directory) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        }
        let (file, bytes) = open(path)?;
        Ok(LogFile {
            path: path.clone(),
            rotation: Rotation {
                max_bytes: options.max_size_megabytes.saturating_mul(MEGABYTE),
                max_age_days: options.max_age_days,
                max_backups: options.max_backups,
                compress: options.compress,
                compressing: Arc::default(),
            },
            file: Some(file),
            bytes,
        })
    }

    /// Appends lines, rotating before one that finds no room.
    fn write(&mut self, lines: &[Vec<u8>]) -> io::Result<()> {
        let mut pending = Vec::new();
        for line in lines {
            let more = pending.len().saturating_add(line.len()) as u64;
            let limit = self.rotation.max_bytes;
            if limit > 0 && self.bytes.saturating_add(more) > limit {
                self.append(&pending)?;
                pending.clear();
                if self.bytes > 0 {
                    self.rotate()?;
                }
            }
            pending.extend_from_slice(line);
        }
        self.append(&pending)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let (file, bytes) = open(&self.path)?;
            (self.file, self.bytes) = (Some(file), bytes);
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if let Err(error) = file.write_all(bytes) {
            // Half a line on a full disk would spoil the next one, too.
            let _ = file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        self.rotation.rotate(&self.path, jiff::Timestamp::now())?;
        let (file, bytes) = open(&self.path)?;
        (self.file, self.bytes) = (Some(file), bytes);
        Ok(())
    }
}

/// Nobody else may read who did what.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

/// A new file that only its owner reads, in the place of whatever is there.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

#[cfg(test)]
mod tests;
