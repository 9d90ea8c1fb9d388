//! Compares what clients learn from knarr's API server with what they learn from upstream's: discovery in both forms, OpenAPI v2
//! and v3. The differences that are left stand in `docs/differences/discovery.tsv`, each with upstream's reason.
//!
//! ```text
//! servers.rs: each server in turn --> documents.rs: what it says --> normal.rs: order and form that mean nothing go
//!                                                                       |
//!                             known.rs: docs/differences/discovery.tsv --> compare.rs: two trees, place by place
//! ```
//!
//! What is said in words is compared of kinds and fields, which `kubectl explain` shows, and not of operations and their parameters.

mod client;
mod compare;
mod documents;
mod known;
mod normal;
mod servers;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use knarr_testkit::{Ground, image};
use nix::unistd::geteuid;

use compare::Difference;
use known::Known;

/// The list, below the checkout.
const LIST: &str = "docs/differences/discovery.tsv";
/// How many differences of a document are printed.
const SHOWN: usize = 100;

/// Arguments of `cargo xtask-cluster discovery`.
#[derive(Parser)]
pub struct Args {
    /// Upstream's program [default: built from the module that tests/upstream/suite pins]
    #[arg(long, value_name = "FILE")]
    kube_apiserver: Option<PathBuf>,
    /// Keep what both servers said in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs `cargo xtask-cluster discovery`.
pub fn run(args: &Args) -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "the servers run in a network namespace of their own, which needs root"
    );
    let known = Known::load(&image::workspace().join(LIST))?;
    let ground = Ground::new()?;
    let ours = servers::of_knarr(&ground)?;
    let theirs = servers::of_upstream(&ground, args.kube_apiserver.as_deref())?;
    if let Some(dir) = &args.keep {
        theirs.keep(&dir.join("upstream"))?;
        ours.keep(&dir.join("knarr"))?;
    }
    let (theirs, ours) = (normal::of(theirs), normal::of(ours));
    let found = compare::trees(&theirs, &ours);
    let outcome = known.against(&found);
    report(&outcome)?;
    ensure!(
        outcome.unknown.is_empty() && outcome.gone.is_empty(),
        "{} difference(s) are not in {LIST}, {} line(s) of it are no difference any more",
        outcome.unknown.len(),
        outcome.gone.len()
    );
    Ok(())
}

fn report(outcome: &known::Outcome<'_>) -> Result<()> {
    let mut out = io::stdout().lock();
    let mut by_document: BTreeMap<&str, Vec<&Difference>> = BTreeMap::new();
    for difference in &outcome.unknown {
        let document = by_document.entry(difference.document()).or_default();
        document.push(difference);
    }
    for (document, differences) in by_document {
        writeln!(out, "{document}: {} difference(s)", differences.len())?;
        for difference in differences.iter().take(SHOWN) {
            writeln!(out, "  {difference}")?;
        }
        if differences.len() > SHOWN {
            writeln!(out, "  and {} more", differences.len() - SHOWN)?;
        }
    }
    for line in &outcome.gone {
        writeln!(out, "no difference any more: {line}")?;
    }
    writeln!(out, "{} difference(s) that {LIST} has", outcome.known).context("cannot print")
}
