//! PID 1 of a process namespace that a pod's containers share: reaps what they orphan, and does nothing else.

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys;

/// Runs until it is killed from outside, which ends the namespace.
pub fn run() -> i32 {
    sys::set_name(c"pause");
    // The shim's death must not leave a namespace that nobody can name.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = prctl::set_dumpable(false);
    // SAFETY: closes all that was inherited, the pipe that whoever started the shim reads to its end among it; nothing
    // in this process uses a descriptor again.
    unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    loop {
        while !matches!(
            waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)),
            Ok(WaitStatus::StillAlive) | Err(_)
        ) {}
        // SIGCHLD is blocked since before the fork, so one that came in the meantime is pending and ends this wait.
        let _ = children.wait();
    }
}
