//! Messages. All times are nanoseconds since the epoch, all paths absolute in the host's mount namespace.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// File, in the sandbox's directory, that holds the [`SandboxSpec`].
pub const SANDBOX_SPEC_FILE: &str = "shim.json";
/// Socket, in the sandbox's directory, that the shim listens on.
pub const SOCKET_FILE: &str = "shim.sock";
/// File, in the container's bundle, that holds the [`ExitRecord`] once the container has ended.
pub const EXIT_FILE: &str = "exit.json";
/// File, in the container's bundle, that holds the pid and start time while it runs.
pub const STARTED_FILE: &str = "started.json";
/// A wait status of a process that a signal killed is reported as this plus the signal, as shells do.
pub const SIGNAL_EXIT_BASE: i32 = 128;

/// What the shim makes before it says that it is ready.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct SandboxSpec {
    pub id: String,
    /// `None` shares the host's name.
    pub hostname: Option<String>,
    pub new_net: bool,
    pub new_ipc: bool,
    /// One process namespace for all containers, whose PID 1 is the shim's own little init.
    pub shared_pid: bool,
    /// Where to bind-mount the network namespace (an existing empty file).
    pub netns_path: Option<PathBuf>,
    pub sysctls: BTreeMap<String, String>,
    /// `cgroup.procs` files the shim writes itself into.
    pub cgroup_procs: Vec<PathBuf>,
    /// Wanted `oom_score_adj` of the shim; what the host refuses is left as it was.
    pub oom_score_adj: i32,
    /// `None` has the host's users.
    #[serde(default)]
    pub users: Option<UserNamespace>,
}

/// Users and groups of a sandbox that are not the host's. Its other namespaces belong to them.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct UserNamespace {
    /// Where to bind-mount the namespace (an existing empty file).
    pub path: PathBuf,
    pub uids: IdMapping,
    pub gids: IdMapping,
}

/// A range of ids in a user namespace, and the one that it is on the host.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct IdMapping {
    pub container_id: u32,
    pub host_id: u32,
    pub length: u32,
}

impl IdMapping {
    /// What an id of the namespace is on the host; `None` where it is nothing.
    pub fn host(&self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.container_id)?;
        (offset < self.length)
            .then(|| self.host_id.checked_add(offset))
            .flatten()
    }
}

/// How to start a container whose OCI bundle is ready.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct StartSpec {
    pub id: String,
    /// Directory of `config.json`.
    pub bundle: PathBuf,
    /// CRI log file; `None` throws output away.
    pub log_path: Option<PathBuf>,
    pub stdin: bool,
    /// Close stdin when the first attached client leaves.
    pub stdin_once: bool,
    pub tty: bool,
    /// `memory.events` (v2) or `memory.oom_control` (v1), read when the container ends.
    pub oom_file: Option<PathBuf>,
    /// `cgroup.procs` of the container where its process namespace is not its own: whoever is left in it when the
    /// container's first process ends is killed.
    pub kill_list: Option<PathBuf>,
    /// `cgroup.procs` files a process joins to be inside the container's cgroup (used by exec).
    pub cgroup_procs: Vec<PathBuf>,
}

/// A further process in a running container.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct ExecSpec {
    pub id: String,
    pub exec_id: String,
    pub args: Vec<String>,
    /// With a terminal the response carries the pty's master and the request no descriptors; without one the request
    /// carries stdin, stdout and stderr, in this order.
    pub tty: bool,
}

/// Left behind by a container that has ended.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct ExitRecord {
    pub exit_code: i32,
    pub started_at: i64,
    pub finished_at: i64,
    pub oom_killed: bool,
}

/// What the shim knows of a container.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct ContainerState {
    pub id: String,
    pub pid: i32,
    pub started_at: i64,
    pub exit: Option<ExitRecord>,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub enum Request {
    /// Containers and pids.
    State,
    /// Makes and starts a container.
    Start(StartSpec),
    Exec(ExecSpec),
    /// To a container's first process, to an exec, or (`all`) to every process of a container that has its own cgroup.
    Kill {
        id: String,
        exec_id: Option<String>,
        signal: i32,
    },
    /// Forgets a container that has ended.
    Delete {
        id: String,
    },
    /// Opens the log file anew, after it was renamed.
    ReopenLog {
        id: String,
    },
    /// The response carries, of those that exist: stdin (write end), stdout, stderr (read ends), or the pty's master
    /// and its output.
    Attach {
        id: String,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
    /// Answered, then followed by [`Event`]s.
    Subscribe,
    /// Ends the shim. Refused while a container runs.
    Shutdown,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub enum Response {
    Ok,
    State {
        pid: i32,
        /// PID 1 of the shared process namespace.
        init_pid: Option<i32>,
        containers: Vec<ContainerState>,
    },
    Started {
        pid: i32,
        started_at: i64,
    },
    /// Which descriptors came with it, in order.
    Attached {
        fds: Vec<AttachedFd>,
    },
    Error {
        kind: ErrorKind,
        message: String,
    },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub enum AttachedFd {
    Stdin,
    Stdout,
    Stderr,
    /// The pty's master, for resizing and for input.
    Tty,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub enum ErrorKind {
    NotFound,
    /// The container is not in the state the request needs.
    State,
    /// The container's process could not be made or executed.
    Start,
    Version,
    Internal,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub enum Event {
    /// Also answered to who asked; a runtime that took over in between learns it by this.
    Started {
        id: String,
        pid: i32,
        started_at: i64,
    },
    Exited {
        id: String,
        exit: ExitRecord,
    },
    ExecExited {
        id: String,
        exec_id: String,
        exit_code: i32,
    },
}
