//! What containers write, as lines of CRI logs: `<RFC 3339 time with nanoseconds> <stdout|stderr> <F|P> <text>`.

/// A line longer than this is written in parts, each but the last marked `P`. Containerd's default.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// Cuts one stream into lines. Holds the beginning of a line that has not ended.
pub struct Lines {
    stream: &'static str,
    partial: Vec<u8>,
}

impl Lines {
    /// Of `stdout` or `stderr`.
    pub fn new(stream: &'static str) -> Self {
        Self {
            stream,
            partial: Vec::new(),
        }
    }

    /// Appends to `out` the lines that `bytes` completes.
    pub fn cut(&mut self, mut bytes: &[u8], time: &str, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = MAX_LINE_BYTES - self.partial.len();
            let end = bytes.iter().position(|byte| *byte == b'\n');
            match end {
                Some(end) if end <= room => {
                    self.partial.extend_from_slice(&bytes[..end]);
                    push_line(out, time, self.stream, b'F', &self.partial);
                    self.partial.clear();
                    bytes = &bytes[end + 1..];
                }
                _ if bytes.len() > room => {
                    self.partial.extend_from_slice(&bytes[..room]);
                    push_line(out, time, self.stream, b'P', &self.partial);
                    self.partial.clear();
                    bytes = &bytes[room..];
                }
                _ => {
                    self.partial.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    /// The stream has ended: what is left, if anything is, is a part of a line that never ended, as containerd has it, so that
    /// readers add no line feed.
    pub fn rest(&mut self, time: &str) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.partial.is_empty() {
            push_line(&mut out, time, self.stream, b'P', &self.partial);
            self.partial.clear();
        }
        out
    }
}

fn push_line(out: &mut Vec<u8>, time: &str, stream: &str, tag: u8, text: &[u8]) {
    out.extend_from_slice(time.as_bytes());
    out.push(b' ');
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(&[b' ', tag, b' ']);
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// RFC 3339, UTC, always nine digits; of nanoseconds since the epoch.
pub fn timestamp(nanoseconds: i64) -> String {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let nanos = nanoseconds.rem_euclid(1_000_000_000);
    let (days, day_seconds) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a civil date, by eras of 400 years that begin on 1 March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 {
        month_shifted + 3
    } else {
        month_shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanos:09}Z",
        day_seconds / 3_600,
        day_seconds / 60 % 60,
        day_seconds % 60
    )
}

#[cfg(test)]
mod tests;
