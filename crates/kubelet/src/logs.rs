//! Container logs: CRI log files, read for `kubectl logs`, followed by inotify, and rotated.
//!
//! A CRI line is `<RFC 3339 time> <stdout|stderr> <F|P> <text>`; `P` lines are parts of a longer one.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

mod follow;
mod line;
pub(crate) mod read;
pub(crate) mod rotate;

/// What times and tags of the lines at a log's end may take.
const OVERHEAD_BYTES: u64 = 16 << 10;

/// The end of a log as plain text: at most `lines` lines and `bytes` bytes; empty when it cannot be read.
pub(crate) fn last_lines(path: &str, lines: usize, bytes: u64) -> String {
    let text = tail_bytes(path, bytes.saturating_add(OVERHEAD_BYTES)).unwrap_or_default();
    let mut out = Vec::new();
    let all: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
    let parsed: Vec<line::Line<'_>> = all.iter().filter_map(|raw| line::parse(raw)).collect();
    for line in parsed.iter().skip(parsed.len().saturating_sub(lines)) {
        out.extend_from_slice(line.text);
        if line.full {
            out.push(b'\n');
        }
    }
    let limit = usize::try_from(bytes).unwrap_or(usize::MAX);
    let from = out.len().saturating_sub(limit);
    String::from_utf8_lossy(&out[from..]).into_owned()
}

/// The last `limit` bytes of a file, from the beginning of a line on.
fn tail_bytes(path: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
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

#[cfg(test)]
mod tests;
