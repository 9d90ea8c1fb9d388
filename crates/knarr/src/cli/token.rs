//! The command line of `knarr token`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{DEFAULT_DATA_DIR, data_dir, duration};

#[derive(Args)]
pub struct TokenCommand {
    #[command(subcommand)]
    pub action: TokenAction,
}

#[derive(Subcommand)]
pub enum TokenAction {
    /// Make a token by which machines join, and print it
    Create(CreateToken),
    /// List the tokens; their secrets are not shown
    List(AdminAccess),
    /// Delete tokens; nodes that have joined by them stay
    Delete(DeleteTokens),
}

/// Whose cluster it is.
#[derive(Args)]
pub struct AdminAccess {
    /// The cluster's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,

    /// An administrator's kubeconfig [default: the one of the cluster that runs on the data directory]
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Args)]
pub struct CreateToken {
    /// How long machines can join by the token; 0 is for ever
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = ttl)]
    pub ttl: Duration,

    /// What the token is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub description: String,

    /// Print the whole command by which a machine joins
    #[arg(long)]
    pub print_join_command: bool,

    #[command(flatten)]
    pub access: AdminAccess,
}

#[derive(Args)]
pub struct DeleteTokens {
    /// Tokens or their first six characters
    #[arg(value_name = "TOKEN", required = true)]
    pub tokens: Vec<String>,

    #[command(flatten)]
    pub access: AdminAccess,
}

fn ttl(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => duration(text),
    }
}
