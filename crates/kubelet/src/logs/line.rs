//! One line of a CRI log file.

use jiff::Timestamp;

/// A line longer than this is cut; runtimes split at 16 KiB.
pub(super) const MAX_LINE_BYTES: u64 = 1 << 20;

/// A parsed line; the text has no line feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// As written, nanoseconds and all.
    pub time: &'a str,
    pub stdout: bool,
    /// The last part of what the container wrote as a line.
    pub full: bool,
    pub text: &'a [u8],
}

impl Line<'_> {
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

/// `None` for what is no log line, such as one that is still being written.
pub(crate) fn parse(raw: &[u8]) -> Option<Line<'_>> {
    let raw = raw.strip_suffix(b"\n")?;
    let mut parts = raw.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stdout = match parts.next()? {
        b"stdout" => true,
        b"stderr" => false,
        _ => return None,
    };
    // Tags may be joined by colons; the first says whether the line is whole.
    let full = match parts.next()?.first()? {
        b'F' => true,
        b'P' => false,
        _ => return None,
    };
    let text = parts.next().unwrap_or_default();
    Some(Line {
        time,
        stdout,
        full,
        text,
    })
}
