//! Reads the files in `scenarios`, whose form is told there.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::objects;

/// What the first two lines of a configuration are.
const CONFIG_HEAD: &str =
    "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

/// A cluster, a pod, and what is expected of it.
#[derive(Debug, Default)]
pub struct Scenario {
    pub file: String,
    pub title: String,
    /// A whole configuration; empty: the default one.
    pub config: String,
    pub objects: Vec<Value>,
    pub pod: Value,
    pub expected: Outcome,
}

/// What comes of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Equally good nodes, sorted; empty where none fits.
    pub nodes: Vec<String>,
    pub message: String,
    /// Where pods end for it, and which, sorted.
    pub preempts: Option<(String, Vec<String>)>,
}

/// The scenarios of all files, sorted by the files' names.
pub fn all() -> Result<Vec<Scenario>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/placement/scenarios");
    let entries = fs::read_dir(&folder).context("the folder of scenarios")?;
    let mut files: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        all.extend(read(&name, &text).with_context(|| format!("in {}", file.display()))?);
    }
    Ok(all)
}

fn read(file: &str, text: &str) -> Result<Vec<Scenario>> {
    let mut all: Vec<Scenario> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("== ") {
            all.push(Scenario {
                file: file.to_owned(),
                title: title.to_owned(),
                ..Scenario::default()
            });
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            let scenario = all.last_mut().context("a title comes first")?;
            let read = scenario.line(line);
            read.with_context(|| format!("line {}: {line}", number + 1))?;
        }
    }
    for scenario in &all {
        let outcome = &scenario.expected;
        let expects = outcome.nodes.is_empty() != outcome.message.is_empty();
        ensure!(expects, "nothing is expected of \"{}\"", scenario.title);
        ensure!(!scenario.pod.is_null(), "no pod in \"{}\"", scenario.title);
    }
    Ok(all)
}

impl Scenario {
    fn line(&mut self, line: &str) -> Result<()> {
        if let Some(config) = line.strip_prefix("  ") {
            self.config.push_str(config);
            self.config.push('\n');
            return Ok(());
        }
        if let Some(expected) = line.strip_prefix("-> ") {
            return self.expected.read(expected);
        }
        let words = words(line);
        let (kind, words) = words.split_first().context("an empty line")?;
        if kind == "config" {
            CONFIG_HEAD.clone_into(&mut self.config);
            return Ok(());
        }
        let (name, words) = words.split_first().context("it has no name")?;
        match kind.as_str() {
            "node" => self.objects.push(objects::node(name, words)?),
            "pod" => self.objects.push(objects::pod(name, words)?),
            "place" => self.pod = objects::pod(name, words)?,
            other => self.objects.push(objects::other(other, name, words)?),
        }
        Ok(())
    }

    /// For upstream's scheduler.
    pub fn question(&self) -> Value {
        json!({"config": self.config, "objects": self.objects, "pod": self.pod})
    }
}

impl Outcome {
    fn read(&mut self, text: &str) -> Result<()> {
        if let Some(message) = text.strip_prefix("waits: ") {
            message.clone_into(&mut self.message);
        } else if let Some(room) = text.strip_prefix("ends for room on ") {
            let (node, victims) = room.split_once(": ").context("no pods that end")?;
            let mut victims: Vec<_> = victims.split(' ').map(str::to_owned).collect();
            victims.sort();
            self.preempts = Some((node.to_owned(), victims));
        } else if text.contains(':') {
            bail!("no such expectation");
        } else {
            self.nodes = text.split(' ').map(str::to_owned).collect();
            self.nodes.sort();
        }
        Ok(())
    }
}

/// The words of a line; what is in brackets is one word.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0_usize;
    for character in line.chars() {
        match character {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match words.last_mut() {
            Some(word) if depth > 0 || !character.is_whitespace() => word.push(character),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
