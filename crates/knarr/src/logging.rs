//! Where the log goes, and how it looks.

mod writer;

use std::{
    fs::OpenOptions,
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use self::writer::Writer;
use crate::cli::{Log, LogFormat};

/// Name of the log file in the data directory.
pub const FILE: &str = "knarr.log";

/// Whoever connects can have these say something, and before it is known who that is.
const QUIET: &str = "rustls=error";

/// How long the end of the process waits for its last lines to be written.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The process's writer, once there is one.
static WRITER: OnceLock<Writer> = OnceLock::new();

/// Where the lines are.
static PATH: OnceLock<PathBuf> = OnceLock::new();

/// The file that this process logs to, if it is one: a pipe or the journal has none.
pub fn file() -> Option<PathBuf> {
    PATH.get().cloned()
}

/// Lines are written before this is gone, or [`FLUSH_TIMEOUT`] has passed. None are taken from then on.
#[must_use]
pub struct Flushed;

impl Drop for Flushed {
    fn drop(&mut self) {
        if let Some(writer) = WRITER.get() {
            writer.close(FLUSH_TIMEOUT);
        }
    }
}

/// Waits until all lines are written, or [`FLUSH_TIMEOUT`] has passed.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSH_TIMEOUT);
    }
}

/// Starts logging for the process. On a terminal the log goes to a file of the data directory, where there is one: the terminal shows
/// progress.
pub fn start(log: &Log, data_dir: Option<&Path>) -> Result<Flushed> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", log.log_level))
        .with_context(|| format!("--log-level {:?} is not a level or filter", log.log_level))?;
    let path = match (&log.log_file, data_dir) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(dir)) if std::io::stderr().is_terminal() => Some(dir.join(FILE)),
        (None, _) => None,
    };
    let written_to = path.clone();
    let writer = match path {
        None => Writer::start(std::io::stderr()),
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .with_context(|| format!("cannot open the log {}", path.display()))?;
            Writer::start(file)
        }
    };
    let writer = writer.context("cannot start the log's thread")?;
    let file = match &written_to {
        Some(path) => std::path::absolute(path).ok(),
        None => std::fs::read_link("/proc/self/fd/2").ok(),
    };
    if let Some(file) = file.filter(|file| file.is_file()) {
        // There is one start in a process.
        let _set = PATH.set(file);
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(true)
        .with_writer(WRITER.get_or_init(|| writer).clone())
        .with_ansi(false);
    match log.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(Flushed)
}

#[cfg(test)]
mod tests;
