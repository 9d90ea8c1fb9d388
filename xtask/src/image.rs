//! Writes the archives of the project's own images, and of those that Kubernetes' end-to-end suite wants.

pub mod compiled;
pub mod conformance;
mod csi;
mod debian;
pub mod recipes;
#[cfg(feature = "cluster")]
pub mod registry;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Result;
use clap::Parser;
use knarr_testkit::image;

#[derive(Parser)]
pub struct Args {
    /// Where to write the archives [default: images, images/conformance or images/csi, in the target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Make the images of Kubernetes' conformance suite; needs Go and Debian
    #[arg(long)]
    conformance: bool,
    /// Make the images of a CSI driver and of upstream's programs beside it; needs Go
    #[arg(long, conflicts_with = "conformance")]
    csi: bool,
    /// Only print every image the suite names: the layers it is made of here, or why it is not made
    #[arg(long, requires = "conformance")]
    list: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if args.list {
        for line in conformance::list()? {
            writeln!(io::stdout(), "{line}")?;
        }
        return Ok(());
    }
    let images = image::target_dir().join("images");
    let archives = if args.conformance {
        let out = args.out.clone().unwrap_or(images.join("conformance"));
        vec![conformance::build(&out)?]
    } else if args.csi {
        csi::build(args.out.as_ref().unwrap_or(&images.join("csi")))?
    } else {
        image::build(args.out.as_ref().unwrap_or(&images))?
    };
    for archive in archives {
        eprintln!("{}", archive.display());
    }
    Ok(())
}
