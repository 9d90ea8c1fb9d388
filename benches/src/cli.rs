//! Flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{http::Protocol, rows::Row};

/// The image of the pods that are started: the project's own web server, which `./x up` preloads.
const IMAGE: &str = "knarr/hello:latest";

/// Measures a cluster against the budgets of the design.
///
/// Without --kubeconfig a cluster of its own is started in a network namespace and removed at the end (needs root).
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub bench: Bench,
}

#[derive(Subcommand)]
pub enum Command {
    /// Answer every HTTPS request with a file's bytes: the bare server of the limit column.
    #[command(hide = true)]
    ServeLimit { body: PathBuf },
}

#[derive(Args)]
pub struct Bench {
    /// Measure this cluster instead of one of our own
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,

    /// Measure a second cluster in the same run and print ratios
    #[arg(long, value_name = "KUBECONFIG")]
    pub against: Option<PathBuf>,

    /// Where to write the figures as JSON
    #[arg(long, value_name = "PATH", default_value = "bench.json")]
    pub json: PathBuf,

    /// Only these rows
    #[arg(long, value_name = "ROW", value_delimiter = ',', value_enum)]
    pub only: Vec<Row>,

    /// Fewer and shorter runs: to see that all works, not to compare
    #[arg(long)]
    pub quick: bool,

    /// What the generator speaks
    #[arg(long, value_enum, default_value_t = Protocol::H1)]
    pub protocol: Protocol,

    /// The image of the pods, present on the node or pullable
    #[arg(long, default_value = IMAGE)]
    pub image: String,

    /// The same for the second cluster; --image unless given
    #[arg(long, value_name = "IMAGE")]
    pub against_image: Option<String>,

    /// The binary to start [default: the knarr beside this program]
    #[arg(long, value_name = "PATH", conflicts_with = "kubeconfig")]
    pub knarr: Option<PathBuf>,

    /// Image archives for our own cluster to import (knarr up --image-dir)
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    pub image_dir: Vec<PathBuf>,

    /// More flags for knarr up, after --
    #[arg(last = true, value_name = "FLAG", conflicts_with = "kubeconfig")]
    pub up: Vec<String>,
}
