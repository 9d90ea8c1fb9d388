//! Why a container could not be made, to the last cause.
//!
//! The processes that libcontainer forks tell their parent the outermost words of an error only ("failed to prepare rootfs"),
//! and the rest to their log. For the time of one start that log is a file, since more than one process writes it.

use std::{
    fmt::{self, Write as _},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
};

use nix::errno::Errno;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::set_global_default,
};

const FILE: &str = "errors";
/// As much of the log as is looked at, and as much as is told.
const LOG_LIMIT_BYTES: usize = 64 << 10;
const TEXT_LIMIT_BYTES: usize = 2 << 10;
/// Between an event's message and its error.
const SEPARATOR: char = '\t';
/// Outer errors that say less than their cause.
const EMPTY_WORDS: [&str; 4] = ["io error", "syscall", "nix error", "failed syscall"];

/// How libcontainer begins what it was told by the process that became the container.
const NOISE: &str = "exec process failed with error error in executing process : ";

/// What to do, by what the last cause says.
const ADVICE: [(&str, &str); 8] = [
    (
        "Not a directory",
        "a directory cannot be mounted on a file, nor a file on a directory: compare mountPath and subPath with the image",
    ),
    (
        "Invalid argument",
        "often a directory mounted on a file, or a file on a directory: compare mountPath and subPath with the image",
    ),
    (
        "failed to canonicalize",
        "what a volume should show is not there: look at the pod's volumes",
    ),
    (
        "Read-only file system",
        "the place to mount on has to be in the image, or in a volume that can be written",
    ),
    (
        "Operation not permitted",
        "this host does not let root do it: if knarr runs in a container, that one has to be privileged",
    ),
    (
        "Permission denied",
        "this host does not let root do it: if knarr runs in a container, that one has to be privileged",
    ),
    (
        "Function not implemented",
        "the kernel is too old: containers need Linux 5.12 or newer",
    ),
    ("No space left on device", "the node's disk is full"),
];

/// What libcontainer logs in its own processes from now on.
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// Once in a process.
    pub fn begin(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let collector = Collector {
            file,
            pid: process::id(),
        };
        set_global_default(collector).map_err(io::Error::other)?;
        Ok(Self { path })
    }

    /// An error that came back, with what its processes said of it.
    pub fn explain(&self, error: &str) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        let log = &bytes[..bytes.len().min(LOG_LIMIT_BYTES)];
        explain(error, &String::from_utf8_lossy(log))
    }
}

/// Writes errors, one a line: message and cause.
struct Collector {
    file: File,
    /// Whose errors come back as values, and need no log.
    pid: u32,
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && process::id() != self.pid
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{SEPARATOR}{}", line.message, line.cause).replace('\n', " ");
        // A log that cannot be written costs words only.
        let _ = (&self.file).write_all(format!("{text}\n").as_bytes());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    cause: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "err" | "error" => write!(self.cause, "{value:?}"),
            _ => Ok(()),
        };
    }
}

/// The error, then what was logged from the outside in, each thing said once, the last cause, and what to do about it.
fn explain(error: &str, log: &str) -> String {
    let mut said = vec![error.replace(NOISE, "")];
    let mut causes = Vec::new();
    for line in log.lines() {
        let (message, cause) = line.split_once(SEPARATOR).unwrap_or((line, ""));
        let message = plain_message(message);
        // What only repeats how an inner one ended says nothing new.
        let last = message.rsplit(": ").next().unwrap_or_default();
        if !last.is_empty() && !said.iter().any(|text| text.contains(last)) {
            said.push(message);
        }
        if !cause.is_empty() {
            causes.push(plain_cause(cause));
        }
    }
    said[1..].reverse();
    for cause in causes {
        if !said.iter().any(|text| text.contains(&cause)) {
            said.push(cause);
        }
    }
    let mut text = said.join(": ");
    if text.len() > TEXT_LIMIT_BYTES {
        let mut ends = (0..=TEXT_LIMIT_BYTES).rev();
        let end = ends.find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
    let advice = ADVICE.iter().find(|(words, _)| text.contains(words));
    match advice {
        Some((_, advice)) => format!("{text} ({advice})"),
        None => text,
    }
}

/// A message without the notation of the program that wrote it.
fn plain_message(text: &str) -> String {
    let text = mounts(text);
    let told = EMPTY_WORDS
        .iter()
        .find_map(|empty| text.strip_suffix(empty));
    told.map_or(text.as_str(), |told| told.trim_end_matches([':', ' ']))
        .to_owned()
}

/// What the innermost of nested errors says.
fn plain_cause(text: &str) -> String {
    quoted(text, "message: \"")
        .map(str::to_owned)
        .or_else(|| errno(text))
        .unwrap_or_else(|| text.to_owned())
}

/// `Mount { destination: "/b", …, source: Some("/a"), … }` as `/a on /b`.
fn mounts(text: &str) -> String {
    const START: &str = "Mount { ";
    let Some((before, rest)) = text.split_once(START) else {
        return text.to_owned();
    };
    let Some((fields, after)) = rest.split_once(" }") else {
        return text.to_owned();
    };
    let to = quoted(fields, "destination: \"").unwrap_or_default();
    let from = quoted(fields, "source: Some(\"").unwrap_or_default();
    format!("{before}{from} on {to}{after}")
}

/// What follows `start` until the next quotation mark.
fn quoted<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once('"').map(|(inner, _)| inner)
}

/// The description of an error number that a text names: `Mount(Syscall(Nix(ENOTDIR)))`.
fn errno(text: &str) -> Option<String> {
    const LARGEST: i32 = 133;
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let name = words.find(|word| {
        word.len() > 2 && word.starts_with('E') && word.chars().all(|c| !c.is_ascii_lowercase())
    })?;
    let mut all = (1..=LARGEST).map(Errno::from_raw);
    let found = all.find(|errno| format!("{errno:?}") == name)?;
    Some(found.desc().to_owned())
}

#[cfg(test)]
mod tests;
