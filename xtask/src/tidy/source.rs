//! Files of Rust.

use std::{
    cell::OnceCell,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};

/// Folders that have crates of ours, or are one.
pub const FOLDERS: &[&str] = &["benches", "crates", "examples", "tests", "xtask"];

pub struct Source {
    /// Below the workspace's root.
    pub path: PathBuf,
    pub text: String,
    tokens: OnceCell<Vec<TokenTree>>,
}

impl Source {
    pub fn new(path: PathBuf, text: String) -> Self {
        Self {
            path,
            text,
            tokens: OnceCell::new(),
        }
    }

    /// # Errors
    /// Where the text is not Rust.
    pub fn tokens(&self) -> Result<&[TokenTree]> {
        if let Some(tokens) = self.tokens.get() {
            return Ok(tokens);
        }
        let stream: TokenStream = self
            .text
            .parse()
            .map_err(|error| anyhow::anyhow!("{}: {error}", self.path.display()))?;
        Ok(self.tokens.get_or_init(|| stream.into_iter().collect()))
    }
}

/// Every file of Rust below these folders, in the order of their paths.
pub fn read(root: &Path, folders: &[&str]) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    for folder in folders {
        find(&root.join(folder), &mut paths)?;
    }
    paths.sort();
    let mut sources = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
        sources.push(Source::new(path, text));
    }
    Ok(sources)
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}
