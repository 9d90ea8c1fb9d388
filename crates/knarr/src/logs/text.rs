//! Lines for people: a color a pod, and nothing that a terminal would obey.

use std::{
    fmt::Write as _,
    io::{self, BufWriter, IsTerminal as _, Stdout, Write},
    ops::RangeInclusive,
};

use super::ask::Line;
use crate::{cli::LogOutput, progress};

/// Colors that are read on light and on dark, as escape codes.
const COLORS: [u8; 6] = [32, 33, 34, 35, 36, 31];

/// What sets the direction of text, and separates lines and paragraphs.
const REORDERING: [RangeInclusive<char>; 5] = [
    '\u{61c}'..='\u{61c}',
    '\u{200b}'..='\u{200b}',
    '\u{200e}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2066}'..='\u{2069}',
];

pub struct Printer {
    out: BufWriter<Stdout>,
    output: LogOutput,
    color: bool,
    terminal: bool,
}

impl Printer {
    pub fn new(output: LogOutput) -> Self {
        Self {
            out: BufWriter::new(io::stdout()),
            output,
            color: progress::in_color(),
            terminal: io::stdout().is_terminal(),
        }
    }

    pub fn print(&mut self, line: &Line) -> io::Result<()> {
        match self.output {
            LogOutput::Text => writeln!(self.out, "{}", text(line, self.color)),
            LogOutput::Raw if self.terminal => writeln!(self.out, "{}", plain(&line.message)),
            LogOutput::Raw => writeln!(self.out, "{}", line.message),
            LogOutput::Json => {
                serde_json::to_writer(&mut self.out, line)?;
                self.out.write_all(b"\n")
            }
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn text(line: &Line, color: bool) -> String {
    // Down to milliseconds.
    let time = line.time.get(..23).unwrap_or(&line.time);
    let whose = match line.pod.is_empty() {
        true => format!("node/{}", line.node),
        false => format!("{}/{}", line.namespace, line.pod),
    };
    let container = match line.pod.is_empty() {
        true => String::new(),
        false => format!("[{}]", line.container),
    };
    let message = plain(&line.message);
    match color {
        true => format!(
            "\x1b[2m{time}Z\x1b[0m \x1b[{}m{whose}{container}\x1b[0m {message}",
            hue(&whose)
        ),
        false => format!("{time}Z {whose}{container} {message}"),
    }
}

/// Without control characters, nor those that reorder what is around them: what a container writes must not steer the terminal of
/// whoever reads it, nor show them a line that it is not.
fn plain(message: &str) -> String {
    let mut plain = String::with_capacity(message.len());
    for char in message.chars() {
        match char {
            '\t' => plain.push(char),
            char if char.is_control() || REORDERING.iter().any(|range| range.contains(&char)) => {
                let _ok = write!(plain, "{}", char.escape_default());
            }
            char => plain.push(char),
        }
    }
    plain
}

/// The same for the same pod.
fn hue(pod: &str) -> u8 {
    let sum = pod.bytes().fold(0_usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    COLORS[sum % COLORS.len()]
}

/// Why a node has not answered, and what to do.
pub fn failure(node: &str, error: &str) -> String {
    format!(
        "node {node} has not answered: {error} (knarr status and kubectl describe node {node} say how it is)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_and_steer_no_terminal() {
        let mut line = Line {
            time: "2030-01-01T00:00:00.123456789Z".to_owned(),
            node: "n1".to_owned(),
            namespace: "default".to_owned(),
            pod: "web".to_owned(),
            container: "main".to_owned(),
            message: "a\tb\x1b[2J\u{9b}c\u{202e}é".to_owned(),
            ..Line::default()
        };
        assert_eq!(
            text(&line, false),
            "2030-01-01T00:00:00.123Z default/web[main] a\tb\\u{1b}[2J\\u{9b}c\\u{202e}é"
        );
        assert!(text(&line, true).contains("default/web[main]\x1b[0m a"));
        (line.pod, line.message) = (String::new(), "x".to_owned());
        assert_eq!(text(&line, false), "2030-01-01T00:00:00.123Z node/n1 x");
    }
}
