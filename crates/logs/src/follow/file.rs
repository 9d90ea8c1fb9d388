//! One log file, read from where it was read up to.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
};

use super::{
    joiner::Joiner,
    line::{Clock, Form},
};
use crate::{
    positions::{FileId, Position},
    record::Stream,
};

/// Read at a time, bytes.
const STEP_BYTES: usize = 128 << 10;
/// A line without an end that is longer than this, bytes, is no line: runtimes split at 16 KiB.
const MAX_LINE_BYTES: usize = 256 << 10;

/// A file that is being read. Whoever writes it may do as they like with it.
#[derive(Debug)]
pub struct Followed {
    file: File,
    form: Form,
    pub inode: u64,
    /// Known as soon as there is enough of it.
    id: Option<FileId>,
    offset: u64,
    joiner: Joiner,
    clock: Clock,
    /// The beginning of a line, up to the offset.
    rest: Vec<u8>,
    /// What comes up to the next line feed belongs to a line that was too long.
    is_skipping: bool,
}

/// What a step has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes.
    pub read: usize,
    /// Bytes of lines that were none, or too long.
    pub skipped: u64,
}

impl Followed {
    /// # Errors
    /// Those of the kernel, here as below.
    pub fn new(file: File, form: Form) -> io::Result<Self> {
        Ok(Self {
            inode: file.metadata()?.ino(),
            id: FileId::of(&file)?,
            file,
            form,
            offset: 0,
            joiner: Joiner::default(),
            clock: Clock::default(),
            rest: Vec::new(),
            is_skipping: false,
        })
    }

    pub fn id(&self) -> Option<FileId> {
        self.id
    }

    /// Goes on from where an earlier process was.
    pub fn resume(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Bytes that have not been read.
    pub fn unread(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(self.offset))
    }

    /// Leaves bytes out, up to a line feed; how many.
    pub fn skip(&mut self, bytes: u64) -> u64 {
        self.offset = self.offset.saturating_add(bytes);
        let skipped = bytes + self.rest.len() as u64;
        self.rest.clear();
        self.is_skipping = true;
        skipped
    }

    /// Reads on; `emit` gets what is whole.
    pub fn step(&mut self, emit: &mut impl FnMut(i64, Stream, &[u8])) -> io::Result<Step> {
        let length = self.file.metadata()?.len();
        if length < self.offset {
            // It was emptied, and is another file.
            self.offset = 0;
            self.rest.clear();
            self.id = None;
        }
        if self.id.is_none() {
            self.id = FileId::of(&self.file)?;
        }
        let mut bytes = std::mem::take(&mut self.rest);
        let had = bytes.len();
        bytes.resize(had + STEP_BYTES, 0);
        let read = self.file.read_at(&mut bytes[had..], self.offset)?;
        bytes.truncate(had + read);
        let start = self.offset - had as u64;
        self.offset += read as u64;
        let mut step = Step { read, skipped: 0 };
        let used = self.lines(&bytes, start, &mut step.skipped, emit);
        if bytes.len() - used > MAX_LINE_BYTES {
            step.skipped += (bytes.len() - used) as u64;
            self.is_skipping = true;
        } else {
            bytes.drain(..used);
            self.rest = bytes;
        }
        Ok(step)
    }

    /// Takes whole lines from bytes that begin at `start`; how many bytes those are.
    fn lines(
        &mut self,
        bytes: &[u8],
        start: u64,
        skipped: &mut u64,
        emit: &mut impl FnMut(i64, Stream, &[u8]),
    ) -> usize {
        let mut used = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let (raw, at) = (&bytes[used..end], start + used as u64);
            used = end + 1;
            if std::mem::take(&mut self.is_skipping) {
                *skipped += raw.len() as u64;
                continue;
            }
            match self.form.parse(&mut self.clock, raw) {
                Some(line) => self.joiner.add(line, at, emit),
                None => *skipped += raw.len() as u64,
            }
        }
        used
    }

    /// Whether it has no name any more. What cannot be told is no reason to keep it open.
    pub fn is_unlinked(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Nothing more will come: `emit` gets parts that wait for others.
    pub fn finish(&mut self, emit: &mut impl FnMut(i64, Stream, &[u8])) {
        self.joiner.finish(emit);
    }

    /// From where on another process has to read.
    pub fn position(&self) -> Option<Position> {
        let read = self.offset - self.rest.len() as u64;
        Some(Position {
            file: self.id?,
            offset: self.joiner.start().unwrap_or(read),
        })
    }
}
