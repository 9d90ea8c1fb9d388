//! What is kept of a line, and whose it is.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest text of a record, bytes: lines that runtimes have split are joined up to this, and cut there.
pub const MAX_TEXT_BYTES: usize = 256 << 10;

/// A container whose lines these are, or the node itself, which has neither namespace nor pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    /// The pod's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Those of the pod's annotations that a filter names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Where a container wrote a line to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line, in somebody's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub source: Arc<Source>,
    pub stream: Stream,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Without a line feed; any bytes.
    pub text: &'a [u8],
}

/// A line with memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub source: Arc<Source>,
    pub stream: Stream,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Without a line feed; any bytes.
    pub text: Vec<u8>,
}

impl From<Record<'_>> for Owned {
    fn from(record: Record<'_>) -> Self {
        Self {
            source: record.source,
            stream: record.stream,
            time: record.time,
            text: record.text.to_vec(),
        }
    }
}
