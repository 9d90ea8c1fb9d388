//! The command line of `knarr cert`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DEFAULT_DATA_DIR;

#[derive(Args)]
pub struct CertCommand {
    #[command(subcommand)]
    pub action: CertAction,
}

#[derive(Subcommand)]
pub enum CertAction {
    /// Tell of each certificate in a data directory how long it is good for; it fails when one is not good
    Status(CertStatus),
}

#[derive(Args)]
pub struct CertStatus {
    /// A server's or a node's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    pub data_dir: PathBuf,
}
