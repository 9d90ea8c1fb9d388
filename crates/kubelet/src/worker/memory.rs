//! What a worker remembers between steps. All of it can be lost: after a restart it is empty, and the runtime's
//! labels and the API object say the rest.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::admission::Rejection;
use crate::{backoff::Backoff, volume::Mounted};

/// Why a container is not running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub reason: String,
    pub message: String,
}

/// What probes found of one running container; `None` until they know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    pub started: Option<bool>,
    pub ready: Option<bool>,
}

#[derive(Default)]
pub(crate) struct Memory {
    /// By container name.
    pub waiting: HashMap<String, Waiting>,
    /// Restart hold-off by container name.
    pub backoff: HashMap<String, Backoff>,
    /// Containers whose last start failed before they ran: not before this.
    pub retry_at: HashMap<String, Instant>,
    /// The sandbox or the volumes failed: nothing is tried before this.
    pub pod_retry_at: Option<Instant>,
    /// How often in a row they failed.
    pub pod_failures: u32,
    /// Ids of containers whose postStart hook is running.
    pub hooks: HashSet<String>,
    /// By container id.
    pub health: HashMap<String, Health>,
    /// Containers that failed a probe, by id.
    pub pending_kills: HashMap<String, PendingKill>,
    /// Containers that were killed to be started again, by id, for as long as the runtime knows them.
    pub killed: HashMap<String, Cause>,
    /// When containers ended, by id, on a clock that nobody sets.
    pub ended: HashMap<String, Instant>,
    pub volumes: Option<Mounted>,
    /// The node cannot give the pod what it was to have.
    pub rejected: Option<Rejection>,
    pub resize: Resize,
    /// All containers are being removed, to be started anew.
    pub restarting_all: bool,
    /// The next attempt of containers that were removed for that, by name.
    pub attempts: HashMap<String, u32>,
}

/// A change of the pod's resources that is not over.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resize {
    /// It has not been promised.
    pub pending: Option<Condition>,
    /// It has, and containers do not have it yet.
    pub progress: Option<Condition>,
    /// The last try to give it to them failed: not before this.
    pub retry_at: Option<Instant>,
}

/// What a condition of a change says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub reason: String,
    pub message: String,
    /// Of the pod's specification that asked for it.
    pub generation: Option<i64>,
    /// When it came to be so, for this reason.
    pub since: Timestamp,
}

/// Why a running container is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Probe,
    /// Its image changed.
    Definition,
    /// Its resources changed, and it asks to be started anew for that.
    Resize,
}

/// A container that is to be killed, and started again where its pod restarts what fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingKill {
    /// What of it failed: `liveness probe`.
    pub failed: String,
    /// The probe's own grace period in seconds.
    pub grace: Option<i64>,
}

/// The memory, shared by a worker with its tasks, and the bell that makes the worker look at it.
#[derive(Clone, Default)]
pub(crate) struct WorkerState {
    memory: Arc<Mutex<Memory>>,
    bell: Arc<Notify>,
}

impl WorkerState {
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Memory) -> T) -> T {
        read(&self.memory.lock())
    }

    /// Changes the memory and wakes the worker.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut Memory) -> T) -> T {
        let result = write(&mut self.memory.lock());
        self.bell.notify_one();
        result
    }

    /// Changes the memory; the worker itself does so.
    pub(crate) fn edit<T>(&self, write: impl FnOnce(&mut Memory) -> T) -> T {
        write(&mut self.memory.lock())
    }

    /// Rings.
    pub(crate) fn bell(&self) -> &Arc<Notify> {
        &self.bell
    }
}
