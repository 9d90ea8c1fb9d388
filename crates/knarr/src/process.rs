//! What `up` and `agent` have in common as processes: one instance a data directory, a log, the background, and a signal as the end.

use std::{
    net::IpAddr,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use nix::sys::stat::{Mode, umask};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::Log,
    detach, failure,
    instance::{self, Instance},
    logging,
    progress::Progress,
    resident,
};

/// Files and connections one process may have open; watchers and containers' streams need many.
const OPEN_FILES_WANTED: u64 = 1 << 20;
/// Threads for what blocks. They are made when they are needed, and every request that the server lets in may have to wait with one
/// ([`knarr_tasks::heavy`]) while files are still to be read.
const MAX_BLOCKING_THREADS: usize = 1_024;

/// As container runtimes have it, whatever the shell's is: with 077 no user of a pod but root could read its `resolv.conf`.
const UMASK: u32 = 0o022;

/// A command that serves until it is told to stop.
#[derive(Clone, Copy)]
pub struct Daemon<'a> {
    pub data_dir: &'a Path,
    pub log: &'a Log,
    /// Whether to return when it is ready and leave it running.
    pub detach: bool,
}

impl Daemon<'_> {
    /// Runs `serve` as the one instance of the data directory, in the background if that was asked for. Everything was checked
    /// before; nothing has been made.
    pub fn run(self, serve: impl AsyncFnOnce(&mut Instance, &Output) -> Result<End>) -> Result<()> {
        match self.once(serve)? {
            End::Asked => Ok(()),
            End::Again => again(),
        }
    }

    fn once(self, serve: impl AsyncFnOnce(&mut Instance, &Output) -> Result<End>) -> Result<End> {
        instance::make_data_dir(self.data_dir)?;
        let background = detach::is_background();
        if self.detach && !background {
            // Asked here too, so that the answer does not have to come through the log.
            drop(Instance::acquire(self.data_dir)?);
            detach::spawn(self.log, self.data_dir)?;
            return Ok(End::Asked);
        }
        // One that started again has left it.
        if background && nix::unistd::getsid(None) != Ok(nix::unistd::getpid()) {
            nix::unistd::setsid().context("cannot leave the terminal")?;
        }
        // What is made for pods is read by their users; what is nobody else's has a mode of its own. The data directory and the log are
        // there by now, as whoever started this wants them.
        umask(Mode::from_bits_truncate(UMASK));
        let mut instance = Instance::acquire(self.data_dir)?;
        let _flushed = logging::start(self.log, Some(self.data_dir))?;
        let output = Output {
            progress: Progress::new(),
            background,
        };
        in_runtime(serve(&mut instance, &output))
    }
}

/// Runs a part that keeps nothing on disk, until it is told to stop; it logs to standard error unless a file is named.
pub fn stateless(log: &Log, serve: impl Future<Output = Result<()>>) -> Result<()> {
    let _flushed = logging::start(log, None)?;
    in_runtime(serve)
}

fn in_runtime<T>(serve: impl Future<Output = Result<T>>) -> Result<T> {
    knarr_tasks::on_failure(failure::end);
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = serve => result,
            never = resident::keep_small() => match never {},
        }
    });
    // Blocking tasks that hang must not keep the process: their deadlines have passed.
    runtime.shutdown_background();
    result
}

/// How a process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Asked,
    /// It is to start once more: what all of its parts were told at the start is no longer so.
    Again,
}

/// Starts the same command once more in place of this process: whoever started it does not notice, and containers go on meanwhile.
fn again() -> Result<()> {
    let program = std::env::current_exe().context("cannot find knarr's own program file")?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).exec();
    Err(error).context("cannot start knarr once more")
}

/// Whom the process talks to.
pub struct Output {
    pub progress: Progress,
    /// The one who started it waits for its word and lets go of it.
    pub background: bool,
}

impl Output {
    /// Says that it is ready. Whoever started a process in the background has heard enough: what is printed from now on goes
    /// nowhere.
    pub fn ready(&self) -> Result<()> {
        if !self.background {
            return Ok(());
        }
        self.progress.line(detach::READY);
        let null = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/null")
            .context("cannot open /dev/null")?;
        nix::unistd::dup2(null.as_raw_fd(), std::io::stdout().as_raw_fd())
            .context("cannot close standard output")?;
        Ok(())
    }

    /// Says that the machine has another address.
    pub fn moved(&self, address: IpAddr) {
        tracing::info!(%address, "the machine's address is another one; starting again");
        self.stopping(&format!(
            "the machine's address is {address} now: starting again with it (containers go on running)"
        ));
    }

    /// Says that it stops.
    pub fn stopping(&self, text: &str) {
        if !self.background {
            self.progress.line(text);
        }
    }
}

/// The signals that ask for an end.
pub struct Asked {
    interrupt: Signal,
    terminate: Signal,
}

impl Asked {
    /// Listens from now on.
    pub fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?,
        })
    }

    /// Waits for one; its name.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// As many as the hard limit allows. Failing is no reason not to start.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(OPEN_FILES_WANTED);
        if soft < wanted
            && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
        {
            tracing::warn!(%error, soft, wanted, "cannot raise the limit of open files");
        }
    }
}
