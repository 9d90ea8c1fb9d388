//! Checks of the layout that the compiler does not make: arrows between crates and between files go down, folders have few floors,
//! files and functions are short, ARCHITECTURE.md names what is there, and some calls go through a crate of ours.

mod bare;
mod circles;
mod crates;
mod exceptions;
mod imports;
mod lengths;
mod modules;
mod source;
#[cfg(test)]
mod tests;
mod uses;

use std::path::Path;

use anyhow::{Context, Result, bail};

pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace has a root")?;
    let sources = source::read(root, source::FOLDERS)?;
    let mut problems = crates::arrows(root)?;
    problems.extend(crates::map(root)?);
    problems.extend(imports::check(&sources)?);
    problems.extend(lengths::check(&sources)?);
    problems.extend(bare::calls(&sources));
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    bail!("{} problem(s) of layout", problems.len())
}
