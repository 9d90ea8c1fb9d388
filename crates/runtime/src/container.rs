//! Containers of a sandbox, from their record to their removal.

mod create;
mod run;
mod update;

pub(crate) use create::{dispose, remove_bundle};
pub(crate) use run::fail as run_failed;

use std::collections::HashMap;
use std::path::PathBuf;

use knarr_shim::protocol::ExitRecord;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::records::ContainerRecord;
use crate::snapshot::Snapshot;
use crate::stats::Written;

/// A container whose record is on disk.
pub struct Container {
    pub record: ContainerRecord,
    /// The bundle.
    pub directory: PathBuf,
    /// One operation at a time. Not held while a stop waits for the container's end.
    pub operation: tokio::sync::Mutex<()>,
    pub status: Mutex<Status>,
    pub written: Written,
    /// True once it has ended.
    ended: watch::Sender<bool>,
    /// Who waits for the end of an exec.
    execs: Mutex<HashMap<String, oneshot::Sender<i32>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Created,
    Running,
    Exited,
}

#[derive(Debug, Clone)]
pub struct Status {
    pub phase: Phase,
    pub pid: i32,
    pub started_at: i64,
    pub finished_at: i64,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
    /// As last updated; the record has what it was made with.
    pub resources: Option<knarr_cri::v1::LinuxContainerResources>,
}

impl Container {
    pub fn new(record: ContainerRecord, directory: PathBuf) -> Self {
        let resources = record
            .config
            .linux
            .as_ref()
            .and_then(|linux| linux.resources.clone());
        Self {
            record,
            directory,
            operation: tokio::sync::Mutex::new(()),
            status: Mutex::new(Status {
                phase: Phase::Created,
                pid: 0,
                started_at: 0,
                finished_at: 0,
                exit_code: 0,
                reason: String::new(),
                message: String::new(),
                resources,
            }),
            written: Written::default(),
            ended: watch::Sender::new(false),
            execs: Mutex::new(HashMap::new()),
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.directory)
    }

    /// Takes note of the start; false when it was known.
    pub fn running(&self, pid: i32, started_at: i64) -> bool {
        let mut status = self.status.lock();
        if status.phase != Phase::Created {
            return false;
        }
        status.phase = Phase::Running;
        status.pid = pid;
        status.started_at = started_at;
        true
    }

    /// Takes note of the end; false when it was known.
    pub fn exited(&self, exit: &ExitRecord) -> bool {
        let reason = match exit {
            ExitRecord {
                oom_killed: true, ..
            } => "OOMKilled",
            ExitRecord { exit_code: 0, .. } => "Completed",
            _ => "Error",
        };
        self.end(exit, reason, "")
    }

    /// As [`Self::exited`], for an end with a reason of its own.
    pub fn end(&self, exit: &ExitRecord, reason: &str, message: &str) -> bool {
        {
            let mut status = self.status.lock();
            if status.phase == Phase::Exited {
                return false;
            }
            status.phase = Phase::Exited;
            status.started_at = exit.started_at;
            status.finished_at = exit.finished_at;
            status.exit_code = exit.exit_code;
            reason.clone_into(&mut status.reason);
            message.clone_into(&mut status.message);
        }
        self.execs.lock().clear();
        self.ended.send_replace(true);
        true
    }

    /// Resolves when the container has ended.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.ended.subscribe();
        async move {
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    pub fn expect_exec(&self, exec_id: String) -> oneshot::Receiver<i32> {
        let (sender, receiver) = oneshot::channel();
        self.execs.lock().insert(exec_id, sender);
        receiver
    }

    pub fn forget_exec(&self, exec_id: &str) {
        self.execs.lock().remove(exec_id);
    }

    pub fn exec_exited(&self, exec_id: &str, code: i32) {
        if let Some(waiting) = self.execs.lock().remove(exec_id) {
            let _ = waiting.send(code);
        }
    }
}
