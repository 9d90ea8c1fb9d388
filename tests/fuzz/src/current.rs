//! The input that is being run, in a file: a stack that overflows, memory that runs out and an input that never ends leave no
//! other trace.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::inputs::{self, SLOW};

/// An input that takes longer than this takes its process with it.
const HUNG: Duration = SLOW.saturating_mul(3);
/// What such a process ends with.
pub const HUNG_EXIT: i32 = 3;
const NOT_RUNNING: u64 = u64::MAX;

/// What is being run, and since when. The file goes with it.
pub struct Current {
    path: PathBuf,
    file: File,
    begin: Instant,
    /// Milliseconds from `begin`, or [`NOT_RUNNING`].
    since: Arc<AtomicU64>,
}

/// Where a process notes the input that it is running.
pub fn path(target: &str, process: u32) -> PathBuf {
    inputs::folder("findings", &format!("{target}.{process}"))
}

impl Current {
    /// With a thread that watches for inputs without end.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn new(target: &str) -> Result<Self> {
        let path = path(target, std::process::id());
        fs::create_dir_all(path.parent().context("a folder")?)?;
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let (begin, since) = (Instant::now(), Arc::new(AtomicU64::new(NOT_RUNNING)));
        let (watched, target, input) = (Arc::downgrade(&since), target.to_owned(), path.clone());
        std::thread::spawn(move || {
            while let Some(since) = watched.upgrade() {
                let since = since.load(Ordering::Relaxed);
                if since != NOT_RUNNING
                    && begin.elapsed() > Duration::from_millis(since).saturating_add(HUNG)
                {
                    let saved = finding(&target, &input);
                    eprintln!("{target}: has run for more than {HUNG:?}: {saved:?}");
                    std::process::exit(HUNG_EXIT);
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Ok(Self {
            path,
            file,
            begin,
            since,
        })
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn begin(&self, input: &[u8]) -> Result<()> {
        self.file.write_all_at(input, 0)?;
        self.file.set_len(input.len() as u64)?;
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(NOT_RUNNING);
        self.since.store(now, Ordering::Relaxed);
        Ok(())
    }

    pub fn end(&self) {
        self.since.store(NOT_RUNNING, Ordering::Relaxed);
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        // A file that stays is found by whoever looks for findings.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes a finding of the input that a process was at; `None` where it left none.
///
/// # Errors
/// When it cannot be read or written.
pub fn finding(target: &str, path: &std::path::Path) -> Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    let saved = inputs::save(&inputs::folder("findings", target), &fs::read(path)?)?;
    fs::remove_file(path)?;
    Ok(Some(saved))
}
