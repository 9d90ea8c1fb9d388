//! PID 1 of a process namespace that a pod's containers share: reaps what they orphan, and does nothing else.
//!
//! Containers see it in `/proc`, and one that may trace processes reaches what it has and does what it may: so it has nothing and may
//! nothing. Before any container is there it leaves the host's file systems for an empty one, and its rights for a user's who has
//! none, as the pause of upstream's images.

use std::io::Write;
use std::os::unix::net::UnixStream;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, chdir, pivot_root, setgroups, setresgid, setresuid};

use crate::sys;

/// What it says when it has left the host's file systems.
pub const READY: &[u8] = b".";
/// Where its own file system is put together: a directory that every host has.
const STAGE: &str = "/dev/pts";
/// Upstream's pause is this user. Users that are a pod's own have it as well.
const NOBODY: u32 = 65_535;

/// Runs until it is killed from outside, which ends the namespace. Says [`READY`] once containers may see it; ends at once where
/// it cannot leave the host's file systems.
pub fn run(told: &UnixStream) -> i32 {
    sys::set_name(c"pause");
    // The shim's own would tell every container where the node keeps the sandbox.
    sys::set_command_line(c"/pause");
    if leave_the_host().and_then(|()| become_nobody()).is_err() {
        return 1;
    }
    // The shim's death must not leave a namespace that nobody can name.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = prctl::set_dumpable(false);
    if (&*told).write_all(READY).is_err() {
        return 1;
    }
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

/// Moves to an empty file system that cannot be written to, in a mount namespace that has nothing else.
fn leave_the_host() -> nix::Result<()> {
    let nothing = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let (kind, options) = (Some("tmpfs"), Some("mode=555,size=4k"));
    mount(kind, STAGE, kind, flags, options)?;
    chdir(STAGE)?;
    // The old root lies over the new one then, and goes.
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    let read_only = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(nothing, "/", nothing, read_only, nothing)
}

/// A user without capabilities, who gets none either.
fn become_nobody() -> nix::Result<()> {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    prctl::set_no_new_privs()
}
