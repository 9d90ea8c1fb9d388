//! CRI log files: where the lines go that are cut from what containers write.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use knarr_host::Directory;
use knarr_shim::lines::{Lines, timestamp};

use crate::sys;

const MODE: u32 = 0o640;

/// A container's log file.
pub struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::other("the log's path has no name"));
        };
        // Who may write there could have put a link in its place.
        let file = Directory::open(parent)?.open_for_appending(Path::new(name), MODE)?;
        Ok(Self { path, file })
    }

    /// After a rotation: the name, anew.
    pub fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(self.path.clone())?;
        Ok(())
    }

    /// Writes the lines that `bytes` completes. A full disk or a vanished directory loses output, never the container.
    pub fn write(&mut self, lines: &mut Lines, bytes: &[u8]) {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        lines.cut(bytes, &timestamp(sys::now()), &mut out);
        if !out.is_empty() {
            let _ = self.file.write_all(&out);
        }
    }

    /// The stream has ended.
    pub fn finish(&mut self, lines: &mut Lines) {
        let rest = lines.rest(&timestamp(sys::now()));
        if !rest.is_empty() {
            let _ = self.file.write_all(&rest);
        }
    }
}
