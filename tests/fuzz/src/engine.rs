//! The loop: take an input, change it, run it, keep it if it shows something new.

use std::collections::HashSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;

use crate::current::Current;
pub use crate::inputs::{SLOW, folder, save};
use crate::mutate::mutate;
use crate::targets::Target;

/// Files of a corpus; it is read by people too.
const CORPUS_FILES: usize = 60;
/// Longer ones are not kept in files: they show little that shorter ones do not.
const FILE_BYTES: usize = 1 << 10;
/// Inputs that are changed again, those that have no file among them.
const CORPUS_INPUTS: usize = 2_000;
/// A run ends with so many findings: they are mostly one.
const MAX_FINDINGS: usize = 10;
/// Between two reports of a run.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// What a run came to, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub inputs: u64,
    /// Inputs that showed something new.
    pub new: usize,
    pub findings: usize,
}

/// How to run a target.
pub struct Plan<'a> {
    pub time: Duration,
    pub random: Rng,
    /// Write what shows something new to the corpus.
    pub keep: bool,
    /// Told of a run that goes on, a few times a second.
    pub progress: &'a mut dyn FnMut(Report),
}

/// All inputs of a folder with their files, by name.
///
/// # Errors
/// When a file cannot be read; a folder that is not there has none.
pub fn read(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    let read = |path: PathBuf| {
        let input = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok((path, input))
    };
    paths.into_iter().map(read).collect()
}

/// Runs `target` over its corpus and then over what is made of it, until the time is up.
///
/// # Errors
/// When files cannot be read or written.
pub fn run(name: &str, target: &mut dyn Target, mut plan: Plan<'_>) -> Result<Report> {
    let mut corpus = target.seeds();
    let files = read(&folder("corpus", name))?;
    let mut room = CORPUS_FILES.saturating_sub(files.len());
    corpus.extend(files.into_iter().map(|(_, input)| input));
    let mut runner = Runner {
        name,
        current: Current::new(name)?,
        report: Report::default(),
    };
    let mut shapes = HashSet::new();
    for input in &corpus {
        shapes.extend(runner.try_input(target, input)?);
    }
    let words = target.words();
    let begin = Instant::now();
    let mut reported = begin;
    while begin.elapsed() < plan.time && runner.report.findings < MAX_FINDINGS {
        let base = &corpus[plan.random.usize(..corpus.len())];
        let other = &corpus[plan.random.usize(..corpus.len())];
        let input = mutate(&mut plan.random, base, other, words);
        let shape = runner.try_input(target, &input)?;
        if shape.is_some_and(|shape| shapes.insert(shape)) && corpus.len() < CORPUS_INPUTS {
            runner.report.new += 1;
            if plan.keep && room > 0 && input.len() <= FILE_BYTES {
                save(&folder("corpus", name), &input)?;
                room -= 1;
            }
            corpus.push(input);
        }
        if reported.elapsed() > REPORT_INTERVAL {
            (plan.progress)(runner.report);
            reported = Instant::now();
        }
    }
    Ok(runner.report)
}

/// Removes files of the corpus that show nothing that seeds and shorter files do not; how many.
///
/// # Errors
/// When files cannot be read or removed, or an input is a finding.
pub fn trim(name: &str, target: &mut dyn Target) -> Result<usize> {
    let mut shapes = HashSet::new();
    let mut shape = |input: &[u8]| -> Result<bool> {
        let shape = check(target, input).map_err(anyhow::Error::msg)?;
        Ok(shapes.insert(shape))
    };
    let mut files = read(&folder("corpus", name))?;
    files.sort_by_key(|(_, input)| input.len());
    let (mut kept, mut removed) = (0, 0);
    for (path, input) in files {
        let shows = shape(&input).with_context(|| path.display().to_string())?;
        if shows && kept < CORPUS_FILES && input.len() <= FILE_BYTES {
            kept += 1;
        } else {
            fs::remove_file(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Panics of this process, on whatever thread and whoever caught them.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Some of the code that is tested answers for panics of its own: that a user gets an error then is no reason to have them.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            tell(info);
        }));
    });
}

/// Runs one input: the shape of its answer.
///
/// # Errors
/// What is wrong with it.
pub fn check(target: &mut dyn Target, input: &[u8]) -> Result<u64, String> {
    count_panics();
    let before = PANICS.load(Ordering::Relaxed);
    let begin = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| target.run(input)));
    let elapsed = begin.elapsed();
    match outcome {
        Err(_) => Err("panicked".to_owned()),
        Ok(_) if PANICS.load(Ordering::Relaxed) != before => {
            Err("panicked, and the panic was caught".to_owned())
        }
        Ok(Ok(_)) if elapsed > SLOW => Err(format!("took {elapsed:?}")),
        Ok(answer) => answer,
    }
}

struct Runner<'a> {
    name: &'a str,
    current: Current,
    report: Report,
}

impl Runner<'_> {
    fn try_input(&mut self, target: &mut dyn Target, input: &[u8]) -> Result<Option<u64>> {
        self.report.inputs += 1;
        self.current.begin(input)?;
        let outcome = check(target, input);
        self.current.end();
        match outcome {
            Ok(shape) => Ok(Some(shape)),
            Err(wrong) => {
                let path = save(&folder("findings", self.name), input)?;
                eprintln!("{}: {wrong}: {}", self.name, path.display());
                self.report.findings += 1;
                Ok(None)
            }
        }
    }
}
