//! What the API is told of containers while the worker kills and starts some.
//!
//! Upstream's kubelet writes a pod's status when it begins to act on the pod, and not again before it has (`SyncPod` in
//! `pkg/kubelet/kubelet.go`): a container that is replaced stays as it was until its successor runs, and one that starts waits until its
//! hook has run. Only what comes from elsewhere is told meanwhile: that the sandbox is ready (`OnPodSandboxReady`), with its addresses,
//! and what probes find.

use std::{collections::HashMap, sync::Arc};

use super::{Done, Stage, Worker, memory::Waiting};
use crate::{allocation::Record, observed::View};

/// Everything that a worker's actions change of what is told of containers.
pub(super) struct Settled {
    view: Arc<View>,
    /// Why containers do not run, by name.
    pub waiting: HashMap<String, Waiting>,
    /// What it and its containers were given.
    pub record: Record,
}

impl Settled {
    /// Whether the container with this id is told of.
    pub(super) fn has(&self, id: &str) -> bool {
        self.view.containers.iter().any(|c| c.id == id)
    }

    /// The containers as they were, in the sandboxes that there are.
    pub(super) fn view(&self, now: &Arc<View>) -> Arc<View> {
        if Arc::ptr_eq(&self.view, now) {
            return now.clone();
        }
        Arc::new(View {
            sandboxes: now.sandboxes.clone(),
            containers: self.view.containers.clone(),
        })
    }
}

impl Worker {
    /// What is told of containers when nothing is done to them.
    pub(super) fn present(&self, view: &Arc<View>) -> Settled {
        let record = self.ctx.allocations.record(&self.uid);
        Settled {
            view: view.clone(),
            waiting: self.state.read(|memory| memory.waiting.clone()),
            record: record.unwrap_or_default(),
        }
    }

    /// Whether containers are being killed or started. A pod that is to end is told of as it is.
    pub(super) fn acts(&self) -> bool {
        self.stage == Stage::Active && (self.start.is_some() || !self.killing.is_empty())
    }

    /// What was done is told when it has come to its end. A kill alone has not: what takes the container's place may be started by
    /// the next step.
    pub(super) fn tell_after(&mut self, done: &Done) {
        if matches!(done, Done::Started | Done::Kill(_, Err(_))) {
            self.settled = None;
        }
    }
}
