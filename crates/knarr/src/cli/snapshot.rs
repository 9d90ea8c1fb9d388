//! The command line of `knarr snapshot`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DEFAULT_DATA_DIR, data_dir};

#[derive(Args)]
pub struct SnapshotCommand {
    /// The cluster's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser(), global = true)]
    pub data_dir: PathBuf,

    #[command(subcommand)]
    pub action: SnapshotAction,
}

#[derive(Subcommand)]
pub enum SnapshotAction {
    /// Copy the embedded store into a file and check it; the cluster goes on meanwhile
    Save {
        /// Where to write it [default: by time, below snapshots in the data directory]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Put a copy in the store's place, once it is checked; the cluster must not run, and its store is kept beside
    Restore {
        /// The copy: a path, or a name that `knarr snapshot ls` shows
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List the copies below snapshots in the data directory
    Ls,
}
