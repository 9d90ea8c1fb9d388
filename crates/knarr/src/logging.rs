//! Where the log goes, and how it looks.

use std::{fs::OpenOptions, io::IsTerminal, path::Path, sync::Mutex};

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use crate::cli::{Log, LogFormat};

/// Name of the log file in the data directory.
pub const FILE: &str = "knarr.log";

/// Whoever connects can have these say something, and before it is known who that is.
const QUIET: &str = "rustls=error";

/// Starts logging for the process. On a terminal the log goes to a file: the terminal shows progress.
pub fn start(log: &Log, data_dir: &Path) -> Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", log.log_level))
        .with_context(|| format!("--log-level {:?} is not a level or filter", log.log_level))?;
    let path = match &log.log_file {
        Some(path) => Some(path.clone()),
        None if std::io::stderr().is_terminal() => Some(data_dir.join(FILE)),
        None => None,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(true);
    let writer = match path {
        None => tracing_subscriber::fmt::writer::BoxMakeWriter::new(std::io::stderr),
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .with_context(|| format!("cannot open the log {}", path.display()))?;
            tracing_subscriber::fmt::writer::BoxMakeWriter::new(Mutex::new(file))
        }
    };
    let builder = builder.with_writer(writer).with_ansi(false);
    match log.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
