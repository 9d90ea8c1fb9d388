//! Writes the archives of the project's own images.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use knarr_testkit::image;

#[derive(Parser)]
pub struct Args {
    /// Where to write the archives [default: images in the target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| image::target_dir().join("images"));
    for archive in image::build(&out)? {
        eprintln!("{}", archive.display());
    }
    Ok(())
}
