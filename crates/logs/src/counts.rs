//! What is counted of an output.

use std::sync::atomic::AtomicU64;

/// What has become of lines, since the start.
#[derive(Debug, Default)]
pub struct Counts {
    pub sent: AtomicU64,
    /// Left out by the limit of a pod.
    pub limited: AtomicU64,
    /// Gone before the receiver took them.
    pub missed: AtomicU64,
    pub refused: AtomicU64,
    pub retries: AtomicU64,
}
