//! Container logs: CRI log files, read for `kubectl logs`, followed by inotify, and rotated.
//!
//! A CRI line is `<RFC 3339 time> <stdout|stderr> <F|P> <text>`; `P` lines are parts of a longer one. Log agents have the
//! directory of all logs mounted, some of them writable, so files are found below it without links.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use knarr_host::Directory;

mod follow;
mod line;
pub mod read;
pub(crate) mod rotate;
mod tail;

/// What times and tags of the lines at a log's end may take, bytes.
const OVERHEAD_BYTES: usize = 16 << 10;

/// A log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The directory of all pods' logs.
    root: PathBuf,
    path: PathBuf,
}

impl Log {
    /// The log at `path`, which is below `root`, the directory of all pods' logs.
    pub fn new(root: PathBuf, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { root, path }
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory, and its name there.
    fn locate(&self) -> io::Result<(Directory, OsString)> {
        let inside = self.path.strip_prefix(&self.root);
        let inside = inside.map_err(|_| io::Error::other("the log is not below the pods' logs"))?;
        match (inside.parent(), inside.file_name()) {
            (Some(parent), Some(name)) => {
                let here = Path::new(".").join(parent);
                Ok((Directory::open(&self.root)?.child(&here)?, name.to_owned()))
            }
            _ => Err(io::Error::other("the log has no name")),
        }
    }

    fn open(&self) -> io::Result<File> {
        let (directory, name) = self.locate()?;
        directory.open_file(Path::new(&name))
    }

    /// As [`Self::open`], off the async threads.
    async fn open_off_thread(&self) -> io::Result<tokio::fs::File> {
        let log = self.clone();
        let opened = tokio::task::spawn_blocking(move || log.open()).await;
        Ok(tokio::fs::File::from_std(
            opened.map_err(io::Error::other)??,
        ))
    }

    /// Removes it and what rotation has put aside of it. Blocks.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let (directory, name) = match self.locate() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        for old in rotate::put_aside(&directory, &name)? {
            directory.remove(Path::new(&old))?;
        }
        directory.remove(Path::new(&name))
    }

    /// Its end as plain text: at most `lines` lines and `bytes` bytes; empty when it cannot be read. Blocks.
    pub fn last_lines(&self, lines: usize, bytes: usize) -> String {
        let text = self
            .tail_bytes(bytes.saturating_add(OVERHEAD_BYTES))
            .unwrap_or_default();
        let mut out = Vec::new();
        let all: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
        let parsed: Vec<line::Line<'_>> = all.iter().filter_map(|raw| line::parse(raw)).collect();
        for line in parsed.iter().skip(parsed.len().saturating_sub(lines)) {
            out.extend_from_slice(line.text);
            if line.full {
                out.push(b'\n');
            }
        }
        let from = out.len().saturating_sub(bytes);
        String::from_utf8_lossy(&out[from..]).into_owned()
    }

    /// The last `limit` bytes, from the beginning of a line on.
    fn tail_bytes(&self, limit: usize) -> io::Result<Vec<u8>> {
        let mut file = self.open()?;
        let length = file.metadata()?.len();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let from = length.saturating_sub(limit);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        if from > 0 {
            let start = bytes
                .iter()
                .position(|b| *b == b'\n')
                .map_or(bytes.len(), |at| at + 1);
            bytes.drain(..start);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
