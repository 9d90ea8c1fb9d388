//! `knarr cert`: what certificates a data directory has, and new ones in their place.

mod rotate;
mod status;

use std::path::Path;

use anyhow::Result;

pub use self::rotate::{serve_agent, serve_server};
use crate::cli::{CertAction, CertCommand};

pub fn run(command: &CertCommand) -> Result<()> {
    match &command.action {
        CertAction::Status(flags) => status::run(&flags.data_dir),
        CertAction::Rotate(flags) => rotate::run(flags),
    }
}

/// Data directories of further nodes of the same machine, by name; none where there are none.
fn further_nodes(data_dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(data_dir.join("nodes")) else {
        return Vec::new();
    };
    let entries = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut found: Vec<_> = entries.filter(|path| path.join("pki").is_dir()).collect();
    found.sort();
    found
}
