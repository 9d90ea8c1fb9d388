//! What is decided from and about: nodes with their pods, and the pods that wait. A change of one wakes the other.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

use crate::{
    config::Backoff,
    framework::{Change, ClusterEvent, DeviceEvent, Profiles, VolumeEvent},
    plugins::default_preemption::{self, Nomination},
    pod_info::PodInfo,
    queue::Queue,
    snapshot::{Freed, Snapshot},
};

#[derive(Default)]
pub struct State {
    pub snapshot: Snapshot,
    pub queue: Queue,
    /// The slot of the node that the next pod looks at first.
    pub next_node: usize,
}

impl State {
    pub fn new(backoff: Backoff) -> Self {
        Self {
            queue: Queue::new(backoff),
            ..Self::default()
        }
    }

    /// Takes over a node's state and wakes the pods that its change helps. Whether there are any.
    pub fn set_node(&mut self, profiles: &Profiles, node: &Arc<Node>) -> bool {
        let (before, changes) = self.snapshot.set_node(node);
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let Some(info) = self.snapshot.node(name) else {
            return false;
        };
        let mut woken = false;
        for change in changes {
            let event = ClusterEvent {
                nominated: self.snapshot.nominated.to(name),
                ..ClusterEvent::of_node(change, info, before.as_deref())
            };
            woken |= self.queue.wake(profiles, &event);
        }
        woken
    }

    /// Forgets a node that is gone and wakes the pods that this helps. Whether there are any.
    pub fn remove_node(&mut self, profiles: &Profiles, node: &Node) -> bool {
        let Some(was) = self.snapshot.remove_node(node) else {
            return false;
        };
        let event = ClusterEvent::of_node(Change::NodeRemoved, &was, None);
        self.queue.wake(profiles, &event)
    }

    /// Takes over a bound pod, and wakes the pods that it helps: by being there, by labels that it has now, and by what it
    /// takes less than it did (it was made smaller, or was assumed on another node). Whether there are any.
    pub fn set_pod(&mut self, profiles: &Profiles, pod: Arc<PodInfo>) -> bool {
        self.queue.remove(&pod.uid);
        let nominated = self.snapshot.nominated.remove(&pod.uid);
        let nominated = nominated.map(|(pod, node)| Freed { node, pod });
        let assumed = self.snapshot.is_assumed(&pod.uid);
        let before = self.snapshot.set_pod(pod.clone());
        let Some(node) = pod.node_name() else {
            return false;
        };
        let (moved, smaller, labels) = match &before {
            Some(Freed {
                node: was,
                pod: old,
            }) => (
                was != node,
                old.requests != pod.requests || old.host_ports != pod.host_ports,
                (old.labels != pod.labels).then(|| old.clone()),
            ),
            None => (true, false, None),
        };
        let mut woken = false;
        if moved || assumed {
            woken |= self.pod_event(profiles, node, Change::PodAdded, &pod, None);
        } else if let Some(old) = &labels {
            woken |= self.pod_event(profiles, node, Change::PodLabels, &pod, Some(old));
        }
        if let Some(freed) = before.filter(|_| moved || smaller) {
            woken |= self.wake(profiles, &freed);
        }
        if let Some(freed) = nominated.filter(|freed| freed.node != node) {
            woken |= self.wake(profiles, &freed);
        }
        woken
    }

    /// Takes over a pod that waits; `old`: where its status said before that it is nominated to. One that is nominated there
    /// no longer wakes the pods that its room helps. One that is being bound counts on its node already.
    pub fn set_waiting(&mut self, profiles: &Profiles, old: Option<&str>, pod: Arc<PodInfo>) {
        let assumed = self.snapshot.is_assumed(&pod.uid);
        let freed = match assumed {
            true => None,
            false => self.snapshot.nominated.update(old, &pod),
        };
        self.queue.set(pod);
        if let Some((pod, node)) = freed {
            self.wake(profiles, &Freed { node, pod });
        }
    }

    /// Counts a pod on the node chosen for it. Room that it held elsewhere wakes the pods that it helps.
    pub fn assume(&mut self, profiles: &Profiles, pod: Arc<PodInfo>, node: &str) {
        let nominated = self.snapshot.assume(pod, node);
        if let Some(freed) = nominated.filter(|freed| freed.node != node) {
            self.wake(profiles, &freed);
        }
    }

    /// Notes what becomes of a pod's nomination. Pods of lower priority that are nominated to its node lose theirs, and are
    /// tried again at once; they are returned.
    pub fn nominate(
        &mut self,
        profiles: &Profiles,
        pod: &Arc<PodInfo>,
        nomination: &Nomination,
    ) -> Vec<Arc<PodInfo>> {
        match nomination {
            Nomination::Unchanged => Vec::new(),
            Nomination::Cleared => {
                if let Some((pod, node)) = self.snapshot.nominated.remove(&pod.uid) {
                    self.wake(profiles, &Freed { node, pod });
                }
                Vec::new()
            }
            Nomination::To(node) => {
                let lower = |other: &&Arc<PodInfo>| other.priority < pod.priority;
                let there = self.snapshot.nominated.to(node).iter();
                let displaced: Vec<_> = there.filter(lower).cloned().collect();
                let before = self.snapshot.nominated.remove(&pod.uid);
                for other in &displaced {
                    self.snapshot.nominated.remove(&other.uid);
                    self.queue.retry(&other.uid);
                }
                self.snapshot.nominated.set(pod.clone(), node);
                // What they held beyond what this one holds is free.
                let there = displaced.iter().map(|other| (other.clone(), node.clone()));
                let elsewhere = before.filter(|(_, was)| was != node);
                for (pod, node) in there.chain(elsewhere) {
                    self.wake(profiles, &Freed { node, pod });
                }
                displaced
            }
        }
    }

    /// Forgets a pod that is gone and wakes the pods that its room helps. Whether there are any.
    pub fn remove_pod(&mut self, profiles: &Profiles, uid: &str) -> bool {
        self.queue.remove(uid);
        let nominated = self.snapshot.nominated.remove(uid);
        let nominated = nominated.map(|(pod, node)| Freed { node, pod });
        let freed = self.snapshot.remove_pod(uid);
        let mut woken = false;
        for freed in freed.into_iter().chain(nominated) {
            woken |= self.wake(profiles, &freed);
        }
        woken
    }

    /// Undoes an assumption and has the pod tried again; nothing if an informer has said meanwhile where the pod is, or that
    /// it is gone.
    pub fn forget(&mut self, profiles: &Profiles, pod: &PodInfo, now: Instant) {
        if let Some(freed) = self.snapshot.forget(&pod.uid) {
            self.wake(profiles, &freed);
            self.queue.failed(pod, now);
        }
    }

    /// Wakes the pods that a change of claims, volumes or classes helps. Whether there are any.
    pub fn volumes_changed(&mut self, profiles: &Profiles, event: &VolumeEvent<'_>) -> bool {
        self.queue.wake_by_volume(profiles, event)
    }

    /// Wakes the pods that a change of claims of devices, slices or classes helps. Whether there are any.
    pub fn devices_changed(&mut self, profiles: &Profiles, event: &DeviceEvent<'_>) -> bool {
        self.queue.wake_by_device(profiles, event)
    }

    /// A pod has left a node. Those nominated to it are tried at once if nobody has to end for them any more.
    fn wake(&mut self, profiles: &Profiles, freed: &Freed) -> bool {
        let woken = self.pod_event(profiles, &freed.node, Change::PodRemoved, &freed.pod, None);
        let Some(node) = self.snapshot.node(&freed.node) else {
            return woken;
        };
        let nominated = self.snapshot.nominated.to(&freed.node).iter();
        let mut tried = false;
        for pod in nominated.filter(|pod| !default_preemption::waits_for(pod, node)) {
            tried |= self.queue.retry(&pod.uid);
        }
        woken || tried
    }

    fn pod_event(
        &mut self,
        profiles: &Profiles,
        node: &str,
        change: Change,
        pod: &PodInfo,
        before: Option<&PodInfo>,
    ) -> bool {
        let node = self.snapshot.node(node);
        let Some(node) = node.filter(|node| node.node.is_some()) else {
            return false;
        };
        let event = ClusterEvent {
            nominated: self.snapshot.nominated.to(node.name()),
            pod_before: before,
            ..ClusterEvent::of_pod(change, node, pod)
        };
        self.queue.wake(profiles, &event)
    }
}
