//! Network configuration lists, as the CNI specification defines them.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A list of plugins that together make a network (`*.conflist`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfigList {
    #[serde(default = "default_version")]
    pub cni_version: String,
    pub name: String,
    /// Each plugin's configuration as it was written; keys that we do not know are the plugin's.
    pub plugins: Vec<Map<String, Value>>,
}

fn default_version() -> String {
    crate::CNI_VERSION.to_owned()
}

/// Why a network configuration could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no network configuration in {0}")]
    None(std::path::PathBuf),
    #[error("cannot read {path}")]
    Read {
        path: std::path::PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not a CNI network configuration")]
    Parse {
        path: std::path::PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path}: plugin {index} has no \"type\"")]
    NoType {
        path: std::path::PathBuf,
        index: usize,
    },
}

impl NetworkConfigList {
    /// The first configuration of a directory in lexical order, as libcni picks it: `.conflist`, or `.conf` and `.json`,
    /// which hold one plugin.
    pub fn load_first(dir: &Path) -> Result<Self, Error> {
        let read_error = |source| Error::Read {
            path: dir.to_owned(),
            source,
        };
        let mut paths: Vec<_> = fs::read_dir(dir)
            .map_err(read_error)?
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .filter(|path| {
                path.extension()
                    .and_then(|e| e.to_str())
                    .is_some_and(|e| matches!(e, "conflist" | "conf" | "json"))
            })
            .collect();
        paths.sort();
        let path = paths.first().ok_or_else(|| Error::None(dir.to_owned()))?;
        Self::load(path)
    }

    /// Reads one file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let list = Self::parse(&bytes).map_err(|source| Error::Parse {
            path: path.to_owned(),
            source,
        })?;
        for (index, plugin) in list.plugins.iter().enumerate() {
            if !plugin.get("type").is_some_and(Value::is_string) {
                return Err(Error::NoType {
                    path: path.to_owned(),
                    index,
                });
            }
        }
        Ok(list)
    }

    fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let tree: Map<String, Value> = serde_json::from_slice(bytes)?;
        if tree.contains_key("plugins") {
            return serde_json::from_value(Value::Object(tree));
        }
        let text = |key: &str| tree.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            cni_version: text("cniVersion").unwrap_or_else(default_version),
            name: text("name").unwrap_or_default(),
            plugins: vec![tree],
        })
    }
}

#[cfg(test)]
mod tests;
