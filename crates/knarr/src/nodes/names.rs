//! How the nodes of one machine are called.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result};

use crate::instance;

/// A node beside the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Its place among the nodes of the machine: the first is 1. Its address follows from it.
    pub number: u8,
    pub text: String,
}

/// The nodes beside the first of `count`: `knarr-2`, `knarr-3`, … after a first node `knarr`.
pub(super) fn others(first: &str, count: u8) -> Vec<Name> {
    (2..=count)
        .map(|number| Name {
            number,
            text: format!("{first}-{number}"),
        })
        .collect()
}

/// The names of those that have something on this machine: whose directory was not given up.
pub fn known(data_dir: &Path) -> Result<Vec<String>> {
    let dir = instance::of_nodes(data_dir);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", dir.display()))?;
        if instance::is_data_dir(&entry.path())
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Instance;

    #[test]
    fn the_first_node_is_the_only_one_without_a_number() {
        let text = |count| -> Vec<String> {
            let names = others("edge", count);
            names.into_iter().map(|name| name.text).collect()
        };
        assert_eq!(text(1), [""; 0]);
        assert_eq!(text(3), ["edge-2", "edge-3"]);
        assert_eq!(others("edge", 2)[0].number, 2);
    }

    #[test]
    fn nodes_are_known_by_their_directories() {
        let dir = tempfile::tempdir().unwrap();
        assert!(known(dir.path()).unwrap().is_empty());
        for node in ["b-3", "a-2"] {
            let node = instance::of_node(dir.path(), node);
            instance::make_data_dir(&node).unwrap();
            drop(Instance::acquire(&node).unwrap());
        }
        assert_eq!(known(dir.path()).unwrap(), ["a-2", "b-3"]);
        instance::give_up(&instance::of_node(dir.path(), "b-3")).unwrap();
        assert_eq!(known(dir.path()).unwrap(), ["a-2"]);
    }
}
