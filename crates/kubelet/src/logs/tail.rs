//! Where the last lines of a log begin, found backwards, with one piece of the file in memory at a time.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt};

use super::line::{self, MAX_LINE_BYTES};

/// Read at a time.
const STEP_BYTES: u64 = 64 << 10;

/// Where the last `lines` lines of `length` bytes begin. Parts of one line count as one.
pub(super) async fn offset(
    file: &mut (impl AsyncRead + AsyncSeek + Unpin),
    length: u64,
    lines: u64,
) -> std::io::Result<u64> {
    let mut count = Count {
        wanted: lines,
        seen: 0,
        begun: false,
    };
    // What begins before it has not been looked at; `rest` is the end of a line that does.
    let mut from = length;
    let mut rest: Vec<u8> = Vec::new();
    while lines > 0 && from > 0 {
        let step = STEP_BYTES.min(from);
        from -= step;
        file.seek(std::io::SeekFrom::Start(from)).await?;
        let mut piece = Vec::new();
        (&mut *file).take(step).read_to_end(&mut piece).await?;
        piece.extend_from_slice(&rest);
        let cut = match from {
            0 => 0,
            _ => piece
                .iter()
                .position(|b| *b == b'\n')
                .map_or(piece.len(), |at| at + 1),
        };
        if let Some(at) = count.add(&piece[cut..]) {
            return Ok(from + (cut + at) as u64);
        }
        piece.truncate(cut);
        rest = piece;
        if rest.len() as u64 > MAX_LINE_BYTES {
            // No line is that long: this is no log.
            return Ok(from + rest.len() as u64);
        }
    }
    Ok(if lines == 0 { length } else { 0 })
}

/// Lines from the end on.
struct Count {
    wanted: u64,
    seen: u64,
    /// The last line was looked at.
    begun: bool,
}

impl Count {
    /// Counts whole lines of the file that come before those counted so far; the offset of the first that is wanted.
    fn add(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = bytes.len();
        for raw in bytes.split_inclusive(|b| *b == b'\n').rev() {
            if let Some(line) = line::parse(raw) {
                // A part at the very end is a line that has not ended.
                if line.full || !self.begun {
                    if self.seen == self.wanted {
                        return Some(at);
                    }
                    self.seen += 1;
                }
                self.begun = true;
            }
            at -= raw.len();
        }
        None
    }
}
