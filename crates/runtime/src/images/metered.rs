//! A reader that lets no more through than is allowed. `tar` takes an entry's long names and PAX records into memory whole,
//! however long they say they are: so much is allowed before each entry.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

/// Headers of one entry, long names and PAX records among them, bytes.
pub const MAX_HEADER_BYTES: u64 = 1 << 20;

/// The reader. What is allowed is counted down in the shared cell.
pub struct Metered<R> {
    inner: R,
    allowance: Rc<Cell<u64>>,
}

impl<R> Metered<R> {
    /// Nothing is allowed yet.
    pub fn new(inner: R) -> (Self, Rc<Cell<u64>>) {
        let allowance = Rc::new(Cell::new(0));
        let metered = Self {
            inner,
            allowance: allowance.clone(),
        };
        (metered, allowance)
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.allowance.get();
        if left == 0 && !buffer.is_empty() {
            let message = format!("an entry has more than {MAX_HEADER_BYTES} bytes of headers");
            return Err(io::Error::other(message));
        }
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.inner.read(&mut buffer[..most])?;
        self.allowance.set(left.saturating_sub(count as u64));
        Ok(count)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
