//! What a sandbox has of its own from the start, whoever its users are.

use std::fs;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use knarr_host::sysctl;
use knarr_shim::protocol::SandboxSpec;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::{init, sys};

/// Starts PID 1 of a shared process namespace, if the sandbox has one.
pub fn start_init(spec: &SandboxSpec, flags: libc::c_int) -> io::Result<Option<Pid>> {
    if !spec.shared_pid {
        return Ok(None);
    }
    let (ours, theirs) = UnixStream::pair()?;
    let init = sys::clone_with(libc::CLONE_NEWPID | flags, || init::run(&theirs))?;
    drop(theirs);
    let mut told = [0; init::READY.len()];
    (&ours)
        .read_exact(&mut told)
        .map_err(|_| io::Error::other("it cannot leave the host's file systems"))?;
    Ok(Some(init))
}

/// Only those of namespaces that are the sandbox's own, whoever has allowed them: all others are the host's.
pub fn set_sysctls(spec: &SandboxSpec) -> io::Result<()> {
    let shared = sysctl::Shared {
        net: !spec.new_net,
        ipc: !spec.new_ipc,
        uts: spec.hostname.is_none(),
        user: spec.users.is_none(),
    };
    for (name, value) in &spec.sysctls {
        sysctl::check_isolated(name, shared).map_err(io::Error::other)?;
        let file = sysctl::file(name)
            .ok_or_else(|| io::Error::other(format!("{name:?} is no sysctl's name")))?;
        fs::write(&file, value)
            .map_err(|error| io::Error::other(format!("write {}: {error}", file.display())))?;
    }
    Ok(())
}

/// Those that the shim lives in.
pub fn namespaces(spec: &SandboxSpec) -> CloneFlags {
    let mut flags = CloneFlags::empty();
    flags.set(CloneFlags::CLONE_NEWNET, spec.new_net);
    flags.set(CloneFlags::CLONE_NEWIPC, spec.new_ipc);
    flags.set(CloneFlags::CLONE_NEWUTS, spec.hostname.is_some());
    flags
}
