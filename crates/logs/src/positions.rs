//! How far log files have been read.
//!
//! A file is known by its device, its number there and its beginning, which has the time of its first line: numbers are given
//! again, names change when logs are rotated.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

const NAME: &str = "positions.json";
/// So much of a file's beginning is compared, bytes: a time in nanoseconds.
const BEGINNING_BYTES: usize = 40;
/// Longest file that is read, bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    device: u64,
    inode: u64,
    /// Checksum of its beginning.
    beginning: u32,
}

impl FileId {
    /// `None` for a file that is too short to be told from others: nothing of it has been read.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        use std::os::unix::fs::FileExt;
        let mut bytes = [0; BEGINNING_BYTES];
        let metadata = file.metadata()?;
        if metadata.len() < BEGINNING_BYTES as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            beginning: crc32fast::hash(&bytes),
        }))
    }
}

/// So much of a file has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    #[serde(flatten)]
    pub file: FileId,
    /// Bytes.
    pub offset: u64,
}

/// The positions of all files, in one of their own.
#[derive(Debug, Default)]
pub struct Positions {
    path: PathBuf,
    offsets: HashMap<FileId, u64>,
    is_dirty: bool,
}

impl Positions {
    /// What was saved, and then what was written since.
    pub fn load(directory: &Path, since: Vec<Position>) -> Self {
        let mut positions = Self {
            path: directory.join(NAME),
            ..Self::default()
        };
        match positions.read() {
            Ok(saved) => positions.offsets = saved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, "what was read of logs is not known, they are read again")
            }
        }
        for position in since {
            positions.set(position);
        }
        positions
    }

    fn read(&self) -> io::Result<HashMap<FileId, u64>> {
        let mut text = Vec::new();
        File::open(&self.path)?
            .take(MAX_FILE_BYTES)
            .read_to_end(&mut text)?;
        let saved: Vec<Position> = serde_json::from_slice(&text)?;
        Ok(saved.into_iter().map(|p| (p.file, p.offset)).collect())
    }

    pub fn get(&self, file: &FileId) -> Option<u64> {
        self.offsets.get(file).copied()
    }

    pub fn set(&mut self, position: Position) {
        self.is_dirty |=
            self.offsets.insert(position.file, position.offset) != Some(position.offset);
    }

    /// Forgets a file that is gone.
    pub fn forget(&mut self, file: &FileId) {
        self.is_dirty |= self.offsets.remove(file).is_some();
    }

    /// Forgets all files but these.
    pub fn retain(&mut self, keep: impl Fn(&FileId) -> bool) {
        let before = self.offsets.len();
        self.offsets.retain(|file, _| keep(file));
        self.is_dirty |= self.offsets.len() != before;
    }

    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Writes them where the next process finds them. A power failure may take them.
    ///
    /// # Errors
    /// Those of the kernel, here as below.
    pub fn keep(&self) -> io::Result<()> {
        knarr_host::write_atomically(&self.path, &self.encode()?)
    }

    /// Writes them, so that they outlast a power failure.
    pub fn save(&mut self) -> io::Result<()> {
        if !self.is_dirty {
            return Ok(());
        }
        knarr_host::write_durably(&self.path, &self.encode()?)?;
        self.is_dirty = false;
        Ok(())
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let all: Vec<Position> = (self.offsets.iter())
            .map(|(file, offset)| Position {
                file: *file,
                offset: *offset,
            })
            .collect();
        Ok(serde_json::to_vec(&all)?)
    }
}
