//! What the runtime says of every pod: the one place where runtime state is kept.
//!
//! Three writers feed it: the runtime's event stream, a full listing (at start, when the stream breaks, and every
//! second for runtimes without events), and workers, which read back what they have just done so that a plan never
//! misses its own effect. Since these race, merging is monotonic: a container goes from created to running to
//! exited and never back, a sandbox from ready to not ready, and only a deletion or a full listing removes one.
//! Each pod's view is a watch channel: workers and log followers wake on a change and on nothing else.

mod relists;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use knarr_cri::{tonic, v1};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::relists::Relists;
use crate::{
    labels,
    runtime::{Result, Runtime, RuntimeEvents},
};

/// Between two listings of a runtime that has no event stream; upstream's relist period.
const RELIST_PERIOD: Duration = Duration::from_secs(1);
/// Before the stream of a runtime that went away is opened again.
const RECONNECT_PERIOD: Duration = Duration::from_millis(200);
/// Statuses asked for at the same time by a listing.
const STATUS_CONCURRENCY: usize = 8;

/// One pod as the runtime has it. What is newer is so by its attempt number: a clock may be set back.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    /// Newest first.
    pub sandboxes: Vec<v1::PodSandboxStatus>,
    /// Newest first.
    pub containers: Vec<v1::ContainerStatus>,
}

impl View {
    /// The newest sandbox.
    pub(crate) fn sandbox(&self) -> Option<&v1::PodSandboxStatus> {
        self.sandboxes.first()
    }

    /// Containers of that name, newest first.
    pub(crate) fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a v1::ContainerStatus> {
        self.containers
            .iter()
            .filter(move |c| labels::container_name(c) == name)
    }

    /// The container's newest instance.
    pub(crate) fn newest(&self, name: &str) -> Option<&v1::ContainerStatus> {
        self.containers
            .iter()
            .find(|c| labels::container_name(c) == name)
    }

    /// Containers that have a process.
    pub(crate) fn running(&self) -> impl Iterator<Item = &v1::ContainerStatus> {
        self.containers
            .iter()
            .filter(|c| c.state() == v1::ContainerState::ContainerRunning)
    }

    /// The sandbox's addresses, primary first.
    pub(crate) fn ips(&self) -> Vec<String> {
        let Some(network) = self.sandbox().and_then(|s| s.network.as_ref()) else {
            return Vec::new();
        };
        let more = network.additional_ips.iter().map(|ip| ip.ip.clone());
        std::iter::once(network.ip.clone())
            .chain(more)
            .filter(|ip| !ip.is_empty())
            .collect()
    }

    fn put_sandbox(&mut self, new: v1::PodSandboxStatus) {
        match self.sandboxes.iter_mut().find(|s| s.id == new.id) {
            Some(old) if old.state > new.state => {}
            Some(old) => *old = new,
            None => self.sandboxes.push(new),
        }
        self.sandboxes.sort_by_key(|s| {
            std::cmp::Reverse((s.metadata.as_ref().map(|m| m.attempt), s.created_at))
        });
    }

    fn put_container(&mut self, new: v1::ContainerStatus) {
        match self.containers.iter_mut().find(|c| c.id == new.id) {
            Some(old) if old.state > new.state => {}
            Some(old) => *old = new,
            None => self.containers.push(new),
        }
        self.containers
            .sort_by_key(|c| std::cmp::Reverse((labels::restart_count(c), c.created_at)));
    }
}

/// The views of all pods.
#[derive(Clone)]
pub(crate) struct Observed {
    runtime: Runtime,
    /// Whose sandboxes and containers are looked at: the runtime may have others'.
    owner: Arc<str>,
    pods: Arc<Mutex<HashMap<String, watch::Sender<Arc<View>>>>>,
    turned: Arc<Notify>,
    relists: Arc<Mutex<Relists>>,
}

impl Observed {
    pub(crate) fn new(runtime: Runtime, owner: &str) -> Self {
        Self {
            runtime,
            owner: owner.into(),
            pods: Arc::default(),
            turned: Arc::default(),
            relists: Arc::default(),
        }
    }

    /// Waits until the runtime no longer answers, or does again.
    pub(crate) async fn runtime_turned(&self) {
        self.turned.notified().await;
    }

    /// The pod's view and its changes; empty for pods the runtime does not know.
    pub(crate) fn subscribe(&self, uid: &str) -> watch::Receiver<Arc<View>> {
        let mut pods = self.pods.lock();
        pods.entry(uid.to_owned())
            .or_insert_with(|| watch::Sender::new(Arc::default()))
            .subscribe()
    }

    /// The pod's view now.
    pub(crate) fn view(&self, uid: &str) -> Arc<View> {
        self.pods
            .lock()
            .get(uid)
            .map(|pod| pod.borrow().clone())
            .unwrap_or_default()
    }

    /// Pods that have a sandbox or a container.
    pub(crate) fn uids(&self) -> Vec<String> {
        let pods = self.pods.lock();
        let known = pods
            .iter()
            .filter(|(_, pod)| **pod.borrow() != View::default());
        known.map(|(uid, _)| uid.clone()).collect()
    }

    /// Drops a pod whose sandboxes are removed.
    pub(crate) fn forget(&self, uid: &str) {
        self.pods.lock().remove(uid);
    }

    fn change(&self, uid: &str, change: impl FnOnce(&mut View)) {
        let mut pods = self.pods.lock();
        let pod = pods
            .entry(uid.to_owned())
            .or_insert_with(|| watch::Sender::new(Arc::default()));
        pod.send_if_modified(|view| {
            let mut next = View::clone(view);
            change(&mut next);
            let changed = next != **view;
            if changed {
                *view = Arc::new(next);
            }
            changed
        });
    }

    /// Reads a sandbox back after an operation on it.
    pub(crate) async fn refresh_sandbox(&self, uid: &str, id: &str) -> Result<()> {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        match self.runtime.pod_sandbox_status(request).await {
            Ok(response) => {
                if let Some(status) = response.status {
                    self.change(uid, |view| view.put_sandbox(status));
                }
                Ok(())
            }
            Err(error) if error.is_not_found() => {
                self.change(uid, |view| view.sandboxes.retain(|s| s.id != id));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a container back after an operation on it.
    pub(crate) async fn refresh_container(&self, uid: &str, id: &str) -> Result<()> {
        let request = v1::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        match self.runtime.container_status(request).await {
            Ok(response) => {
                if let Some(status) = response.status {
                    self.change(uid, |view| view.put_container(status));
                }
                Ok(())
            }
            Err(error) if error.is_not_found() => {
                self.remove_container(uid, id);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Records that a container is gone.
    pub(crate) fn remove_container(&self, uid: &str, id: &str) {
        self.change(uid, |view| view.containers.retain(|c| c.id != id));
    }

    /// Records that a sandbox and its containers are gone.
    pub(crate) fn remove_sandbox(&self, uid: &str, id: &str) {
        self.change(uid, |view| view.sandboxes.retain(|s| s.id != id));
    }

    /// Lists everything and replaces all views by what is there; only what changed is asked for in detail.
    pub(crate) async fn relist(&self) -> Result<()> {
        let began = tokio::time::Instant::now();
        let listed = self.list_all().await;
        self.relists.lock().count(began);
        listed
    }

    /// Writes the metrics of full listings.
    pub(crate) fn write_relists(&self, text: &mut crate::stats::Text) {
        self.relists.lock().write(text);
    }

    async fn list_all(&self) -> Result<()> {
        // Sandboxes first: one that is made meanwhile is then seen without its containers, never the reverse.
        let sandboxes = self
            .runtime
            .list_pod_sandbox(v1::ListPodSandboxRequest { filter: None })
            .await?;
        let containers = self
            .runtime
            .list_containers(v1::ListContainersRequest { filter: None })
            .await?;
        let known = self.known();
        let mut asked = Vec::new();
        let mut seen = HashSet::new();
        for sandbox in &sandboxes.items {
            let Some(uid) = labels::pod_uid(&sandbox.labels, &self.owner) else {
                continue;
            };
            seen.insert(sandbox.id.clone());
            if known.get(&sandbox.id) != Some(&(uid.to_owned(), sandbox.state)) {
                asked.push((uid.to_owned(), sandbox.id.clone(), true));
            }
        }
        for container in &containers.containers {
            let Some(uid) = labels::pod_uid(&container.labels, &self.owner) else {
                continue;
            };
            seen.insert(container.id.clone());
            if known.get(&container.id) != Some(&(uid.to_owned(), container.state)) {
                asked.push((uid.to_owned(), container.id.clone(), false));
            }
        }
        futures::stream::iter(asked)
            .map(|(uid, id, sandbox)| async move {
                if sandbox {
                    self.refresh_sandbox(&uid, &id).await
                } else {
                    self.refresh_container(&uid, &id).await
                }
            })
            .buffer_unordered(STATUS_CONCURRENCY)
            .for_each(|result| async move {
                if let Err(error) = result {
                    tracing::warn!(%error, "cannot read a status back");
                }
            })
            .await;
        // Only what was known before the listing may be missed by it: newer things were made after it.
        for (id, (uid, _)) in known {
            if !seen.contains(&id) {
                self.remove_container(&uid, &id);
                self.remove_sandbox(&uid, &id);
            }
        }
        Ok(())
    }

    /// Pod and state of every sandbox and container by id.
    fn known(&self) -> HashMap<String, (String, i32)> {
        let mut known = HashMap::new();
        for (uid, pod) in self.pods.lock().iter() {
            let view = pod.borrow();
            for sandbox in &view.sandboxes {
                known.insert(sandbox.id.clone(), (uid.clone(), sandbox.state));
            }
            for container in &view.containers {
                known.insert(container.id.clone(), (uid.clone(), container.state));
            }
        }
        known
    }

    /// Follows the runtime until the token is cancelled. The first listing has been made by the caller from the
    /// `stream` it opened before, so that nothing falls between the two.
    pub(crate) async fn follow(self, mut stream: Option<RuntimeEvents>, token: CancellationToken) {
        loop {
            let step = async {
                if let Some(events) = stream.take() {
                    self.consume(events).await;
                    tokio::time::sleep(RECONNECT_PERIOD).await;
                }
                stream = match self.runtime.events().await {
                    Ok(events) => Some(events),
                    Err(error) if error.code == tonic::Code::Unimplemented => {
                        return self.poll().await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot follow the runtime's events");
                        self.turned.notify_one();
                        tokio::time::sleep(RELIST_PERIOD).await;
                        None
                    }
                };
                match self.relist().await {
                    // The stream had broken: the runtime was away.
                    Ok(()) => self.turned.notify_one(),
                    Err(error) => tracing::warn!(%error, "cannot list what the runtime holds"),
                }
            };
            tokio::select! {
                () = token.cancelled() => return,
                () = step => {}
            }
        }
    }

    async fn poll(&self) {
        let mut away = false;
        loop {
            tokio::time::sleep(RELIST_PERIOD).await;
            match self.relist().await {
                Ok(()) if away => {
                    away = false;
                    self.turned.notify_one();
                }
                Ok(()) => {}
                // Told once, not every second for as long as the runtime is away.
                Err(error) if !away => {
                    away = true;
                    self.turned.notify_one();
                    tracing::warn!(%error, "cannot list what the runtime holds");
                }
                Err(_) => {}
            }
        }
    }

    async fn consume(&self, mut events: RuntimeEvents) {
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.apply(event),
                Err(error) => {
                    tracing::warn!(%error, "the runtime's event stream broke");
                    return;
                }
            }
        }
    }

    fn apply(&self, event: v1::ContainerEventResponse) {
        let sandbox_uid = event
            .pod_sandbox_status
            .as_ref()
            .and_then(|s| labels::pod_uid(&s.labels, &self.owner))
            .map(str::to_owned);
        let uid = sandbox_uid.or_else(|| {
            event
                .containers_statuses
                .iter()
                .find_map(|c| labels::pod_uid(&c.labels, &self.owner))
                .map(str::to_owned)
        });
        let deleted = event.container_event_type() == v1::ContainerEventType::ContainerDeletedEvent;
        // The deletion of the last of a pod may come without the pod's status.
        let Some(uid) =
            uid.or_else(|| self.known().remove(&event.container_id).map(|(uid, _)| uid))
        else {
            return;
        };
        self.change(&uid, |view| {
            if let Some(sandbox) = event.pod_sandbox_status
                && !(deleted && sandbox.id == event.container_id)
            {
                view.put_sandbox(sandbox);
            }
            for container in event.containers_statuses {
                if !(deleted && container.id == event.container_id) {
                    view.put_container(container);
                }
            }
            if deleted {
                view.containers.retain(|c| c.id != event.container_id);
                view.sandboxes.retain(|s| s.id != event.container_id);
            }
        });
    }
}
