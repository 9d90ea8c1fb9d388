//! The flags of `knarr node`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{DEFAULT_DATA_DIR, data_dir, duration};

#[derive(Args)]
pub struct NodeCommand {
    /// The cluster's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser(), global = true)]
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
    /// Empty any node of the cluster: it takes no more pods, and those that it has are evicted, as disruption budgets allow
    Drain(DrainNode),
    /// Empty any node of the cluster and take it out
    Rm(RemoveNode),
}

#[derive(Args)]
pub struct DrainNode {
    /// The node's name
    pub name: String,

    /// How long it may take until all pods have gone
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,

    /// Also delete pods that no controller would make anew
    #[arg(long)]
    pub force: bool,

    /// Also evict pods with an emptyDir, whose data is lost
    #[arg(long)]
    pub delete_emptydir_data: bool,

    /// An administrator's kubeconfig [default: the one of the cluster that runs on the data directory]
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Args)]
pub struct RemoveNode {
    #[command(flatten)]
    pub drain: DrainNode,

    /// Take it out without emptying it: for a machine that is gone
    #[arg(long)]
    pub no_drain: bool,
}
