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
            "knarr-kubelet",
            "knarr-proxy",
            "knarr-runtime",
            "knarr-scheduler",
        ],
    ),
    (
        "library",
        &[
            "knarr-api",
            "knarr-auth",
            "knarr-client",
            "knarr-cni",
            "knarr-cri",
            "knarr-nft",
            "knarr-shim",
            "knarr-store",
        ],
    ),
    (
        "foundation",
        &["knarr-host", "knarr-meta", "knarr-tasks", "knarr-testkit"],
    ),
];

pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace has a root")?;
    let mut problems = arrows(root)?;
    problems.extend(map(root)?);
    problems.extend(sizes(root)?);
    problems.extend(spawns(root)?);
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

/// Tasks are spawned by the crate that sees to their failure; tests may do as they like.
fn spawns(root: &Path) -> Result<Vec<String>> {
    const BARE: [&str; 2] = ["tokio::spawn(", "task::spawn("];
    const EXEMPT: [&str; 2] = ["crates/tasks", "crates/testkit"];
    let mut files = Vec::new();
    rust_files(&root.join("crates"), &mut files)?;
    let mut sources = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let shown = file.strip_prefix(root).unwrap_or(&file).to_owned();
        let is_source = shown.iter().nth(2).is_some_and(|part| part == "src");
        if is_source && !EXEMPT.iter().any(|own| shown.starts_with(own)) {
            sources.insert(shown, text);
        }
    }
    let tests: BTreeSet<PathBuf> = sources
        .iter()
        .flat_map(|(path, text)| test_modules(path, text))
        .collect();
    let mut problems = Vec::new();
    for (path, text) in &sources {
        if tests
            .iter()
            .any(|module| path.with_extension("").starts_with(module))
        {
            continue;
        }
        let program = text
            .split("\n#[cfg(test)]\nmod ")
            .next()
            .unwrap_or_default();
        for (number, line) in program.lines().enumerate() {
            if BARE.iter().any(|bare| line.contains(bare)) {
                problems.push(format!(
                    "{}:{} spawns a task whose failure nobody sees: use knarr_tasks",
                    path.display(),
                    number + 1
                ));
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
