//! A further process in a running container, as `runc exec` makes it: the container's namespaces, cgroup, user,
//! capabilities, limits and seccomp filter; the caller's command.
//!
//! Steps: a one-shot child joins the cgroup and the namespaces of the container's first process, clones a sibling (a
//! process namespace is entered by children only) and ends. The sibling, whose parent is therefore the shim, takes
//! its stdio, drops what it must not have and executes. From its first step inside the container on it is open to nobody there:
//! undumpable, and without descriptors of the shim's. Failures up to and including `execve` are reported with their
//! reason, on a socket that a successful `execve` closes.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use knarr_host::Directory;
use knarr_shim::chain;
use knarr_shim::protocol::StartSpec;
use libcontainer::syscall::Syscall;
use libcontainer::syscall::linux::LinuxSyscall;
use libcontainer::{capabilities, seccomp};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, chdir, dup2, setsid};
use oci_spec::runtime::{Process, Spec};

use crate::launch::{Launched, own_pipe, send_report};
use crate::{program, sys, users};

/// Most of a container's `/etc/passwd` that is looked at, bytes.
const MAX_PASSWD_BYTES: usize = 1 << 20;

/// How long a program may take to be loaded, and what comes before it: whoever asks for one every second must not fill the machine
/// with those that cannot be.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(20);
const ENTER_SECONDS: u32 = 40;

/// A process to run.
pub struct Exec<'a> {
    pub container: &'a StartSpec,
    /// The container's first process.
    pub pid: i32,
    pub args: &'a [String],
    pub tty: bool,
    /// Three, unless there is a terminal.
    pub stdio: Vec<OwnedFd>,
}

/// Forks the child that enters the container; its report arrives on the returned socket.
pub fn start(exec: Exec<'_>) -> io::Result<(Pid, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let pid = sys::fork_with(|| {
        let (report, master) = match enter(&exec, theirs.as_raw_fd()) {
            Ok((pid, master)) => (Launched::Started { pid: pid.as_raw() }, master),
            Err(message) => (Launched::Failed { message }, None),
        };
        send_report(&theirs, &report, master.as_ref())
    })?;
    ours.set_nonblocking(true)?;
    Ok((pid, ours))
}

fn enter(exec: &Exec<'_>, report: RawFd) -> Result<(Pid, Option<OwnedFd>), String> {
    sys::set_name(c"knarr-exec");
    sys::reset_signals();
    // SAFETY: it has no memory of ours to look at. The signal ends this process, which nobody waits for any more.
    unsafe { libc::alarm(ENTER_SECONDS) };
    // Until it is the container's program.
    nix::sys::prctl::set_dumpable(false).map_err(|error| format!("become undumpable: {error}"))?;
    let mut kept: Vec<RawFd> = exec.stdio.iter().map(AsRawFd::as_raw_fd).collect();
    kept.push(report);
    sys::close_all_but(&kept).map_err(|error| format!("close descriptors: {error}"))?;
    let spec =
        Spec::load(exec.container.bundle.join("config.json")).map_err(|error| chain(&error))?;
    let process = spec
        .process()
        .as_ref()
        .ok_or("the container has no process")?;
    for procs in &exec.container.cgroup_procs {
        join_cgroup(procs, &exec.container.id, exec.pid)
            .map_err(|error| format!("join cgroup {}: {error}", procs.display()))?;
    }
    if let Some(adjustment) = process.oom_score_adj() {
        fs::write("/proc/self/oom_score_adj", adjustment.to_string())
            .map_err(|error| format!("set oom_score_adj: {error}"))?;
    }
    // Seen from here, where its links and devices have no power.
    let environment = environment(process, exec);
    // Here, where all users have their ids.
    let (uid, gid) = users::on_host(&spec, process.user().uid(), process.user().gid());
    for fd in &exec.stdio {
        own_pipe(fd, uid, gid);
    }
    let own_users = users::namespace(&spec).is_some();
    join_namespaces(exec.pid, own_users)
        .map_err(|error| format!("enter the container: {error}"))?;
    let terminal = if exec.tty {
        Some(open_terminal(process).map_err(|error| format!("open a terminal: {error}"))?)
    } else {
        None
    };
    let (failure, failed) = UnixStream::pair().map_err(|error| error.to_string())?;
    let pid = sys::clone_with(libc::CLONE_PARENT, || {
        let become_it = || {
            let slave = terminal.as_ref().map(|(_, slave)| slave);
            take_stdio(exec, slave).map_err(|error| format!("take stdio: {error}"))?;
            sys::close_all_but(&[failed.as_raw_fd()])
                .map_err(|error| format!("close descriptors: {error}"))?;
            become_process(&spec, process)?;
            execute(exec.args, &environment)
        };
        let reason = match become_it() {
            Ok(()) => return 0,
            Err(reason) => reason,
        };
        let _ = (&failed).write_all(reason.as_bytes());
        127
    })
    .map_err(|error| format!("clone: {error}"))?;
    drop(failed);
    await_program(failure, pid)?;
    Ok((pid, terminal.map(|(master, _)| master)))
}

/// Waits until the program runs. One on a file system whose server does not answer never does.
fn await_program(mut failure: UnixStream, pid: Pid) -> Result<(), String> {
    failure
        .set_read_timeout(Some(PROGRAM_TIMEOUT))
        .map_err(|error| error.to_string())?;
    let mut reason = String::new();
    match failure.read_to_string(&mut reason) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let _ = kill(pid, Signal::SIGKILL);
            Err(format!("the command did not start for {PROGRAM_TIMEOUT:?}"))
        }
        _ if reason.is_empty() => Ok(()),
        _ => Err(reason),
    }
}

/// The container's group; or, where the container has made groups below it and handed its controllers down, after which
/// version 2 lets no process into it, that of its first process. As runc.
fn join_cgroup(procs: &Path, id: &str, first: i32) -> io::Result<()> {
    match fs::write(procs, "0") {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            let groups = fs::read_to_string(format!("/proc/{first}/cgroup"))?;
            match below_container(&groups, id) {
                Some(inner) => fs::write(procs.with_file_name(inner).join("cgroup.procs"), "0"),
                None => Err(error),
            }
        }
        other => other,
    }
}

/// Where a process is below its container's group, by its `/proc/PID/cgroup`; `None` unless it is below.
fn below_container<'a>(groups: &'a str, id: &str) -> Option<&'a str> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (_, inner) = path.split_once(&format!("/{id}/"))?;
    let within = !inner.is_empty() && !inner.split('/').any(|part| part == "..");
    within.then_some(inner)
}

/// As the root of the container's users, where they are not the host's.
fn join_namespaces(pid: i32, own_users: bool) -> io::Result<()> {
    // SAFETY: pidfd_open(2) returns a descriptor of ours or -1.
    let pidfd = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        sys::own(fd as i32)
    };
    let mut all = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWNS;
    all.set(CloneFlags::CLONE_NEWUSER, own_users);
    // The root and directory become those of the mount namespace, which is the container's pivoted root.
    setns(pidfd.as_fd(), all)?;
    if own_users {
        users::become_root()?;
        // Who changes user is dumpable again where the host says so.
        nix::sys::prctl::set_dumpable(false)?;
    }
    chdir("/")?;
    Ok(())
}

/// A pty of the container's own devpts: (master, slave).
fn open_terminal(process: &Process) -> io::Result<(OwnedFd, OwnedFd)> {
    let master = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC)
        .open("/dev/ptmx")?;
    let mut unlocked: libc::c_int = 0;
    // SAFETY: the request takes an int.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &mut unlocked) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let slave = sys::terminal_of(&master)?;
    nix::unistd::fchown(
        slave.as_raw_fd(),
        Some(Uid::from_raw(process.user().uid())),
        None,
    )?;
    Ok((master.into(), slave))
}

/// Takes on the container's user, limits and restrictions.
fn become_process(spec: &Spec, process: &Process) -> Result<(), String> {
    let fail = |what: &'static str| move |error: nix::Error| format!("{what}: {error}");
    let call = LinuxSyscall;
    let user = process.user();
    if let Some(umask) = user.umask() {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
    }
    for limit in process.rlimits().iter().flatten() {
        call.set_rlimit(limit).map_err(|error| chain(&error))?;
    }
    if process.no_new_privileges() == Some(true) {
        nix::sys::prctl::set_no_new_privs().map_err(fail("set no_new_privs"))?;
    }
    let denied = match chdir(process.cwd()) {
        Ok(()) => false,
        Err(nix::Error::EPERM | nix::Error::EACCES) => true,
        Err(error) => return Err(format!("chdir to {}: {error}", process.cwd().display())),
    };
    let groups: Vec<Gid> = user
        .additional_gids()
        .iter()
        .flatten()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    call.set_groups(&groups).map_err(|error| chain(&error))?;
    // As root a filter can be loaded without no_new_privs, so it comes before the capabilities go, as libcontainer
    // does for the first process.
    let filter = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().as_ref());
    // Keeps capabilities over the change of user, until they are set to what the container may have.
    call.set_id(Uid::from_raw(user.uid()), Gid::from_raw(user.gid()))
        .map_err(|error| chain(&error))?;
    capabilities::reset_effective(&call).map_err(|error| chain(&error))?;
    if let Some(filter) = filter {
        seccomp::initialize_seccomp(filter).map_err(|error| chain(&error))?;
    }
    if let Some(wanted) = process.capabilities() {
        capabilities::drop_privileges(wanted, &call).map_err(|error| chain(&error))?;
    }
    if denied {
        chdir(process.cwd())
            .map_err(|error| format!("chdir to {}: {error}", process.cwd().display()))?;
    }
    Ok(())
}

/// In a session of its own, whose controlling terminal is the pty where there is one.
fn take_stdio(exec: &Exec<'_>, slave: Option<&OwnedFd>) -> io::Result<()> {
    setsid()?;
    if let Some(slave) = slave {
        for target in 0..3 {
            dup2(slave.as_raw_fd(), target)?;
        }
        // SAFETY: makes the pty on descriptor 0 the controlling terminal of the session just made.
        if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        return Ok(());
    }
    for (target, fd) in exec.stdio.iter().enumerate().take(3) {
        dup2(fd.as_raw_fd(), target as i32)?;
    }
    Ok(())
}

fn environment(process: &Process, exec: &Exec<'_>) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = process
        .env()
        .iter()
        .flatten()
        .filter_map(|entry| entry.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let known: HashMap<&str, ()> = variables
        .iter()
        .map(|(key, _)| (key.as_str(), ()))
        .collect();
    let (home, term) = (
        !known.contains_key("HOME"),
        exec.tty && !known.contains_key("TERM"),
    );
    if home {
        variables.push(("HOME".to_owned(), home_of(process.user().uid(), exec.pid)));
    }
    if term {
        variables.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    variables
}

/// The user's home directory by the container's own `/etc/passwd`.
fn home_of(uid: u32, pid: i32) -> String {
    let root = Directory::open(Path::new(&format!("/proc/{pid}/root")));
    let passwd = root
        .and_then(|root| root.read_head_in_root(Path::new("etc/passwd"), MAX_PASSWD_BYTES))
        .unwrap_or_default();
    String::from_utf8_lossy(&passwd)
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 6 && fields[2].parse() == Ok(uid) && !fields[5].is_empty())
        .map_or_else(|| "/".to_owned(), |fields| fields[5].to_owned())
}

fn execute(args: &[String], environment: &[(String, String)]) -> Result<(), String> {
    let program = args.first().ok_or("no command given")?;
    let strings = |all: &mut dyn Iterator<Item = String>| -> Result<Vec<CString>, String> {
        all.map(|text| CString::new(text).map_err(|_| "a string holds a NUL byte".to_owned()))
            .collect()
    };
    let argv = strings(&mut args.iter().cloned())?;
    let envp = strings(
        &mut environment
            .iter()
            .map(|(key, value)| format!("{key}={value}")),
    )?;
    let path = environment.iter().find(|(key, _)| key == "PATH");
    let path = path.map(|(_, value)| value.as_str());
    let failure = program::execute(program, path, |candidate| {
        let Err(error) = nix::unistd::execve(candidate, &argv, &envp);
        error
    });
    Err(match failure.reason {
        nix::Error::ENOENT if program.contains('/') => {
            format!("exec: {program:?}: stat {program}: no such file or directory")
        }
        nix::Error::ENOENT => format!("exec: {program:?}: executable file not found in $PATH"),
        nix::Error::EACCES => format!("exec: {program:?}: permission denied"),
        error => format!("exec: {program:?}: {}", error.desc()),
    })
}

#[cfg(test)]
mod tests {
    use super::below_container;

    #[test]
    fn groups_below_a_container_are_those_after_its_id() {
        let cases = [
            ("0::/knarr/pod/abc/init\n", Some("init")),
            (
                "4:memory:/x\n0::/knarr/pod/abc/system.slice/a\n",
                Some("system.slice/a"),
            ),
            ("0::/knarr/pod/abc\n", None),
            ("0::/knarr/pod/abcd/init\n", None),
            ("0::/knarr/pod/abc/../other\n", None),
            ("4:memory:/knarr/pod/abc/init\n", None),
        ];
        for (groups, wanted) in cases {
            assert_eq!(below_container(groups, "abc"), wanted, "{groups}");
        }
    }
}
