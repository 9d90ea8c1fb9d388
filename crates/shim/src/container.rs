//! A container from the shim's side: its pid, its stdio, its end.

use std::fs::{self, File};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use knarr_shim::protocol::{
    AttachedFd, ContainerState, EXIT_FILE, ExitRecord, STARTED_FILE, StartSpec,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

use crate::attach::Output;
use crate::launch::{self, Stdio};
use crate::log::LogFile;
use crate::sys;

/// A container that was started, until it is deleted.
pub struct Container {
    pub spec: StartSpec,
    /// 0 until the one-shot child has reported.
    pub pid: i32,
    pub started_at: i64,
    pub exit: Option<ExitRecord>,
    log: Option<LogFile>,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    outputs: Vec<Output>,
}

/// Beside the bundle while the container runs.
#[derive(Serialize)]
struct StartedRecord {
    pid: i32,
    started_at: i64,
}

impl Container {
    /// Opens the log and the pipes; the second part goes to the container.
    pub fn prepare(spec: StartSpec) -> io::Result<(Self, Stdio)> {
        let log = spec.log_path.clone().map(LogFile::open).transpose()?;
        let mut container = Self {
            spec,
            pid: 0,
            started_at: 0,
            exit: None,
            log,
            stdin: None,
            terminal: None,
            outputs: Vec::new(),
        };
        if container.spec.tty {
            return Ok((
                container,
                Stdio {
                    stdin: None,
                    stdout: None,
                    stderr: None,
                },
            ));
        }
        let stdin = if container.spec.stdin {
            let (read, write) = sys::pipe()?;
            container.stdin = Some(write);
            read
        } else {
            OwnedFd::from(File::open("/dev/null")?)
        };
        let (stdout_read, stdout) = sys::pipe()?;
        let (stderr_read, stderr) = sys::pipe()?;
        container.outputs.push(Output::new(stdout_read, "stdout")?);
        container.outputs.push(Output::new(stderr_read, "stderr")?);
        Ok((
            container,
            Stdio {
                stdin: Some(stdin),
                stdout: Some(stdout),
                stderr: Some(stderr),
            },
        ))
    }

    /// The container was made: notes it on disk, then lets it go on to its program.
    pub fn start(&mut self, pid: i32, master: Option<OwnedFd>) -> io::Result<()> {
        self.pid = pid;
        if let Some(master) = master {
            self.outputs
                .push(Output::new(master.try_clone()?, "stdout")?);
            self.terminal = Some(master);
        }
        self.started_at = sys::now();
        let record = StartedRecord {
            pid,
            started_at: self.started_at,
        };
        let record = serde_json::to_vec(&record).map_err(io::Error::other)?;
        knarr_host::write_atomically(&self.spec.bundle.join(STARTED_FILE), &record)?;
        launch::release(&self.spec)
    }

    /// Its first process has ended: the rest of its output, then the record, before anybody is told.
    pub fn end(&mut self, exit_code: i32) -> ExitRecord {
        self.kill_leftovers();
        for output in &mut self.outputs {
            output.drain(self.log.as_mut());
        }
        self.stdin = None;
        self.terminal = None;
        let record = ExitRecord {
            exit_code,
            started_at: self.started_at,
            finished_at: sys::now(),
            oom_killed: self.oom_killed(),
        };
        if let Ok(bytes) = serde_json::to_vec(&record) {
            let _ = knarr_host::write_atomically(&self.spec.bundle.join(EXIT_FILE), &bytes);
        }
        launch::forget(&self.spec.bundle);
        self.exit = Some(record.clone());
        record
    }

    /// In a process namespace of its own the kernel has done it already.
    fn kill_leftovers(&self) {
        let Some(list) = &self.spec.kill_list else {
            return;
        };
        let pids = fs::read_to_string(list).unwrap_or_default();
        for pid in pids.lines().filter_map(|line| line.parse::<i32>().ok()) {
            if pid > 1 {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// Both files hold `oom_kill N` on a line.
    fn oom_killed(&self) -> bool {
        let Some(file) = &self.spec.oom_file else {
            return false;
        };
        fs::read_to_string(file)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count.trim() != "0")
    }

    pub fn state(&self) -> ContainerState {
        ContainerState {
            id: self.spec.id.clone(),
            pid: self.pid,
            started_at: self.started_at,
            exit: self.exit.clone(),
        }
    }

    pub fn running(&self) -> bool {
        self.pid != 0 && self.exit.is_none()
    }

    pub fn reopen_log(&mut self) -> io::Result<()> {
        self.log.as_mut().map_or(Ok(()), LogFile::reopen)
    }

    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    pub fn pump(&mut self, index: usize) {
        if let Some(output) = self.outputs.get_mut(index) {
            output.pump(self.log.as_mut());
        }
    }

    /// Descriptors for a client. `fds` says what each is.
    pub fn attach(
        &mut self,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> io::Result<(Vec<AttachedFd>, Vec<OwnedFd>)> {
        let (mut kinds, mut fds) = (Vec::new(), Vec::new());
        if let Some(terminal) = &self.terminal {
            kinds.push(AttachedFd::Tty);
            fds.push(terminal.try_clone()?);
        } else if stdin && let Some(pipe) = &self.stdin {
            kinds.push(AttachedFd::Stdin);
            fds.push(pipe.try_clone()?);
            if self.spec.stdin_once {
                // From now on the client holds the only end: its close is the container's end of file.
                self.stdin = None;
            }
        }
        let wanted = [(stdout, AttachedFd::Stdout), (stderr, AttachedFd::Stderr)];
        for (output, (wanted, kind)) in self.outputs.iter_mut().zip(wanted) {
            if wanted {
                kinds.push(kind);
                fds.push(output.attach()?);
            }
        }
        Ok((kinds, fds))
    }
}

/// Where a descriptor of a poll belongs.
pub fn poll_targets(container: &Container) -> Vec<(BorrowedFd<'_>, usize, bool)> {
    let mut targets = Vec::new();
    for (index, output) in container.outputs().iter().enumerate() {
        if let Some(fd) = output.readable() {
            targets.push((fd, index, true));
        }
        targets.extend(output.writable().map(|fd| (fd, index, false)));
    }
    targets
}
