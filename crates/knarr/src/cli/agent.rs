//! The flags of `knarr agent`.

use std::path::PathBuf;

use clap::Args;
use knarr_join::{JoinToken, ServerAddress};

use super::{Log, NodeFlags, WithoutFlags, data_dir};

const DEFAULT_DATA_DIR: &str = "/var/lib/knarr-agent";

#[derive(Args, Clone, Debug)]
pub struct Agent {
    /// URL of the API server; of several, more than once; those that the cluster names later are learned
    #[arg(long, value_name = "URL", required = true)]
    pub server: Vec<ServerAddress>,

    /// What lets this machine join, made by knarr token create; a node that has joined needs none
    #[arg(
        long,
        value_name = "TOKEN",
        env = "KNARR_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<JoinToken>,

    /// File with the token, so that it is on no command line
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,

    /// Certificate of the cluster's authority, PEM, where the token has no hash of it
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Where everything is kept: keys, images, containers, logs
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,

    /// Return when the node is ready and leave it running in the background
    #[arg(long)]
    pub detach: bool,

    #[command(flatten)]
    pub node: NodeFlags,

    #[command(flatten)]
    pub without: WithoutFlags,

    #[command(flatten)]
    pub log: Log,
}
