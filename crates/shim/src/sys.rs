//! Small wrappers of system calls.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::{ForkResult, Pid, dup2, fork, pipe2};

/// Opens the three standard descriptors on `/dev/null` where they are closed, so that no descriptor of ours ever gets
/// a number that a container's stdio is put on.
pub fn fill_standard_descriptors() -> io::Result<()> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        if file.as_raw_fd() > 2 {
            return Ok(());
        }
        std::mem::forget(file);
    }
}

/// Closes every descriptor but the standard ones and those in `kept`. For the shim's start, and for one-shot children, which inherit
/// all of the shim's: its clients, other containers' terminals and output.
pub fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd < first {
            continue;
        }
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: this process is about to become another program or to end, and uses what it has kept only.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Tells whoever started us on standard output that we are ready (`.`) or why not, then lets go of it.
pub fn report_ready(error: Option<&str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(error.unwrap_or(".").as_bytes())?;
    out.flush()?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2(null.as_raw_fd(), 1)?;
    Ok(())
}

/// Nanoseconds since the epoch.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_nanos() as i64)
}

/// Forks this single-threaded process; the child runs `body` and exits with what it returns.
pub fn fork_with(body: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: this program has one thread, so the child may run any code.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = body();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
    }
}

/// As [`fork_with`], in new namespaces, or (`CLONE_PARENT`) as a sibling.
pub fn clone_with(flags: libc::c_int, body: impl FnOnce() -> i32) -> io::Result<Pid> {
    let signal = if flags & libc::CLONE_PARENT == 0 {
        libc::SIGCHLD
    } else {
        0
    };
    // SAFETY: without CLONE_VM and with a null stack this is fork(2) with other flags; one thread, see `fork_with`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags | signal, 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = body();
            // SAFETY: as in `fork_with`.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}

/// A pipe, close-on-exec: (read end, write end).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe2(OFlag::O_CLOEXEC)?)
}

pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// `Ok(None)` when there is nothing to read yet.
pub fn read_some(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match nix::unistd::read(fd.as_fd().as_raw_fd(), buffer) {
        Ok(count) => Ok(Some(count)),
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(None),
        // What a pty's master says once every slave is closed.
        Err(nix::Error::EIO) => Ok(Some(0)),
        Err(error) => Err(error.into()),
    }
}

/// A path for `name` in `directory` that fits a socket address however long the directory's own path is.
fn short_path(directory: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

fn open_directory(directory: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(directory)
}

/// Binds a listening socket at `directory/name`, mode 0600, replacing what was there.
pub fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    let directory_file = open_directory(directory)?;
    match std::fs::remove_file(directory.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(short_path(&directory_file, name));
    nix::sys::stat::umask(old);
    listener
}

pub fn connect(directory: &Path, name: &str) -> io::Result<UnixStream> {
    UnixStream::connect(short_path(&open_directory(directory)?, name))
}

pub fn set_name(name: &CStr) {
    let _ = prctl::set_name(name);
}

/// Has others see this as the process's only argument, in `/proc` and by `ps`. For a child of a fork that looks at its own no more;
/// it keeps what it has where that is shorter.
pub fn set_command_line(text: &CStr) {
    let text = text.to_bytes_with_nul();
    let Some((start, length)) = arguments().filter(|(_, length)| *length >= text.len()) else {
        return;
    };
    let place = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the kernel has put the process's arguments there, into memory that is its own and can be written to; it is one thread
    // which has no reference into them.
    unsafe {
        place.write_bytes(0, length);
        place.copy_from_nonoverlapping(text.as_ptr(), text.len());
    }
}

/// Where the process's arguments are, and how long they are together.
fn arguments() -> Option<(usize, usize)> {
    // By proc_pid_stat(5) the 48th field and the next, of which the second is in brackets and may be anything.
    const AFTER_STATE: usize = 45;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(AFTER_STATE);
    let mut next = || fields.next()?.parse::<usize>().ok();
    let (start, end) = (next()?, next()?);
    Some((start, end.checked_sub(start)?)).filter(|_| start != 0)
}

/// Takes ownership of a descriptor that a system call has just returned.
///
/// # Safety
/// `fd` is open and owned by nobody else.
pub unsafe fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// In a one-shot child: no signal blocked, none ignored, so that the program that it becomes starts afresh.
pub fn reset_signals() {
    let _ = SigSet::empty().thread_set_mask();
    // SAFETY: sets a default disposition; no handler of ours exists.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}

/// The other end of a terminal, wherever `/dev/pts` may point.
pub fn terminal_of(master: &impl AsRawFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the request takes flags, and opens a descriptor that is nobody else's.
    let fd = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    Ok(unsafe { own(fd) })
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;

    #[test]
    fn a_child_shows_other_arguments_than_its_parent() {
        let own = || std::fs::read("/proc/self/cmdline").unwrap_or_default();
        let before = own();
        let child = clone_with(0, || {
            set_command_line(c"/pause");
            let line = own();
            let rest = line.strip_prefix(b"/pause");
            i32::from(!rest.is_some_and(|rest| rest.iter().all(|byte| *byte == 0)))
        });
        let child = child.expect("a child");
        assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
        assert_eq!(own(), before);
    }
}
