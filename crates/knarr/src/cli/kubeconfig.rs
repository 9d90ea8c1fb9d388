//! The command line of `knarr kubeconfig`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use knarr_join::ServerAddress;

use super::{DEFAULT_DATA_DIR, data_dir, duration};

#[derive(Args)]
pub struct KubeconfigCommand {
    /// Name of the user
    #[arg(long, value_name = "NAME")]
    pub user: String,

    /// A group of the user beside system:authenticated, in which everybody is
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,

    /// How long it is good for: nobody can take it back before
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    pub lifetime: Duration,

    /// URL of the API server [default: where the cluster of the data directory is reached on this machine]
    #[arg(long, value_name = "URL")]
    pub server: Option<ServerAddress>,

    /// Where to write it, readable by its owner only [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// The cluster's data directory, which has its authority
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,
}
