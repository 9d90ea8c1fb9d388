//! The flags of `knarr node`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DEFAULT_DATA_DIR;

#[derive(Args)]
pub struct NodeCommand {
    /// The cluster's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, global = true)]
    pub data_dir: PathBuf,

    #[command(subcommand)]
    pub action: NodeAction,
}

#[derive(Subcommand)]
pub enum NodeAction {
    /// List them, with their processes
    List,
    /// End a node's process, as if it had crashed and stayed so; its containers go on
    Stop { name: String },
    /// Start a node's process again
    Start { name: String },
    /// Cut a node off: it reaches nobody, and nobody reaches it
    Cut { name: String },
    /// Put a node back that was cut off
    Heal { name: String },
}
