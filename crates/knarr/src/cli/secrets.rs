//! The command line of `knarr secrets`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DEFAULT_DATA_DIR, data_dir};

#[derive(Args)]
pub struct SecretsCommand {
    /// The cluster's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser(), global = true)]
    pub data_dir: PathBuf,

    #[command(subcommand)]
    pub action: SecretsAction,
}

#[derive(Subcommand)]
pub enum SecretsAction {
    /// Write everything that is encrypted anew, with the newest key; the cluster goes on meanwhile. The cluster's own key is replaced by a
    /// new one, of an encryption provider configuration the first key is used
    Rotate,
    /// Tell how far that is
    Status,
}
