//! The kubectls of this machine.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{command, image};

const VERSION_DEADLINE: Duration = Duration::from_secs(20);
/// Google's SDK has one of every version that its clusters may have.
const CLOUD_SDK: &str = "/usr/lib/google-cloud-sdk/bin";

/// A kubectl and its version.
#[derive(Clone, Debug)]
pub struct Kubectl {
    pub path: PathBuf,
    /// As it says itself: `v1.27.16`.
    pub version: String,
    /// The second number of the version.
    pub minor: u32,
}

/// Every kubectl found, one of each minor version, the oldest first: those that `KNARR_KUBECTLS` names (paths as in PATH),
/// on PATH, of the cloud SDK, and unpacked below `kubectl/` in the target directory.
/// They are printed when they are looked for, once a process.
pub fn kubectls() -> Result<Vec<Kubectl>> {
    static FOUND: Mutex<Vec<Kubectl>> = Mutex::new(Vec::new());
    let mut known = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if known.is_empty() {
        *known = find()?;
    }
    Ok(known.clone())
}

fn find() -> Result<Vec<Kubectl>> {
    let mut found = BTreeMap::new();
    for path in candidates() {
        let kubectl = ask(&path)?;
        found.entry(kubectl.minor).or_insert(kubectl);
    }
    let found: Vec<Kubectl> = found.into_values().collect();
    for kubectl in &found {
        eprintln!("kubectl {} at {}", kubectl.version, kubectl.path.display());
    }
    anyhow::ensure!(
        !found.is_empty(),
        "no kubectl found (Debian's kubernetes-client, or KNARR_KUBECTLS=PATH:PATH)"
    );
    Ok(found)
}

fn candidates() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    if let Some(named) = env::var_os("KNARR_KUBECTLS") {
        paths.extend(env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()));
    }
    if let Some(path) = env::var_os("PATH") {
        let on_path = env::split_paths(&path).map(|dir| dir.join("kubectl"));
        paths.extend(on_path.filter(|path| path.is_file()));
    }
    let mut sdk = below(Path::new(CLOUD_SDK), "kubectl.1.");
    sdk.sort();
    paths.extend(sdk);
    for package in below(&image::target_dir().join("kubectl"), "") {
        paths.extend(
            ["kubectl", "usr/bin/kubectl"]
                .map(|name| package.join(name))
                .into_iter()
                .filter(|path| path.is_file()),
        );
    }
    paths
}

fn below(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}

fn ask(path: &Path) -> Result<Kubectl> {
    let mut command = Command::new(path);
    command.args(["version", "--client", "--output", "json"]);
    let text = command::run(command, VERSION_DEADLINE)?.success()?;
    let answer: Value = serde_json::from_str(&text)
        .with_context(|| format!("{} does not tell its version", path.display()))?;
    let version = answer["clientVersion"]["gitVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let minor = version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok());
    Ok(Kubectl {
        path: path.to_owned(),
        minor: minor.with_context(|| format!("{} has version {version:?}", path.display()))?,
        version,
    })
}
