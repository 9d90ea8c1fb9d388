//! What is made before the shim says that it is ready.
//!
//! The shim itself lives in the sandbox's network, IPC and UTS namespaces: holding them needs no further process, and
//! what it forks is born there. Unix sockets with a path, /proc and the mount table are the host's all the same.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use knarr_shim::protocol::{SANDBOX_SPEC_FILE, SandboxSpec};
use nix::mount::{MsFlags, mount};
use nix::sched::unshare;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, sethostname, setsid};

use crate::{own, sys, users};

/// The made sandbox.
pub struct Ready {
    /// PID 1 of the shared process namespace, where there is one.
    pub init_pid: Option<Pid>,
    pub signals: SignalFd,
}

#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct SetupError {
    what: &'static str,
    source: io::Error,
}

fn at(what: &'static str) -> impl FnOnce(io::Error) -> io::Error {
    move |source| io::Error::other(SetupError { what, source })
}

fn nix_at(what: &'static str) -> impl FnOnce(nix::Error) -> io::Error {
    move |source| at(what)(source.into())
}

pub fn run(directory: &Path) -> io::Result<Ready> {
    sys::fill_standard_descriptors()?;
    // Whatever its starter had open by mistake is nothing that lives as long as a pod.
    sys::close_all_but(&[]).map_err(at("close inherited descriptors"))?;
    sys::set_name(c"knarr-shim");
    let _ = setsid();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    std::env::set_current_dir("/")?;
    let spec = fs::read(directory.join(SANDBOX_SPEC_FILE))
        .map_err(at("read the sandbox's description"))?;
    let spec: SandboxSpec = serde_json::from_slice(&spec)
        .map_err(io::Error::other)
        .map_err(at("read the sandbox's description"))?;
    for procs in &spec.cgroup_procs {
        fs::write(procs, "0").map_err(at("join the sandbox's cgroup"))?;
    }
    // Best effort: lowering it needs CAP_SYS_RESOURCE, and the runtime has said so already.
    let _ = fs::write("/proc/self/oom_score_adj", spec.oom_score_adj.to_string());
    prctl::set_child_subreaper(true).map_err(nix_at("become a subreaper"))?;
    let signals = block_signals()?;
    let init_pid = match &spec.users {
        Some(mapped) => {
            let init_pid = users::enter(&spec, mapped)
                .map_err(at("make namespaces of the pod's own users"))?;
            finish_namespaces(&spec)?;
            init_pid
        }
        None => {
            unshare(own::namespaces(&spec)).map_err(nix_at("make the sandbox's namespaces"))?;
            finish_namespaces(&spec)?;
            own::set_sysctls(&spec).map_err(at("set a sysctl"))?;
            own::start_init(&spec, 0).map_err(at("start the init process"))?
        }
    };
    Ok(Ready { init_pid, signals })
}

/// SIGCHLD arrives by descriptor. Signals that would end a process that a terminal or a service manager tidies up
/// are not for us: only the runtime ends a shim.
fn block_signals() -> io::Result<SignalFd> {
    let mut blocked = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGPIPE,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
    ] {
        blocked.add(signal);
    }
    blocked.thread_block().map_err(nix_at("block signals"))?;
    SignalFd::with_flags(&blocked, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(nix_at("open a signalfd"))
}

/// Gives namespaces what they have from the start.
fn finish_namespaces(spec: &SandboxSpec) -> io::Result<()> {
    if let Some(hostname) = &spec.hostname {
        sethostname(hostname).map_err(nix_at("set the host name"))?;
    }
    if spec.new_net {
        raise_loopback().map_err(at("bring up the loopback interface"))?;
    }
    if let Some(path) = &spec.netns_path {
        mount(
            Some("/proc/self/ns/net"),
            path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .map_err(nix_at("bind the network namespace"))?;
    }
    Ok(())
}

fn raise_loopback() -> io::Result<()> {
    // SAFETY: plain socket(2); the descriptor is ours.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request outlives the call and its name is NUL-terminated.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
