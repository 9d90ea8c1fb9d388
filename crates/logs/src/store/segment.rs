//! Segments: two files, one of compressed blocks and one with an entry of fixed size for each of them.
//!
//! An entry is written after its block, and names its length and its checksum: what has no whole entry is not there. Searching
//! reads the entries from one end to the other, and of the blocks those that may have something.

// Entries are of disks.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    block::Summary,
    grams::{Grams, SET_BYTES},
};

/// Blocks of a segment, which are removed together.
pub const MAX_BLOCKS: u64 = 512;
/// Bytes of an entry: the figures, the checksum over all else, and the set of grams.
const FIGURES_BYTES: usize = 60;
const HEAD_BYTES: usize = 64;
pub const ENTRY_BYTES: usize = HEAD_BYTES + SET_BYTES;
/// Longest block, bytes: more is damage.
const MAX_BLOCK_BYTES: u32 = 64 << 20;
const COMPRESSION_LEVEL: i32 = 1;
const MODE: u32 = 0o600;
const BLOCKS: &str = "blocks";
const INDEX: &str = "index";

/// What is said of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is in the file, and its length there.
    pub offset: u64,
    pub stored: u32,
    /// Uncompressed.
    pub length: u32,
    /// Number of its first record among all there have been.
    pub first_record: u64,
    pub summary: Summary,
    pub checksum: u32,
}

impl Entry {
    fn encode(&self, grams: &Grams) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENTRY_BYTES);
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.stored.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.first_record.to_le_bytes());
        bytes.extend(self.summary.first_time.to_le_bytes());
        bytes.extend(self.summary.last_time.to_le_bytes());
        bytes.extend(self.summary.records.to_le_bytes());
        bytes.extend(self.checksum.to_le_bytes());
        bytes.resize(FIGURES_BYTES, 0);
        let sum = checksum(&[&bytes, grams.bytes()]);
        bytes.extend(sum.to_le_bytes());
        bytes.extend_from_slice(grams.bytes());
        bytes
    }

    /// An entry, when it is whole.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let figures = bytes.get(..FIGURES_BYTES)?;
        let set = bytes.get(HEAD_BYTES..ENTRY_BYTES)?;
        if checksum(&[figures, set]) != int(bytes, FIGURES_BYTES)? {
            return None;
        }
        Some(Self {
            offset: long(bytes, 0)?,
            stored: int(bytes, 8)?,
            length: int(bytes, 12)?,
            first_record: long(bytes, 16)?,
            summary: Summary {
                first_time: long(bytes, 24)?.cast_signed(),
                last_time: long(bytes, 32)?.cast_signed(),
                records: int(bytes, 40)?,
            },
            checksum: int(bytes, 44)?,
        })
    }

    /// The set of grams of an entry's bytes.
    pub fn grams(bytes: &[u8]) -> &[u8] {
        bytes.get(HEAD_BYTES..ENTRY_BYTES).unwrap_or_default()
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.stored))
    }
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

fn int(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// A segment, as it is now; its files may be removed by whoever owns them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    directory: PathBuf,
    /// Number of its first block.
    pub first_block: u64,
    pub blocks: u64,
    /// Bytes of both files.
    pub bytes: u64,
    /// Of its last block.
    pub last: Option<Entry>,
}

/// Where the entry of a number is in the index.
fn place(number: u64) -> u64 {
    number.saturating_mul(ENTRY_BYTES as u64)
}

impl Segment {
    pub fn new(directory: &Path, first_block: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            first_block,
            blocks: 0,
            bytes: 0,
            last: None,
        }
    }

    /// The segments of a directory, the oldest first. What was torn at the end of one is cut off.
    ///
    /// # Errors
    /// Those of the kernel, here as below.
    pub fn all(directory: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == BLOCKS)
                && let Some(number) = path.file_stem().and_then(|stem| stem.to_str())
                && let Ok(number) = u64::from_str_radix(number, 16)
            {
                let segment = Self::recover(directory, number)?;
                match segment.blocks {
                    0 => segment.remove()?,
                    _ => segments.push(segment),
                }
            }
        }
        segments.sort_by_key(|segment| segment.first_block);
        Ok(segments)
    }

    fn recover(directory: &Path, first_block: u64) -> io::Result<Self> {
        let mut segment = Self::new(directory, first_block);
        let (blocks, index) = (segment.open(BLOCKS)?, segment.open(INDEX)?);
        let length = blocks.metadata()?.len();
        let entries = index.metadata()?.len().checked_div(ENTRY_BYTES as u64);
        let mut count = entries.unwrap_or(0);
        let mut bytes = vec![0; ENTRY_BYTES];
        while count > 0 {
            let last = count.saturating_sub(1);
            index.read_exact_at(&mut bytes, place(last))?;
            let entry = Entry::decode(&bytes).filter(|entry| entry.end() <= length);
            if entry.is_some() {
                segment.last = entry;
                break;
            }
            count = last;
        }
        let end = segment.last.map_or(0, |entry| entry.end());
        index.set_len(place(count))?;
        blocks.set_len(end)?;
        segment.blocks = count;
        segment.bytes = end.saturating_add(place(count));
        Ok(segment)
    }

    /// Adds a block; see [`Self::sync`].
    pub fn append(
        &mut self,
        bytes: &[u8],
        grams: &Grams,
        summary: Summary,
        first_record: u64,
    ) -> io::Result<()> {
        let stored = zstd::bulk::compress(bytes, COMPRESSION_LEVEL)?;
        let too_long = |_| io::Error::other("a block is too long");
        let entry = Entry {
            offset: self.last.map_or(0, |entry| entry.end()),
            stored: stored.len().try_into().map_err(too_long)?,
            length: bytes.len().try_into().map_err(too_long)?,
            first_record,
            summary,
            checksum: checksum(&[&stored]),
        };
        let (blocks, index) = (self.open(BLOCKS)?, self.open(INDEX)?);
        blocks.write_all_at(&stored, entry.offset)?;
        let at = place(self.blocks);
        index.write_all_at(&entry.encode(grams), at)?;
        self.blocks = self.blocks.saturating_add(1);
        self.bytes = entry.end().saturating_add(place(self.blocks));
        self.last = Some(entry);
        Ok(())
    }

    /// Brings its blocks to the disk, so that they outlast a power failure.
    pub fn sync(&self) -> io::Result<()> {
        for kind in [BLOCKS, INDEX] {
            match File::open(self.path(kind)) {
                Ok(file) => file.sync_data()?,
                // Removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The entries as they are in the file, those after the segment's last left out.
    pub fn entries(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(place(self.blocks)).unwrap_or(0);
        let mut bytes = vec![0; length];
        File::open(self.path(INDEX))?.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// The entry of a block of this number among all.
    pub fn entry(&self, block: u64) -> io::Result<Option<Entry>> {
        let Some(at) = block
            .checked_sub(self.first_block)
            .filter(|at| *at < self.blocks)
        else {
            return Ok(None);
        };
        let mut bytes = vec![0; ENTRY_BYTES];
        File::open(self.path(INDEX))?.read_exact_at(&mut bytes, place(at))?;
        Ok(Entry::decode(&bytes))
    }

    /// A block's bytes as they were before.
    pub fn read(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a block is damaged");
        if entry.stored > MAX_BLOCK_BYTES || entry.length > MAX_BLOCK_BYTES {
            return Err(damaged());
        }
        let mut stored = vec![0; entry.stored as usize];
        File::open(self.path(BLOCKS))?.read_exact_at(&mut stored, entry.offset)?;
        if checksum(&[&stored]) != entry.checksum {
            return Err(damaged());
        }
        zstd::bulk::decompress(&stored, entry.length as usize)
    }

    /// Number of the block after its last.
    pub fn next_block(&self) -> u64 {
        self.first_block.saturating_add(self.blocks)
    }

    /// Number of the record after its last; 0 where it has none.
    pub fn next_record(&self) -> u64 {
        self.last.map_or(0, |entry| {
            let records = entry.summary.records.into();
            entry.first_record.saturating_add(records)
        })
    }

    /// Removes its files.
    pub fn remove(&self) -> io::Result<()> {
        for kind in [BLOCKS, INDEX] {
            match fs::remove_file(self.path(kind)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn open(&self, kind: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(self.path(kind))
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.directory
            .join(format!("{:016x}.{kind}", self.first_block))
    }
}
