//! Reading on from a place, at one's own pace.

use std::{io, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Store, block::Decoder, segment::Segment};
use crate::record::Owned;

/// A place between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub block: u64,
    /// Bytes of the block before it.
    pub offset: u64,
    /// Number of the record after it.
    pub record: u64,
}

/// Reads all records from a place on. Holds one block in memory.
#[derive(Debug)]
pub struct Tail {
    store: Arc<Store>,
    block: u64,
    record: u64,
    decoder: Decoder,
    /// The block, as far as it was there.
    bytes: Vec<u8>,
    /// There is no more of this block.
    is_whole: bool,
    /// Records that were gone before they were read.
    missed: u64,
}

impl Tail {
    pub fn new(store: Arc<Store>, place: Place) -> Self {
        let mut tail = Self {
            store,
            block: place.block,
            record: place.record,
            decoder: Decoder::default(),
            bytes: Vec::new(),
            is_whole: false,
            missed: 0,
        };
        tail.skip_to(place);
        tail
    }

    /// Reads what comes before a place of its block: sources are told there.
    fn skip_to(&mut self, place: Place) {
        let wanted = usize::try_from(place.offset).unwrap_or(usize::MAX);
        let is_before = |tail: &Self| tail.block == place.block && tail.decoder.position() < wanted;
        while is_before(self) && matches!(self.next(), Ok(Some(_))) {}
        if self.block == place.block {
            self.record = place.record;
        }
    }

    /// After the last record that was read.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            block: self.block,
            offset: self.decoder.position() as u64,
            record: self.record,
        }
    }

    /// Records that were gone before they were read, since this was asked.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// The next record, `None` when there is none yet. Blocks for as long as a disk does.
    ///
    /// # Errors
    /// When a block cannot be read; the next call goes on after it.
    pub fn next(&mut self) -> io::Result<Option<Owned>> {
        loop {
            match self.decoder.next(&self.bytes) {
                Ok(Some(record)) => {
                    self.record += 1;
                    return Ok(Some(Owned::from(record)));
                }
                // Damaged: the rest of the block is lost, and counted by the number of the next one's first record.
                Ok(None) | Err(_) if self.is_whole => self.go_to(self.block + 1),
                Ok(None) | Err(_) => {}
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn go_to(&mut self, block: u64) {
        self.block = block;
        self.decoder = Decoder::default();
        self.bytes = Vec::new();
        self.is_whole = false;
    }

    /// Gets more of the block, or the next one that there is; whether there was any.
    fn fill(&mut self) -> io::Result<bool> {
        let segment = {
            let state = self.store.state.lock();
            let head = &state.head;
            if head.number == self.block {
                let all = head.block.bytes();
                let more = all.get(self.bytes.len()..).unwrap_or_default();
                self.bytes.extend_from_slice(more);
                let is_more = !more.is_empty();
                let first = head.first_record;
                drop(state);
                self.begin(first);
                return Ok(is_more);
            }
            if head.number < self.block {
                // Of another life of this directory: all there is now is new.
                let first = state.segments.front();
                let block = first.map_or(head.number, |segment| segment.first_block);
                drop(state);
                self.record = 0;
                self.go_to(block);
                return Ok(true);
            }
            let holds = |segment: &&Segment| segment.next_block() > self.block;
            match state.segments.iter().find(holds) {
                Some(segment) => segment.clone(),
                None => {
                    let number = head.number;
                    drop(state);
                    self.go_to(number);
                    return Ok(true);
                }
            }
        };
        self.read(&segment)?;
        Ok(true)
    }

    /// Reads the block whole, or the first one there is after it.
    fn read(&mut self, segment: &Segment) -> io::Result<()> {
        if segment.first_block > self.block {
            self.go_to(segment.first_block);
        }
        let found = segment.entry(self.block).and_then(|entry| {
            let entry = entry.ok_or_else(|| io::Error::other("a block has no entry"))?;
            Ok((segment.read(&entry)?, entry))
        });
        match found {
            Ok((bytes, entry)) => {
                self.bytes = bytes;
                self.is_whole = true;
                self.begin(entry.first_record);
                Ok(())
            }
            Err(error) => {
                self.go_to(self.block + 1);
                Err(error)
            }
        }
    }

    /// Counts what is missing before a block whose first record has this number.
    fn begin(&mut self, first_record: u64) {
        if self.decoder.position() == 0 {
            self.missed += first_record.saturating_sub(self.record);
            self.record = first_record;
        }
    }
}
