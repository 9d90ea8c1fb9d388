//! The loop: take an input, change it, run it, keep it if it shows something new.

use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;

use crate::mutate::mutate;
use crate::targets::Target;

/// An input that takes longer is a finding: its sender spends nothing.
pub const SLOW: Duration = Duration::from_secs(10);
/// Inputs of one target that are kept; the corpus is read by people too.
const CORPUS_FILES: usize = 100;
/// Longer ones are not: they show little that shorter ones do not.
const KEPT_BYTES: usize = 1 << 10;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    pub inputs: u64,
    pub kept: usize,
    pub findings: Vec<PathBuf>,
}

/// The folder of a kind (`corpus`, `findings`) of a target.
pub fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(kind)
        .join(target)
}

/// All inputs of a folder, by name.
///
/// # Errors
/// When a file cannot be read; a folder that is not there has none.
pub fn read(folder: &Path) -> Result<Vec<Vec<u8>>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    let read = |path: PathBuf| fs::read(&path).with_context(|| path.display().to_string());
    paths.into_iter().map(read).collect()
}

/// Runs one input: the shape of its answer, or what is wrong with it.
///
/// # Errors
/// What is wrong.
pub fn check(target: &mut dyn Target, input: &[u8]) -> Result<u64, String> {
    let begin = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| target.run(input)));
    let elapsed = begin.elapsed();
    match outcome {
        Err(_) => Err("panicked".to_owned()),
        Ok(Ok(_)) if elapsed > SLOW => Err(format!("took {elapsed:?}")),
        Ok(answer) => answer,
    }
}

/// Runs `target` over its corpus and then over what is made of it, until `time` is up. With `keep` what shows something new is
/// written to the corpus.
///
/// # Errors
/// When files cannot be read or written.
pub fn run(
    name: &str,
    target: &mut dyn Target,
    time: Duration,
    mut random: Rng,
    keep: bool,
) -> Result<Report> {
    let mut report = Report::default();
    let mut corpus = target.seeds();
    corpus.extend(read(&folder("corpus", name))?);
    let kept_before = corpus.len();
    let mut shapes = HashSet::new();
    for input in &corpus {
        shapes.extend(try_input(name, target, input, &mut report)?);
    }
    let begin = Instant::now();
    while begin.elapsed() < time && report.findings.len() < 10 {
        let base = &corpus[random.usize(..corpus.len())];
        let other = &corpus[random.usize(..corpus.len())];
        let input = mutate(&mut random, base, other);
        let shape = try_input(name, target, &input, &mut report)?;
        let keepable = corpus.len() < CORPUS_FILES && input.len() <= KEPT_BYTES;
        if keepable && shape.is_some_and(|shape| shapes.insert(shape)) {
            if keep {
                save(&folder("corpus", name), &input)?;
            }
            corpus.push(input);
        }
    }
    report.kept = corpus.len() - kept_before;
    Ok(report)
}

fn try_input(
    name: &str,
    target: &mut dyn Target,
    input: &[u8],
    report: &mut Report,
) -> Result<Option<u64>> {
    report.inputs += 1;
    match check(target, input) {
        Ok(shape) => Ok(Some(shape)),
        Err(wrong) => {
            let path = save(&folder("findings", name), input)?;
            eprintln!("{name}: {wrong}: {}", path.display());
            report.findings.push(path);
            Ok(None)
        }
    }
}

/// Writes an input under a name made of its content.
fn save(folder: &Path, input: &[u8]) -> Result<PathBuf> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    fs::create_dir_all(folder)?;
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = folder.join(format!("{:016x}", hasher.finish()));
    fs::write(&path, input)?;
    Ok(path)
}
