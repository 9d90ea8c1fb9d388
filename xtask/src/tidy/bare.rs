//! Calls that a crate of ours stands before.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::source::Source;

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
    // Controllers have a lint for it, by the function that they call.
    Bare {
        calls: &["&DeleteParams::default()", "= DeleteParams::default();"],
        within: &["crates/kubelet", "crates/scheduler"],
        exempt: &[],
        instead: "deletes whatever has the name by then: set the uid as precondition",
    },
    Bare {
        calls: &[
            "kube::Client::new(",
            "kube::Client::try_from(",
            "kube::Client::try_default(",
            "ClientBuilder::",
        ],
        within: &["crates"],
        exempt: &[
            "crates/client/src/fake.rs",
            "crates/client/src/throttle.rs",
            "crates/testkit",
        ],
        instead: "makes a client that does not wait when it is told to: use knarr_client::throttle",
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
pub fn calls(sources: &[Source]) -> Vec<String> {
    let sources: Vec<&Source> = sources
        .iter()
        .filter(|source| source.path.iter().nth(2).is_some_and(|part| part == "src"))
        .collect();
    let tests: BTreeSet<PathBuf> = sources
        .iter()
        .flat_map(|source| test_modules(&source.path, &source.text))
        .collect();
    let mut problems = Vec::new();
    for Source { path, text, .. } in sources {
        let is_test = |module: &PathBuf| path.with_extension("").starts_with(module);
        if tests.iter().any(is_test) {
            continue;
        }
        let program = text
            .split("\n#[cfg(test)]\nmod ")
            .next()
            .unwrap_or_default();
        let imported = kubes(program);
        let below = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        for bare in BARE {
            if !below(bare.within) || below(bare.exempt) {
                continue;
            }
            for (number, line) in program.lines().enumerate() {
                let line = qualified(line, &imported);
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
    problems
}

/// Names that a file imports of kube.
fn kubes(program: &str) -> BTreeSet<&str> {
    let imports = program.split("use kube::").skip(1);
    let imports = imports.filter_map(|rest| rest.split(';').next());
    let words = imports.flat_map(|names| names.split(|c: char| !c.is_alphanumeric()));
    words.filter(|word| !word.is_empty()).collect()
}

/// A line in which kube's client has its full name.
fn qualified<'a>(line: &'a str, imported: &BTreeSet<&str>) -> Cow<'a, str> {
    let begin = line
        .find("Client::")
        .filter(|_| imported.contains("Client"));
    match begin.map(|begin| line.split_at(begin)) {
        Some((before, rest)) if !before.ends_with(|c: char| c == ':' || c.is_alphanumeric()) => {
            Cow::Owned(format!("{before}kube::{rest}"))
        }
        _ => Cow::Borrowed(line),
    }
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
