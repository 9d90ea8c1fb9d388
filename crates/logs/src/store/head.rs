//! The block that is being filled, in memory and in a file, uncompressed.
//!
//! ```text
//! file   = "knarrlog", number of the block, number of its first record, frame...
//! frame  = length, checksum, length of the position, position (JSON), records
//! ```
//!
//! With the records of a file goes how far that file has been read: after a crash of the process nothing is read twice. A frame
//! that is not whole ends the file.

// Frames are of disks.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::block::Builder;
use crate::positions::Position;

const NAME: &str = "head";
const MAGIC: &[u8; 8] = b"knarrlog";
const PREFIX_BYTES: usize = 24;
const FRAME_BYTES: usize = 12;
/// Longest file that is read, bytes: far more than a block and its positions are.
const MAX_FILE_BYTES: u64 = 64 << 20;
const MODE: u32 = 0o600;

pub struct Head {
    path: PathBuf,
    file: Option<File>,
    pub number: u64,
    pub first_record: u64,
    pub block: Builder,
    /// So much of the block is in the file.
    written: usize,
    /// The file's length, bytes.
    pub file_bytes: u64,
    /// Something was written that may not be on the disk.
    pub is_dirty: bool,
}

impl Head {
    /// An empty block; the file is made when there is something to write.
    pub fn new(directory: &Path, number: u64, first_record: u64) -> Self {
        Self {
            path: directory.join(NAME),
            file: None,
            number,
            first_record,
            block: Builder::default(),
            written: 0,
            file_bytes: 0,
            is_dirty: false,
        }
    }

    /// What a process has left, with the positions that were written since; or an empty block.
    ///
    /// # Errors
    /// Those of the kernel, here as below.
    pub fn recover(
        directory: &Path,
        number: u64,
        first_record: u64,
    ) -> io::Result<(Self, Vec<Position>)> {
        let mut head = Self::new(directory, number, first_record);
        let mut bytes = Vec::new();
        match File::open(&head.path) {
            Ok(file) => file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let (left, records, positions, whole) = parse(&bytes);
        // One that was compressed already, or is of nobody's.
        if left.is_none_or(|(left, _)| left < number) {
            return Ok((head, Vec::new()));
        }
        if let Some((number, first_record)) = left {
            (head.number, head.first_record) = (number, first_record.max(head.first_record));
        }
        let (block, read) = Builder::from_bytes(&records);
        head.written = read;
        head.block = block;
        let file = OpenOptions::new().append(true).open(&head.path)?;
        // A frame whose records are damaged is not added to.
        file.set_len(whole as u64)?;
        head.file_bytes = whole as u64;
        head.file = Some(file);
        Ok((head, positions))
    }

    /// Writes what the block has more than the file, and how far the file has been read that it is from.
    pub fn commit(&mut self, position: Option<&Position>) -> io::Result<()> {
        let records = &self.block.bytes()[self.written..];
        if records.is_empty() {
            return Ok(());
        }
        let position = position.map_or(Ok(Vec::new()), serde_json::to_vec)?;
        let body = position.len().saturating_add(records.len());
        let mut frame = Vec::with_capacity(body.saturating_add(FRAME_BYTES));
        let too_long = |_| io::Error::other("a frame is too long");
        frame.extend(u32::try_from(body).map_err(too_long)?.to_le_bytes());
        frame.extend([0; 4]);
        frame.extend(
            u32::try_from(position.len())
                .map_err(too_long)?
                .to_le_bytes(),
        );
        frame.extend(position);
        frame.extend(records);
        let sum = crc32fast::hash(&frame[8..]);
        frame[4..8].copy_from_slice(&sum.to_le_bytes());
        let before = self.file_bytes;
        let written = self.append(&frame);
        if written.is_err()
            && let Some(file) = &self.file
        {
            // Half of a frame would hide those that follow. What cannot be cut off is not read past.
            let _ = file.set_len(before);
        }
        written?;
        self.written = self.block.bytes().len();
        self.is_dirty = true;
        Ok(())
    }

    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let made = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(MODE)
                    .open(&self.path)?;
                let file = self.file.insert(made);
                let mut prefix = MAGIC.to_vec();
                prefix.extend(self.number.to_le_bytes());
                prefix.extend(self.first_record.to_le_bytes());
                file.write_all(&prefix)?;
                self.file_bytes = prefix.len() as u64;
                file
            }
        };
        file.write_all(frame)?;
        self.file_bytes = self.file_bytes.saturating_add(frame.len() as u64);
        Ok(())
    }

    /// Brings what was written to the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_dirty)
            && let Some(file) = &self.file
        {
            file.sync_data()?;
        }
        Ok(())
    }

    /// Removes the file: its block is elsewhere.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

type Parsed = (Option<(u64, u64)>, Vec<u8>, Vec<Position>, usize);

/// The numbers at the beginning, the records and the positions of whole frames, and where those end.
fn parse(bytes: &[u8]) -> Parsed {
    let (mut records, mut positions) = (Vec::new(), Vec::new());
    let Some((prefix, mut rest)) = bytes.split_at_checked(PREFIX_BYTES) else {
        return (None, records, positions, 0);
    };
    if !prefix.starts_with(MAGIC) {
        return (None, records, positions, 0);
    }
    let long = |at: usize| -> u64 {
        let bytes = prefix.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    while let Some((position, some, after)) = frame(rest) {
        records.extend_from_slice(some);
        positions.extend(serde_json::from_slice::<Position>(position).ok());
        rest = after;
    }
    let whole = bytes.len().saturating_sub(rest.len());
    (Some((long(8), long(16))), records, positions, whole)
}

/// The position and the records of a frame, and what comes after it.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let int =
        |at: usize| -> Option<u32> { Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)) };
    let end = FRAME_BYTES.checked_add(int(0)? as usize)?;
    let checked = bytes.get(8..end)?;
    if crc32fast::hash(checked) != int(4)? {
        return None;
    }
    let (position, records) = bytes
        .get(FRAME_BYTES..end)?
        .split_at_checked(int(8)? as usize)?;
    Some((position, records, bytes.get(end..)?))
}
