//! Runs specs, each in a process of its own, several at a time.

use std::{
    collections::VecDeque,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{
    cluster::Target,
    report::{self, Tried},
    spec::Spec,
};
use crate::record::{Outcome, Record, State};

/// How often an ended process is looked for.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a spec may take to clean up after it was told to end.
const CLEAN_UP: Duration = Duration::from_secs(30);

/// How specs are run.
pub struct Suite<'a> {
    pub e2e: PathBuf,
    pub kubectl: PathBuf,
    pub target: &'a Target,
    /// Longest time for one spec.
    pub limit: Duration,
    /// A log a spec is written here.
    pub logs: PathBuf,
    /// Set by Ctrl-C and SIGTERM: what runs is ended, and what was started is removed.
    pub interrupted: Arc<AtomicBool>,
}

/// A flag that Ctrl-C and SIGTERM set.
pub fn interruption() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

impl Suite<'_> {
    /// Runs the specs: first those that bear company, the longest first, then the others one by one.
    pub fn run(
        &self,
        mut specs: Vec<Spec>,
        procs: usize,
        record: &Record<1>,
    ) -> Result<Vec<Tried>> {
        if self.logs.exists() {
            fs::remove_dir_all(&self.logs)?;
        }
        fs::create_dir_all(&self.logs)?;
        let total = specs.len();
        // The longest first: none of them is left alone at the end.
        let seconds = |spec: &Spec| record.get(&spec.key()).map_or(0.0, |known| known.seconds);
        specs.sort_by(|a, b| seconds(b).total_cmp(&seconds(a)));
        let (alone, together): (VecDeque<_>, VecDeque<_>) =
            specs.into_iter().partition(Spec::is_serial);
        let mut tried = Vec::new();
        for (specs, procs) in [(together, procs), (alone, 1)] {
            self.run_queue(specs, procs, &mut |one| {
                tried.push(one);
                report::print_progress(tried.last(), tried.len(), total);
            })?;
        }
        Ok(tried)
    }

    /// Runs once more, alone, what the record knows to pass and has not passed.
    pub fn retry(&self, tried: &mut [Tried], record: &Record<1>) -> Result<()> {
        let passed = |spec: &Spec| {
            record
                .get(&spec.key())
                .is_some_and(|known| known.state == State::Pass)
        };
        for one in tried.iter_mut() {
            if one.outcome.state != State::Fail || !passed(&one.spec) {
                continue;
            }
            eprintln!("once more: {}", one.spec.name);
            let again = self.run_spec(&one.spec, "-again")?;
            if again.state == State::Pass {
                one.flaky = true;
                one.outcome = again;
            }
        }
        Ok(())
    }

    fn run_queue(
        &self,
        specs: VecDeque<Spec>,
        procs: usize,
        each: &mut dyn FnMut(Tried),
    ) -> Result<()> {
        let queue = Mutex::new(specs);
        let (sender, done) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..procs.max(1) {
                let (queue, sender) = (&queue, sender.clone());
                scope.spawn(move || {
                    loop {
                        let next = queue
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .pop_front();
                        let Some(spec) = next else { return };
                        let outcome = self.target.check().and_then(|()| self.run_spec(&spec, ""));
                        if sender.send((spec, outcome)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for (spec, outcome) in done {
                match outcome {
                    Ok(outcome) => each(Tried {
                        spec,
                        outcome,
                        flaky: false,
                    }),
                    Err(error) => {
                        queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                        return Err(error.context(format!("at {}", spec.name)));
                    }
                }
            }
            Ok(())
        })
    }

    fn run_spec(&self, spec: &Spec, suffix: &str) -> Result<Outcome> {
        let base = self.logs.join(format!("{}{suffix}", spec.file_name()));
        let log = base.with_extension("log");
        let started = Instant::now();
        let mut child = self
            .command(spec, &log)?
            .spawn()
            .context("cannot run the suite")?;
        let status = self.wait(&mut child)?;
        let seconds = started.elapsed().as_secs_f64();
        let text = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok(
            match (status, report::read(&String::from_utf8_lossy(&text))) {
                (None, _) => failure(
                    seconds,
                    format!("did not end within {} s", self.limit.as_secs()),
                ),
                (Some(_), Ok(outcome)) => outcome,
                (Some(status), Err(error)) => failure(
                    seconds,
                    format!("the suite ended with {status}, and {error}: see its log"),
                ),
            },
        )
    }

    fn command(&self, spec: &Spec, log: &Path) -> Result<Command> {
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = self.target.command(&self.e2e);
        command
            .arg(format!(
                "-kubeconfig={}",
                self.target.kubeconfig().display()
            ))
            .arg(format!("-kubectl-path={}", self.kubectl.display()))
            .args(["-provider=skeleton", "-disable-log-dump"])
            // The system's own parts are not pods here.
            .arg("-minStartupPods=-1")
            .args(["-ginkgo.no-color", "-ginkgo.silence-skips"])
            .arg(format!("-ginkgo.timeout={}s", self.limit.as_secs()))
            .arg(format!("-ginkgo.focus={}", spec.focus()))
            .current_dir(&self.logs)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        Ok(command)
    }

    /// Waits for a process; ends it and all it started at the limit, which gives `None`.
    fn wait(&self, child: &mut Child) -> Result<Option<ExitStatus>> {
        let group = Pid::from_raw(child.id().cast_signed());
        // The suite has the same limit and cleans up by itself at its end.
        let deadline = Instant::now() + self.limit + CLEAN_UP;
        let go_on = || Instant::now() < deadline && !self.interrupted.load(Ordering::Relaxed);
        if let Some(status) = wait_while(child, go_on)? {
            return Ok(Some(status));
        }
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let _ = killpg(group, signal);
            let deadline = Instant::now() + CLEAN_UP;
            if wait_while(child, || Instant::now() < deadline)?.is_some() {
                break;
            }
        }
        // What it started and forgot, such as a kubectl.
        let _ = killpg(group, Signal::SIGKILL);
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(None)
    }
}

/// Waits for a process as long as one goes on; how it ended, or `None`.
fn wait_while(child: &mut Child, go_on: impl Fn() -> bool) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the suite")? {
            return Ok(Some(status));
        }
        if !go_on() {
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

fn failure(seconds: f64, reason: String) -> Outcome {
    Outcome {
        state: State::Fail,
        seconds,
        reason,
    }
}
