//! Crates: which may use which, and that ARCHITECTURE.md names them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

/// Crates by layer, the top first. A crate may use crates of lower layers, and those of its own layer that are listed for it.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "outside",
        &[
            "knarr-bench",
            "knarr-fuzz",
            "knarr-hello",
            "knarr-loops",
            "knarr-tests",
            "xtask",
        ],
    ),
    ("binary", &["knarr"]),
    (
        "component",
        &[
            "knarr-announce",
            "knarr-apiserver",
            "knarr-controllers",
            "knarr-dns",
            "knarr-ingress",
            "knarr-kubelet",
            "knarr-logs",
            "knarr-metrics",
            "knarr-policy",
            "knarr-proxy",
            "knarr-runtime",
            "knarr-scheduler",
            "knarr-sim",
        ],
    ),
    (
        "library",
        &[
            "knarr-admission",
            "knarr-api",
            "knarr-apply",
            "knarr-audit",
            "knarr-auth",
            "knarr-authorizer",
            "knarr-cel",
            "knarr-client",
            "knarr-cni",
            "knarr-cri",
            "knarr-csi",
            "knarr-devices",
            "knarr-encryption",
            "knarr-etcd",
            "knarr-fairness",
            "knarr-health",
            "knarr-identity",
            "knarr-join",
            "knarr-kubelet-api",
            "knarr-nft",
            "knarr-numa",
            "knarr-registry",
            "knarr-schema",
            "knarr-shim",
            "knarr-store",
            "knarr-testkit",
            "knarr-volumes",
            "knarr-webhook",
            "knarr-x509",
        ],
    ),
    (
        "foundation",
        &[
            "knarr-config",
            "knarr-host",
            "knarr-meta",
            "knarr-states",
            "knarr-tasks",
        ],
    ),
];

/// Dependencies go down only.
pub fn arrows(root: &Path) -> Result<Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let layer: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(depth, (_, crates))| crates.iter().map(move |name| (*name, depth)))
        .collect();
    let mut problems = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(depth) = layer.get(name) else {
            problems.push(format!("{name} is in no layer of xtask/src/tidy/crates.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // Tests may use anything below the binary.
            if dependency["kind"] == "dev" {
                continue;
            }
            let used = dependency["name"].as_str().unwrap_or_default();
            let library = LAYERS[*depth].0 == "library";
            match layer.get(used) {
                Some(below) if below < depth => {
                    problems.push(format!("{name} uses {used}, which is above it"));
                }
                Some(beside) if beside == depth && !library => {
                    problems.push(format!(
                        "{name} uses {used}, its sibling: they meet at the API"
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(problems)
}

/// ARCHITECTURE.md names the folders that exist and no others.
pub fn map(root: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let mut exist = BTreeSet::new();
    for folder in ["crates", "."] {
        for entry in fs::read_dir(root.join(folder))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = entry.path().is_dir() && !name.starts_with('.') && name != "target";
            if ours && folder == "crates" {
                exist.insert(format!("crates/{name}"));
            } else if ours && name != "crates" {
                exist.insert(name);
            }
        }
    }
    // An entry of the code map is a list item that starts with the folder: - `crates/meta/` what it is for.
    let named: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split_once("/` "))
        .map(|(path, _)| path.to_owned())
        .collect();
    let missing = exist
        .difference(&named)
        .map(|f| format!("ARCHITECTURE.md does not name `{f}/`"));
    let gone = named
        .difference(&exist)
        .map(|f| format!("ARCHITECTURE.md names `{f}/`, which does not exist"));
    Ok(missing.chain(gone).collect())
}
