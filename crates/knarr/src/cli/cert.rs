//! The command line of `knarr cert`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DEFAULT_DATA_DIR, data_dir};

#[derive(Args)]
pub struct CertCommand {
    #[command(subcommand)]
    pub action: CertAction,
}

#[derive(Subcommand)]
pub enum CertAction {
    /// Tell of each certificate in a data directory whose it is, for what, and how long it is good for; it fails when one is not good, and
    /// warns of those that end within 30 days
    Status(CertStatus),
    /// Have the knarr that runs on a data directory make its certificates anew, with new keys; no connection ends by it
    Rotate(CertRotate),
}

#[derive(Args)]
pub struct CertStatus {
    /// A server's or a node's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,
}

#[derive(Args)]
pub struct CertRotate {
    /// A server's or a node's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,

    /// Replace the authorities instead: new ones sign after the next start, the present ones stay trusted until they are dropped
    #[arg(long)]
    pub ca: bool,

    /// Drop replaced authorities instead: after the next start nothing is trusted that they have signed. Restart all agents before
    #[arg(long, conflicts_with = "ca")]
    pub drop_old_ca: bool,
}
