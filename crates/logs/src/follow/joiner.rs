//! Joining what runtimes have split: parts of a line of one stream, up to its last.

// Lines are of containers.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use super::line::Line;
use crate::record::{MAX_TEXT_BYTES, Stream};

/// A part waits this much of a file for the next one, bytes: then it is taken for all there is.
const MAX_WAIT_BYTES: u64 = 1 << 20;

/// The lines of one file.
#[derive(Debug, Default)]
pub struct Joiner {
    stdout: Option<Parts>,
    stderr: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    /// Of the first.
    time: i64,
    text: Vec<u8>,
    /// Where the first begins in the file.
    start: u64,
}

impl Joiner {
    /// Takes a line that begins at `start`; calls `emit` with the time, the stream and the text of what is whole by it.
    pub fn add(&mut self, line: Line<'_>, start: u64, emit: &mut impl FnMut(i64, Stream, &[u8])) {
        let parts = self.of(line.stream);
        if parts.is_none() && line.is_full {
            let text = &line.text[..line.text.len().min(MAX_TEXT_BYTES)];
            return emit(line.time, line.stream, text);
        }
        let joined = parts.get_or_insert_with(|| Parts {
            time: line.time,
            text: Vec::new(),
            start,
        });
        // What is longer is cut off.
        let room = MAX_TEXT_BYTES.saturating_sub(joined.text.len());
        joined
            .text
            .extend_from_slice(&line.text[..line.text.len().min(room)]);
        if line.is_full
            && let Some(joined) = parts.take()
        {
            emit(joined.time, line.stream, &joined.text);
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            let parts = self.of(stream);
            if let Some(old) =
                parts.take_if(|parts| parts.start.saturating_add(MAX_WAIT_BYTES) < start)
            {
                emit(old.time, stream, &old.text);
            }
        }
    }

    /// The file has ended: calls `emit` with what there is.
    pub fn finish(&mut self, emit: &mut impl FnMut(i64, Stream, &[u8])) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(parts) = self.of(stream).take() {
                emit(parts.time, stream, &parts.text);
            }
        }
    }

    /// From where on the file has to be read again to have everything that waits here.
    pub fn start(&self) -> Option<u64> {
        let starts = self.stdout.iter().chain(&self.stderr);
        starts.map(|parts| parts.start).min()
    }

    fn of(&mut self, stream: Stream) -> &mut Option<Parts> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(lines: &[(i64, Stream, bool, &str)]) -> (Vec<(i64, Stream, String)>, Option<u64>) {
        let (mut joiner, mut joined) = (Joiner::default(), Vec::new());
        for (at, (time, stream, is_full, text)) in lines.iter().enumerate() {
            let line = Line {
                time: *time,
                stream: *stream,
                is_full: *is_full,
                text: text.as_bytes(),
            };
            joiner.add(line, at as u64 * 700_000, &mut |time, stream, text| {
                joined.push((time, stream, String::from_utf8_lossy(text).into_owned()));
            });
        }
        (joined, joiner.start())
    }

    #[test]
    fn parts_are_joined_by_stream() {
        use Stream::{Stderr, Stdout};
        let (joined, start) = join(&[
            (1, Stdout, true, "whole"),
            (2, Stdout, false, "a"),
            (3, Stderr, true, "between"),
            (4, Stdout, true, "b"),
            (5, Stderr, false, "never ended"),
            (6, Stdout, true, "c"),
            (7, Stdout, true, "d"),
            (8, Stdout, false, "waits"),
        ]);
        let wanted = [
            (1, Stdout, "whole"),
            (3, Stderr, "between"),
            (2, Stdout, "ab"),
            (6, Stdout, "c"),
            (7, Stdout, "d"),
            (5, Stderr, "never ended"),
        ];
        let wanted = wanted.map(|(time, stream, text)| (time, stream, text.to_owned()));
        assert_eq!(joined, wanted);
        assert_eq!(start, Some(7 * 700_000));
    }

    #[test]
    fn what_is_joined_has_a_limit() {
        let part = "x".repeat(100_000);
        let (joined, _) = join(&[
            (1, Stream::Stdout, false, &part),
            (1, Stream::Stdout, false, &part),
            (1, Stream::Stdout, false, &part),
            (1, Stream::Stdout, true, &part),
        ]);
        assert!(
            joined
                .iter()
                .all(|(_, _, text)| text.len() <= MAX_TEXT_BYTES)
        );
        assert!(!joined.is_empty());
    }
}
