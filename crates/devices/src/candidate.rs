//! What a search chooses from.

use crate::inventory::{Device, Slice};

/// A device that may be had on the node.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'s> {
    /// Of the node's pools, which one has it.
    pub pool: usize,
    pub slice: &'s Slice,
    pub device: &'s Device,
}
