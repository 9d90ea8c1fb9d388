//! Lines of log files: those of containers in CRI's form, `<RFC 3339 time> <stdout|stderr> <F|P> <text>`, and those of the
//! node's own log, which begin with a time or do not.

// Lines are of containers.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use jiff::Timestamp;

use crate::record::Stream;

/// A line; the text has no line feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Nanoseconds since 1970.
    pub time: i64,
    pub stream: Stream,
    /// The last part of what was written as a line.
    pub is_full: bool,
    pub text: &'a [u8],
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Those of a container.
    Cri,
    /// Those of the node: text or JSON, as knarr's log has them.
    Own,
}

impl Form {
    /// Reads a line without its line feed. `None` for what is none in this form.
    pub fn parse<'a>(self, clock: &mut Clock, raw: &'a [u8]) -> Option<Line<'a>> {
        match self {
            Self::Cri => cri(clock, raw),
            Self::Own => own(clock, raw),
        }
    }
}

fn cri<'a>(clock: &mut Clock, raw: &'a [u8]) -> Option<Line<'a>> {
    let (time, rest) = word(raw)?;
    let (stream, rest) = word(rest)?;
    let (tag, text) = word(rest).unwrap_or((rest, &[]));
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags may be joined by colons; the first says whether the line is whole.
    let is_full = match tag.first()? {
        b'F' => true,
        b'P' => false,
        _ => return None,
    };
    Some(Line {
        time: clock.read(time)?,
        stream,
        is_full,
        text,
    })
}

/// Lines without a time have that of the line before: they are its continuation.
fn own<'a>(clock: &mut Clock, raw: &'a [u8]) -> Option<Line<'a>> {
    /// How knarr's log in JSON begins.
    const JSON: &[u8] = b"{\"timestamp\":\"";
    let time = match raw.strip_prefix(JSON) {
        Some(rest) => rest.split(|byte| *byte == b'"').next(),
        None => word(raw).map(|(time, _)| time),
    };
    let time = time.and_then(|time| clock.read(time));
    Some(Line {
        time: time.unwrap_or_else(|| clock.last()),
        stream: Stream::Stderr,
        is_full: true,
        text: raw,
    })
}

fn word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b' ', bytes)?;
    let (word, rest) = bytes.split_at_checked(end)?;
    Some((word, rest.get(1..)?))
}

/// Bytes of a time down to its seconds.
const SECONDS_BYTES: usize = "2030-01-01T00:00:00".len();

/// Reads times, of which most have the same second as the one before.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// The last time's text down to its second, and that second since 1970.
    second: Option<([u8; SECONDS_BYTES], i64)>,
    last: i64,
}

impl Clock {
    /// Nanoseconds since 1970.
    fn read(&mut self, text: &[u8]) -> Option<i64> {
        let time = self.of_same_second(text).or_else(|| self.of_any(text))?;
        self.last = time;
        Some(time)
    }

    fn last(&self) -> i64 {
        self.last
    }

    fn of_same_second(&self, text: &[u8]) -> Option<i64> {
        let (known, second) = self.second.as_ref()?;
        let rest = text.strip_prefix(known)?.strip_suffix(b"Z")?;
        let nanos = match rest.split_first() {
            None => 0,
            Some((b'.', digits)) if (1..=9).contains(&digits.len()) => {
                let mut nanos = 0_i64;
                for digit in digits.iter().chain(b"000000000").take(9) {
                    let digit = char::from(*digit).to_digit(10)?;
                    nanos = nanos.checked_mul(10)?.checked_add(digit.into())?;
                }
                nanos
            }
            Some(_) => return None,
        };
        second.checked_mul(1_000_000_000)?.checked_add(nanos)
    }

    fn of_any(&mut self, text: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(text).ok()?;
        let time: Timestamp = text.parse().ok()?;
        let known = text.ends_with('Z').then(|| text.as_bytes().first_chunk());
        self.second = known.flatten().map(|known| (*known, time.as_second()));
        i64::try_from(time.as_nanosecond()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_containers() {
        const SECOND: i64 = 1_893_456_000_000_000_000;
        for (raw, wanted) in [
            (
                "2030-01-01T00:00:00.123456789Z stdout F hello  you",
                Some((123_456_789, Stream::Stdout, true, "hello  you")),
            ),
            (
                "2030-01-01T00:00:00.5Z stderr P part",
                Some((500_000_000, Stream::Stderr, false, "part")),
            ),
            (
                "2030-01-01T01:00:00.000000001+01:00 stdout F:x ",
                Some((1, Stream::Stdout, true, "")),
            ),
            (
                "2030-01-01T00:00:00Z stdout F",
                Some((0, Stream::Stdout, true, "")),
            ),
            (
                "2030-01-01T00:00:01Z stdout F a",
                Some((1_000_000_000, Stream::Stdout, true, "a")),
            ),
            ("2030-01-01T00:00:00.12345678x9Z stdout F a", None),
            ("2030-01-01T00:00:00.123Z stdin F a", None),
            ("2030-01-01T00:00:00.123Z stdout X a", None),
            ("2030-01-01T00:00:00.123Z stdout", None),
            ("yesterday stdout F a", None),
            ("", None),
            ("\0\0\0", None),
        ] {
            // Once as the first, and once after another of the same second.
            for first in [raw, "2030-01-01T00:00:00.9Z stdout F x"] {
                let mut clock = Clock::default();
                Form::Cri.parse(&mut clock, first.as_bytes());
                let line = Form::Cri.parse(&mut clock, raw.as_bytes());
                let found = line.map(|l| {
                    (
                        l.time - SECOND,
                        l.stream,
                        l.is_full,
                        std::str::from_utf8(l.text).unwrap(),
                    )
                });
                assert_eq!(found, wanted, "{raw:?} after {first:?}");
            }
        }
    }

    #[test]
    fn lines_of_the_node() {
        let mut clock = Clock::default();
        let mut time = |raw: &str| {
            let line = Form::Own.parse(&mut clock, raw.as_bytes()).unwrap();
            assert_eq!(line.text, raw.as_bytes());
            line.time
        };
        assert_eq!(time("1970-01-01T00:00:01.5Z  INFO knarr: x"), 1_500_000_000);
        assert_eq!(time("   continued"), 1_500_000_000);
        assert_eq!(
            time("{\"timestamp\":\"1970-01-01T00:00:02Z\",\"level\":\"INFO\"}"),
            2_000_000_000
        );
        assert_eq!(time(""), 2_000_000_000);
    }
}
