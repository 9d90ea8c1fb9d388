//! What the other nodes are told.

use std::path::PathBuf;

use super::Tokens;
use crate::{
    cli::{Log, NodeFlags, WithoutFlags},
    ranges::Ranges,
};

/// The same for every node beside the first.
pub struct Settings {
    /// The cluster's data directory.
    pub data_dir: PathBuf,
    /// Name of the first node.
    pub first: String,
    /// How many nodes there are, the first included.
    pub count: u8,
    /// Where they find the API server.
    pub server: String,
    /// The cluster's ranges of pods: nodes have addresses of their families.
    pub families: Ranges,
    /// Where nodes get from what they show when they join.
    pub tokens: Tokens,
    /// Flags of the first node, as far as they hold for all.
    pub flags: NodeFlags,
    /// Parts that others take the places of.
    pub without: WithoutFlags,
    pub log: Log,
}
