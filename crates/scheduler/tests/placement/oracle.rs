//! Upstream's scheduler, as a program that answers questions (`tests/upstream/suite/schedule`).

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::scenario::Outcome;

/// What upstream says instead of what preemption did, where a plugin's PreFilter rules all nodes out: its DynamicResources looks for
/// a state that it has not had the chance to make.
const NO_STATE: &str = " not found";

/// Set where Go has to be there, so that the comparison is not left out unnoticed.
const NEED_GO: &str = "KNARR_NEED_GO";

/// The program, built once; `None` on a machine without Go, where nothing of upstream's runs.
///
/// # Errors
/// It cannot be built although there is Go, or Go has to be there and is not.
pub fn program() -> Result<Option<&'static Path>> {
    static PROGRAM: OnceLock<Result<Option<PathBuf>, &'static str>> = OnceLock::new();
    let built = PROGRAM.get_or_init(build).as_ref();
    let built = built.map_err(|why| anyhow!("upstream's scheduler is not to be had: {why}"))?;
    if built.is_none() {
        eprintln!("left out: the comparison with upstream's scheduler, as there is no Go");
    }
    Ok(built.as_deref())
}

/// Building it from nothing takes minutes: `KNARR_UPSTREAM_SCHEDULE` names one that is built.
fn build() -> Result<Option<PathBuf>, &'static str> {
    if let Some(built) = std::env::var_os("KNARR_UPSTREAM_SCHEDULE") {
        return Ok(Some(PathBuf::from(built)));
    }
    let places = [
        "/usr/local/go/bin",
        "/usr/lib/go/bin",
        "/usr/lib/go-1.26/bin",
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let go = std::env::split_paths(&path)
        .chain(places.map(PathBuf::from))
        .map(|folder| folder.join("go"))
        .find(|go| go.is_file());
    let Some(go) = go else {
        return match std::env::var_os(NEED_GO) {
            None => Ok(None),
            Some(_) => Err("there is no Go, and KNARR_NEED_GO says that there has to be"),
        };
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/upstream/suite");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("upstream-schedule");
    // Tests are processes of their own: the second finds compiled what the first has made.
    let lock =
        File::create(program.with_extension("lock")).and_then(|lock| lock.lock().map(|()| lock));
    let _lock = lock.map_err(|_| "its folder cannot be written to")?;
    let built = Command::new(go)
        .current_dir(folder)
        // As `./x` builds the suite's programs: what they share is compiled once.
        .env("CGO_ENABLED", "0")
        .args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            "-s -w",
            "-o",
        ])
        .arg(&program)
        .arg("./schedule")
        .stderr(Stdio::null())
        .status();
    match built.is_ok_and(|status| status.success()) {
        true => Ok(Some(program)),
        false => Err("upstream's packages could not be built"),
    }
}

/// Upstream's answers, one for each question.
pub fn ask(program: &Path, questions: &[Value]) -> Result<Vec<Value>> {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("standard input")?;
    let mut text = String::new();
    for question in questions {
        text.push_str(&question.to_string());
        text.push('\n');
    }
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the program failed");
    let written = writer.join();
    written.map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    let lines = String::from_utf8(output.stdout)?;
    let answers: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).context("an answer"))
        .collect::<Result<_>>()?;
    ensure!(answers.len() == questions.len(), "an answer each");
    Ok(answers)
}

/// What upstream does with the pod of a question.
pub fn outcome(answer: &Value) -> Result<Outcome> {
    let error = answer["error"].as_str().unwrap_or_default();
    ensure!(error.is_empty(), "upstream failed: {error}");
    let texts = |list: &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let node = answer["nominated"].as_str().unwrap_or_default();
    let victims = texts(&answer["victims"]);
    Ok(Outcome {
        nodes: texts(&answer["best"]),
        message: answer["message"].as_str().unwrap_or_default().to_owned(),
        preempts: (!victims.is_empty()).then(|| (node.to_owned(), victims)),
    })
}

/// Whether two outcomes are the same, apart from what upstream cannot tell.
pub fn agree(upstream: &Outcome, ours: &Outcome) -> bool {
    match upstream.message.strip_suffix(NO_STATE) {
        Some(reasons) => ours.message.starts_with(reasons) && ours.preempts.is_none(),
        None => upstream == ours,
    }
}
