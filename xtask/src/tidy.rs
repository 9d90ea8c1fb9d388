//! Checks of the layout that the compiler does not make.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A file longer than this is worth a look; one longer than the limit is a mistake.
const FILE_LINES_GOAL: usize = 500;
const FILE_LINES_LIMIT: usize = 900;

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
            "knarr-etcd",
            "knarr-fairness",
            "knarr-health",
            "knarr-identity",
            "knarr-join",
            "knarr-kubelet-api",
            "knarr-nft",
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

pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace has a root")?;
    let mut problems = arrows(root)?;
    problems.extend(map(root)?);
    problems.extend(sizes(root)?);
    problems.extend(bare_calls(root)?);
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    bail!("{} problem(s) of layout", problems.len())
}

/// Dependencies go down only.
fn arrows(root: &Path) -> Result<Vec<String>> {
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
            problems.push(format!("{name} is in no layer of xtask/src/tidy.rs"));
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
fn map(root: &Path) -> Result<Vec<String>> {
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

/// A call that a crate of ours stands before.
struct Bare {
    calls: &'static [&'static str],
    /// Where it is looked for.
    within: &'static [&'static str],
    /// Who may call it.
    exempt: &'static [&'static str],
    instead: &'static str,
}

const BARE: &[Bare] = &[
    Bare {
        calls: &["tokio::spawn(", "task::spawn("],
        within: &["crates"],
        exempt: &["crates/tasks", "crates/testkit"],
        instead: "spawns a task whose failure nobody sees: use knarr_tasks",
    },
    // These run on paused time in tests.
    Bare {
        calls: &["Timestamp::now()", "SystemTime::now()"],
        within: &[
            "crates/admission",
            "crates/controllers",
            "crates/registry",
            "crates/scheduler",
        ],
        exempt: &[],
        instead: "reads a clock that tests cannot move on: use knarr_meta::clock",
    },
];

/// Some things are done through the crate that sees to them; tests may do as they like.
fn bare_calls(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    rust_files(&root.join("crates"), &mut files)?;
    let mut sources = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let shown = file.strip_prefix(root).unwrap_or(&file).to_owned();
        let is_source = shown.iter().nth(2).is_some_and(|part| part == "src");
        if is_source {
            sources.insert(shown, text);
        }
    }
    let tests: BTreeSet<PathBuf> = sources
        .iter()
        .flat_map(|(path, text)| test_modules(path, text))
        .collect();
    let mut problems = Vec::new();
    for (path, text) in &sources {
        let is_test = |module: &PathBuf| path.with_extension("").starts_with(module);
        if tests.iter().any(is_test) {
            continue;
        }
        let program = text
            .split("\n#[cfg(test)]\nmod ")
            .next()
            .unwrap_or_default();
        let below = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        for bare in BARE {
            if !below(bare.within) || below(bare.exempt) {
                continue;
            }
            for (number, line) in program.lines().enumerate() {
                if bare.calls.iter().any(|call| line.contains(call)) {
                    problems.push(format!(
                        "{}:{} {}",
                        path.display(),
                        number + 1,
                        bare.instead
                    ));
                }
            }
        }
    }
    Ok(problems)
}

/// Modules of a file that only tests have, as paths without an extension.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let is_root = path
        .file_name()
        .is_some_and(|name| name == "lib.rs" || name == "main.rs");
    let folder = match path.parent() {
        Some(parent) if is_root => parent.to_owned(),
        _ => path.with_extension(""),
    };
    let mut modules = Vec::new();
    for (attribute, line) in text.lines().zip(text.lines().skip(1)) {
        let module = line.trim_start_matches("pub(crate) ").strip_prefix("mod ");
        if attribute == "#[cfg(test)]"
            && let Some(name) = module.and_then(|rest| rest.strip_suffix(';'))
        {
            modules.push(folder.join(name));
        }
    }
    modules
}

/// Reports long files; refuses very long ones.
fn sizes(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "tests", "benches"] {
        rust_files(&root.join(folder), &mut files)?;
    }
    let mut problems = Vec::new();
    let mut long = Vec::new();
    for file in files {
        let lines = fs::read_to_string(&file)?.lines().count();
        let shown = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .display()
            .to_string();
        if lines > FILE_LINES_LIMIT {
            problems.push(format!(
                "{shown} has {lines} lines (limit {FILE_LINES_LIMIT})"
            ));
        } else if lines > FILE_LINES_GOAL {
            long.push((lines, shown));
        }
    }
    long.sort();
    for (lines, file) in long.iter().rev() {
        eprintln!("tidy: note: {file} has {lines} lines");
    }
    Ok(problems)
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    Ok(())
}
