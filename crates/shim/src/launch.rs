//! Starting a container: libcontainer in a one-shot child.
//!
//! The child makes the container as its sibling, so that the shim is the parent of the container's first process, and
//! reports the pid (and the pty's master) over a socket pair. The container then waits on libcontainer's notify socket;
//! the shim opens it ([`release`]) once it has noted the pid.

use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use knarr_shim::protocol::StartSpec;
use knarr_shim::{chain, frame};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::unistd::{Gid, Pid, Uid, fchown};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::program::Program;
use crate::{devices, diagnosis, stage, sys, users};

const CONSOLE_SOCKET: &str = "console.sock";
const NOTIFY_SOCKET: &str = "notify.sock";

/// What a one-shot child reports.
#[derive(Debug, Serialize, Deserialize)]
pub enum Launched {
    Started { pid: i32 },
    Failed { message: String },
}

/// A container's ends of its stdio.
pub struct Stdio {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Forks the child that makes the container; its report arrives on the returned socket.
pub fn start(spec: &StartSpec, stdio: Stdio) -> io::Result<(Pid, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let pid = sys::fork_with(|| {
        let (report, master) = match alone(&theirs, &stdio).and_then(|()| make(spec, stdio)) {
            Ok((pid, master)) => (Launched::Started { pid }, master),
            Err(message) => (Launched::Failed { message }, None),
        };
        send_report(&theirs, &report, master.as_ref())
    })?;
    ours.set_nonblocking(true)?;
    Ok((pid, ours))
}

/// Lets go of the shim's descriptors.
fn alone(report: &UnixStream, stdio: &Stdio) -> Result<(), String> {
    let mut kept = vec![report.as_raw_fd()];
    let ends = [&stdio.stdin, &stdio.stdout, &stdio.stderr];
    kept.extend(ends.into_iter().flatten().map(AsRawFd::as_raw_fd));
    sys::close_all_but(&kept).map_err(|error| format!("close descriptors: {error}"))
}

/// Writes a one-shot child's report; its exit code.
pub fn send_report(to: &UnixStream, report: &Launched, master: Option<&OwnedFd>) -> i32 {
    let fds: Vec<RawFd> = master.iter().map(|fd| fd.as_raw_fd()).collect();
    let sent = frame::encode(report)
        .map_err(|error| io::Error::other(error.to_string()))
        .and_then(|bytes| frame::send(to, &bytes, &fds));
    i32::from(sent.is_err())
}

fn state_directory(spec: &StartSpec) -> PathBuf {
    spec.bundle.join("lc")
}

fn make(spec: &StartSpec, stdio: Stdio) -> Result<(i32, Option<OwnedFd>), String> {
    sys::set_name(c"knarr-start");
    sys::reset_signals();
    let root = state_directory(spec);
    knarr_host::remove(&root).map_err(|error| format!("clear {}: {error}", root.display()))?;
    fs::create_dir_all(&root).map_err(|error| format!("make {}: {error}", root.display()))?;
    let log = diagnosis::Log::begin(&root)
        .map_err(|error| format!("keep libcontainer's log: {error}"))?;
    let oci = Spec::load(spec.bundle.join("config.json")).map_err(|error| chain(&error))?;
    let user = oci.process().as_ref().map(|process| process.user());
    let user = user.map(|user| users::on_host(&oci, user.uid(), user.gid()));
    let console = if spec.tty {
        Some(
            sys::listen(&root, CONSOLE_SOCKET)
                .map_err(|error| format!("open the console socket: {error}"))?,
        )
    } else {
        give_stdio_away(&oci, &stdio);
        None
    };
    let bundle = stage::prepare(spec, &root, oci)?;
    let mut builder = ContainerBuilder::new(spec.id.clone(), SyscallType::default())
        .with_root_path(&root)
        .map_err(|error| chain(&error))?
        .with_executor(Program);
    if console.is_some() {
        builder = builder.with_console_socket(Some(root.join(CONSOLE_SOCKET)));
    }
    if let Some(fd) = stdio.stdin {
        builder = builder.with_stdin(fd);
    }
    if let Some(fd) = stdio.stdout {
        builder = builder.with_stdout(fd);
    }
    if let Some(fd) = stdio.stderr {
        builder = builder.with_stderr(fd);
    }
    let container = builder
        .as_init(&bundle)
        .with_systemd(false)
        .as_sibling(true)
        .with_detach(true)
        .build()
        .map_err(|error| log.explain(&chain(&error)))?;
    let pid = container.pid().ok_or("the container has no process")?;
    // The container's nodes are made; its program does not run yet.
    let end = |_: &String| {
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    };
    restrict_devices(spec).inspect_err(end)?;
    let master = console
        .map(|listener| receive_master(&listener))
        .transpose()
        .map_err(|error| format!("receive the terminal: {error}"))?;
    if let (Some(master), Some((uid, _))) = (&master, user) {
        give_terminal_away(master, uid)
            .map_err(|error| format!("give the terminal away: {error}"))
            .inspect_err(end)?;
    }
    Ok((pid.as_raw(), master))
}

/// As with pipes, only whose it is may open it anew by its name. The group stays the terminals' own.
fn give_terminal_away(master: &OwnedFd, uid: u32) -> io::Result<()> {
    let slave = sys::terminal_of(master)?;
    Ok(fchown(slave.as_raw_fd(), Some(Uid::from_raw(uid)), None)?)
}

fn restrict_devices(spec: &StartSpec) -> Result<(), String> {
    let Some(cgroup) = spec.cgroup_procs.first().and_then(|procs| procs.parent()) else {
        return Ok(());
    };
    let oci = Spec::load(spec.bundle.join("config.json")).map_err(|error| chain(&error))?;
    devices::restrict(cgroup, &oci).map_err(|error| format!("restrict devices: {error}"))
}

/// A process that is not root may open `/dev/stdout` anew only if the pipe is its own.
fn give_stdio_away(oci: &Spec, stdio: &Stdio) {
    let Some(process) = oci.process() else {
        return;
    };
    let user = process.user();
    let (uid, gid) = users::on_host(oci, user.uid(), user.gid());
    for fd in [&stdio.stdin, &stdio.stdout, &stdio.stderr]
        .into_iter()
        .flatten()
    {
        own_pipe(fd, uid, gid);
    }
}

/// Makes a pipe its user's; other kinds of files keep their owner.
pub fn own_pipe(fd: &OwnedFd, uid: u32, gid: u32) {
    let fd = fd.as_raw_fd();
    let is_pipe =
        nix::sys::stat::fstat(fd).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO);
    if is_pipe {
        let _ = fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    }
}

/// libcontainer's init connects and sends the master, at the latest when it is ready: no wait here can be long.
fn receive_master(listener: &UnixListener) -> io::Result<OwnedFd> {
    let (stream, _) = listener.accept()?;
    let (mut bytes, mut fds) = (Vec::new(), Vec::new());
    frame::receive(&stream, &mut bytes, &mut fds)?;
    fds.pop()
        .ok_or_else(|| io::Error::other("no descriptor came"))
}

/// Lets a made container go on to its program.
pub fn release(spec: &StartSpec) -> io::Result<()> {
    let directory = state_directory(spec).join(&spec.id);
    let mut stream = sys::connect(&directory, NOTIFY_SOCKET)?;
    stream.write_all(b"start container")?;
    stream.shutdown(Shutdown::Both)
}

/// Removes libcontainer's files of a container.
pub fn forget(bundle: &Path) {
    let _ = knarr_host::remove(&bundle.join("lc"));
}
