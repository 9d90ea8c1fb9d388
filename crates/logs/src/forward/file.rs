//! A file with a document a line; one that is full is put aside, over the one that was before.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use super::{Batch, Receiver, Refusal, elasticsearch::document};

const MODE: u32 = 0o640;

#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    /// Of one file; there are two.
    max_bytes: u64,
}

impl Log {
    pub fn new(path: PathBuf, max_bytes: u64) -> Self {
        Self { path, max_bytes }
    }
}

#[async_trait]
impl Receiver for Log {
    async fn send(&mut self, batch: Batch<'_>) -> Result<u64, Refusal> {
        let mut lines = Vec::new();
        for record in batch.records {
            lines.extend_from_slice(document(batch.node, record).to_string().as_bytes());
            lines.push(b'\n');
        }
        let (path, max) = (self.path.clone(), self.max_bytes);
        let written = spawn_blocking(move || append(&path, &lines, max)).await;
        let written = written.map_err(|error| Refusal::Now(error.to_string()))?;
        let bad = |error: io::Error| Refusal::Now(format!("{}: {error}", self.path.display()));
        written.map(|()| 0).map_err(bad)
    }
}

/// Adds all of it or nothing, and brings it to the disk.
fn append(path: &Path, lines: &[u8], max_bytes: u64) -> io::Result<()> {
    let mut file = open(path)?;
    let mut length = file.metadata()?.len();
    if length > 0 && length.saturating_add(lines.len() as u64) > max_bytes {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        fs::rename(path, aside)?;
        file = open(path)?;
        length = 0;
    }
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    if written.is_err() {
        // It is sent again as a whole.
        let _ = file.set_len(length);
    }
    written
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)
}
