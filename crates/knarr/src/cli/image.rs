//! Flags of `knarr image`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{DEFAULT_DATA_DIR, data_dir};

/// See and change the container images that are on a node
#[derive(Args)]
pub struct ImageCommand {
    #[command(subcommand)]
    pub action: ImageAction,

    /// The cluster's data directory
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser(), global = true)]
    pub data_dir: PathBuf,
}

#[derive(Subcommand)]
pub enum ImageAction {
    /// List images
    Ls {
        /// How to list them
        #[arg(short, long, value_enum, default_value_t = ImageOutput::Table)]
        output: ImageOutput,
    },
    /// Fetch an image from its registry, by the mirrors that knarr up was given
    Pull {
        /// Name of an image, as in a pod
        image: String,
    },
    /// Import archives: of docker save or OCI layouts, plain or compressed
    Import {
        /// A file, a directory of archives, an OCI layout, or - for standard input
        #[arg(value_name = "FILE|DIR|-", required = true)]
        archives: Vec<PathBuf>,
    },
    /// Remove images that no container uses
    Rm {
        /// Names or ids of images
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Remove every image that no container uses
    Prune {
        /// Say what would be removed, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum ImageOutput {
    Table,
    Json,
}
