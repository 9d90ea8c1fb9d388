//! `KubeletConfiguration` of `kubelet.config.k8s.io/v1beta1`, from a file and a directory of further ones.
//!
//! ```text
//! file --+--decode: strict--> trees --merge--> refuse, complete --> Settings --> validate
//! *.conf +                                                  \-----> /configz
//! ```
//!
//! A table ([`fields`]) says of every field of upstream's type what becomes of it: it is honoured, or nothing has to be done for
//! it, or it is refused at the start but for the value it has anyway. Nothing that a file says is passed over.

mod decode;
mod fields;
mod fill_in;
mod gates;
mod host;
mod managers;
mod reserved;
mod settings;
mod validate;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use knarr_meta::patch;
use serde_json::Value;

use self::decode::Tree;
pub(crate) use self::{
    reserved::Reserved,
    settings::{Period, Settings, TextMap},
};

/// No file is longer, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Files of one directory, with those below it.
const MAX_FILES: usize = 256;
/// How deep the directory is looked through.
const MAX_DEPTH: usize = 8;
/// Files of other names are passed over.
const EXTENSION: &str = "conf";
/// Paths that are relative to the file that says them.
const PATHS: [&str; 5] = [
    "staticPodPath",
    "authentication.x509.clientCAFile",
    "tlsCertFile",
    "tlsPrivateKeyFile",
    "resolvConf",
];

/// A configuration that makes no sense, or that cannot be had here.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// A file cannot be read, or is none.
    #[error("failed to load kubelet config file {}: {why}", path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The whole of it does not do.
    #[error("{0}")]
    Invalid(String),
}

/// A configuration that can be had; clones share it.
#[derive(Clone, Debug)]
pub struct KubeletConfiguration {
    /// With all that files leave out.
    tree: Arc<Tree>,
    pub(crate) settings: Arc<Settings>,
}

impl Default for KubeletConfiguration {
    /// What there is without files.
    fn default() -> Self {
        match Self::complete(Tree::new()) {
            Ok(own) => own,
            Err(error) => unreachable!("the defaults are a configuration: {error}"),
        }
    }
}

impl KubeletConfiguration {
    /// Reads a file, and then the files `*.conf` of a directory and those below it by name: each is merged into what is there
    /// (RFC 7386), so that lists are replaced and maps are not.
    ///
    /// # Errors
    /// The file, the field, and what is wrong with it.
    pub fn read(file: Option<&Path>, directory: Option<&Path>) -> Result<Self, ConfigurationError> {
        let mut files: Vec<PathBuf> = file.map(Path::to_owned).into_iter().collect();
        if let Some(directory) = directory {
            files.extend(
                drop_ins(directory).map_err(|error| ConfigurationError::File {
                    path: directory.to_owned(),
                    why: error.to_string(),
                })?,
            );
        }
        let mut merged = Value::Object(Tree::new());
        for path in files {
            let tree = match read(&path) {
                Ok(tree) => tree,
                Err(why) => return Err(ConfigurationError::File { path, why }),
            };
            if let Err(status) = patch::merge(&mut merged, &Value::Object(tree)) {
                let why = status.message.clone();
                return Err(ConfigurationError::File { path, why });
            }
        }
        match merged {
            Value::Object(tree) => Self::complete(tree),
            _ => Self::complete(Tree::new()),
        }
    }

    fn complete(mut tree: Tree) -> Result<Self, ConfigurationError> {
        let unsupported = decode::refuse(&tree);
        decode::complete(&mut tree);
        let settings: Settings = serde_json::from_value(Value::Object(tree.clone()))
            .map_err(|error| ConfigurationError::Invalid(error.to_string()))?;
        let mut errors = validate::errors(&settings);
        // What is no configuration anywhere is told in upstream's words before what is none here.
        errors.extend(unsupported.err());
        match errors.len() {
            0 => Ok(Self {
                tree: Arc::new(tree),
                settings: Arc::new(settings),
            }),
            1 => Err(ConfigurationError::Invalid(errors.remove(0))),
            _ => Err(ConfigurationError::Invalid(format!(
                "[{}]",
                errors.join(", ")
            ))),
        }
    }

    /// The defaults, changed.
    #[cfg(test)]
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut own = Self::default();
        change(Arc::make_mut(&mut own.settings));
        own
    }

    /// Socket of the runtime, if a file names one.
    #[must_use]
    pub fn container_runtime_endpoint(&self) -> Option<&str> {
        let endpoint = self.settings.container_runtime_endpoint.as_str();
        Some(endpoint).filter(|endpoint| !endpoint.is_empty())
    }

    /// Refuses a host that is not one that files allow.
    pub(crate) fn check_host(&self) -> Result<(), ConfigurationError> {
        host::check(&self.settings, Path::new("/")).map_err(ConfigurationError::Invalid)
    }

    /// The whole, as `/configz` shows it but for what was told otherwise.
    pub(crate) fn tree(&self) -> Value {
        let mut tree = Tree::clone(&self.tree);
        tree.insert("kind".to_owned(), decode::KIND.into());
        tree.insert("apiVersion".to_owned(), decode::API_VERSION.into());
        // Headers may be secrets.
        tree.remove("staticPodURLHeader");
        Value::Object(tree)
    }
}

/// One file's tree; what it says of paths is relative to its directory.
fn read(path: &Path) -> Result<Tree, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text);
    let length = read.map_err(|error| error.to_string())?;
    if length == 0 {
        return Err("it is empty".to_owned());
    }
    if length as u64 > MAX_FILE_BYTES {
        return Err(format!("it is longer than {MAX_FILE_BYTES} bytes"));
    }
    let mut tree = decode::decode(&text)?;
    let home = std::path::absolute(path).map_err(|error| error.to_string())?;
    for field in PATHS {
        let told = decode::get(&tree, field).and_then(Value::as_str);
        let Some(told) = told.filter(|told| !told.is_empty()) else {
            continue;
        };
        let whole = home.parent().unwrap_or(Path::new("/")).join(told);
        decode::set(&mut tree, field, Some(whole.display().to_string().into()));
    }
    Ok(tree)
}

/// The files of a directory that are to be read, in order.
fn drop_ins(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    look_through(directory, 0, &mut found)?;
    Ok(found)
}

fn look_through(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = std::fs::read_dir(directory)?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        // As upstream: links to directories are not followed, and a link to a file is that file.
        let is_directory = std::fs::symlink_metadata(&path)?.is_dir();
        if is_directory && depth < MAX_DEPTH {
            look_through(&path, depth + 1, found)?;
        } else if !is_directory && path.extension().is_some_and(|name| name == EXTENSION) {
            if found.len() >= MAX_FILES {
                return Err(io::Error::other(format!("more than {MAX_FILES} files")));
            }
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
