//! The pods of this node: a worker for each, and nothing for those that are gone.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use knarr_client::{Event, Object};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    context::{self, Shared},
    sources::{self, Source, is_mirror, key},
    worker::{Update, Worker, finish, kill},
};

mod statics;

/// Grace in seconds of containers whose pod nobody knows: upstream's minimum.
const ORPHAN_GRACE_SECONDS: i64 = 2;

/// Pause before what could not be cleaned up after orphans is tried again; it doubles.
const ORPHAN_RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest such pause.
const ORPHAN_RETRY_LONGEST: Duration = Duration::from_secs(120);
/// Orphans that are cleaned up after at the same time.
const ORPHAN_CONCURRENCY: usize = 16;

/// Spawns workers and brings them news; clones share the workers.
#[derive(Clone)]
pub(crate) struct Pods {
    ctx: Shared,
    workers: Arc<Mutex<HashMap<String, watch::Sender<Update>>>>,
    tracker: TaskTracker,
    token: CancellationToken,
    /// Sources that have been read.
    read: Arc<watch::Sender<BTreeSet<Source>>>,
}

impl Pods {
    pub(crate) fn new(ctx: Shared, tracker: TaskTracker, token: CancellationToken) -> Self {
        Self {
            ctx,
            workers: Arc::default(),
            tracker,
            token,
            read: Arc::new(watch::Sender::new(BTreeSet::new())),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.ctx.config
    }

    /// Follows the API's pods from now on.
    pub(crate) fn follow(&self) {
        let pods = self.clone();
        self.ctx.pods.on_event(move |event| match event {
            Event::Added(pod) => pods.dispatch(pod, false),
            Event::Updated { old, new } => {
                // A name may have been taken over between two lists.
                if old.metadata.uid != new.metadata.uid {
                    pods.dispatch(old, true);
                }
                pods.dispatch(new, false);
            }
            Event::Deleted(pod) => pods.dispatch(pod, true),
        });
    }

    fn dispatch(&self, pod: Arc<Pod>, gone: bool) {
        // What it shows comes from elsewhere.
        if is_mirror(&pod) {
            return;
        }
        if gone {
            // The scheduler gives its room away at once: who is told of next must find it.
            self.ctx.allocations.release(context::uid(&pod));
        }
        self.deliver(Update::new(pod, gone));
    }

    /// Brings the pod's worker its news; there is one from now on, unless the pod is gone.
    fn deliver(&self, update: Update) {
        let uid = context::uid(&update.pod).to_owned();
        let mut workers = self.workers.lock();
        if let Some(worker) = workers.get(&uid) {
            worker.send_replace(update);
            return;
        }
        // What is gone and has no worker is an orphan at most; those are swept at start.
        if update.gone || self.token.is_cancelled() {
            return;
        }
        let (sender, receiver) = watch::channel(update);
        workers.insert(uid.clone(), sender);
        let worker = Worker::new(self.ctx.clone(), receiver);
        let (pods, token) = (self.clone(), self.token.clone());
        self.tracker.spawn(async move {
            worker.run(token).await;
            pods.workers.lock().remove(&uid);
            pods.ended(&uid);
        });
    }

    /// Removes what is left of pods that no source knows. The list of the API's pods and that of what runs must be complete.
    pub(crate) async fn sweep(&self) {
        self.sources_read().await;
        let mut known: HashSet<String> = self
            .ctx
            .pods
            .list()
            .iter()
            .map(|pod| context::uid(pod).to_owned())
            .collect();
        known.extend(self.ctx.statics.lock().uids());
        let mut running = HashSet::new();
        for uid in self
            .ctx
            .observed
            .uids()
            .into_iter()
            .filter(|uid| !known.contains(uid))
        {
            tracing::info!(uid, "removing containers of a pod that is gone");
            if let Err(error) = self.remove_orphan(&uid).await {
                tracing::warn!(%error, uid, "cannot remove an orphaned pod");
                running.insert(uid);
            }
        }
        let mut left: HashSet<String> = self.ctx.cgroups.uids().into_iter().collect();
        left.extend(running.iter().cloned());
        left.extend(names(&self.ctx.config.pods_dir()));
        left.extend(self.ctx.alignment.uids());
        left.retain(|uid| !known.contains(uid));
        left.iter().for_each(|uid| self.ctx.allocations.forget(uid));
        let logs = self.ctx.config.logs_dir();
        for name in names(&logs) {
            let orphan = name
                .rsplit_once('_')
                .is_some_and(|(_, uid)| !known.contains(uid));
            if orphan {
                remove_logs(logs.join(&name)).await;
            }
        }
        self.clean_all(left, running).await;
    }

    /// Cleans up after pods that are gone, some at a time. What their volumes' drivers do not undo, as when they have not come yet,
    /// is tried again. Of those that may still run nothing is given to others, their ids above all, before they are removed.
    async fn clean_all(&self, mut left: HashSet<String>, running: HashSet<String>) {
        let mut wait = ORPHAN_RETRY_FIRST;
        loop {
            let work = left.into_iter().map(|uid| self.clean(uid, &running));
            let done: Vec<Result<(), String>> = futures::stream::iter(work)
                .buffer_unordered(ORPHAN_CONCURRENCY)
                .collect()
                .await;
            left = done.into_iter().filter_map(Result::err).collect();
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(ORPHAN_RETRY_LONGEST);
        }
    }

    /// Returns what is left.
    async fn clean(&self, uid: String, running: &HashSet<String>) -> Result<(), String> {
        if running.contains(&uid)
            && let Err(error) = self.remove_orphan(&uid).await
        {
            tracing::warn!(%error, uid, "cannot remove an orphaned pod");
            return Err(uid);
        }
        let done = finish::clean(&self.ctx, &uid).await;
        done.map_err(|error| {
            tracing::warn!(error, uid, "cannot clean up after an orphaned pod");
            uid
        })
    }

    async fn remove_orphan(&self, uid: &str) -> crate::runtime::Result<()> {
        let ctx = &self.ctx;
        let view = ctx.observed.view(uid);
        let grace = Duration::from_secs(ORPHAN_GRACE_SECONDS.unsigned_abs());
        let stops = view
            .running()
            .map(|container| ctx.runtime.stop_container(&container.id, grace));
        for stopped in futures::future::join_all(stops).await {
            match stopped {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        kill::sandboxes(ctx, uid, &view).await?;
        kill::remove(ctx, uid).await?;
        ctx.observed.forget(uid);
        ctx.probed.forget(uid);
        Ok(())
    }
}

async fn remove_logs(path: PathBuf) {
    let shown = path.display().to_string();
    let removing = tokio::task::spawn_blocking(move || knarr_host::remove(&path));
    let removed = removing.await.map_err(std::io::Error::other);
    if let Err(error) = removed.and_then(|removed| removed) {
        tracing::warn!(%error, path = shown, "cannot remove an orphaned pod's logs");
    }
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The pod with that name, if it is of this node.
pub(crate) fn find(ctx: &context::Context, namespace: &str, name: &str) -> Option<Arc<Pod>> {
    if let Some(own) = ctx.statics.lock().get(namespace, name) {
        return Some(own);
    }
    let pod = ctx.pods.get(namespace, name)?;
    (Object::name(pod.as_ref()) == name && !is_mirror(&pod)).then_some(pod)
}

/// The pods of this node, of all sources. Static pods have the status that their mirrors show.
pub(crate) fn list(ctx: &context::Context) -> Vec<Arc<Pod>> {
    let (mirrors, mut pods): (Vec<_>, Vec<_>) =
        ctx.pods.list().into_iter().partition(|pod| is_mirror(pod));
    let statics = ctx.statics.lock().list();
    let shown = statics.into_iter().map(|pod| {
        let key = key(&pod);
        let Some(mirror) = mirrors.iter().find(|mirror| sources::key(mirror) == key) else {
            return pod;
        };
        let mut pod = Pod::clone(&pod);
        pod.status.clone_from(&mirror.status);
        Arc::new(pod)
    });
    pods.extend(shown);
    pods
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{
        self,
        fake::{Api, Fake},
    };

    #[tokio::test]
    async fn the_room_of_a_pod_that_is_gone_is_free_at_once() {
        let spec = json!({ "containers": [{ "name": "a", "resources": { "requests": { "cpu": "1m" } } }] });
        let pod = Arc::new(testing::pod(spec));
        let dir = tempfile::tempdir().unwrap();
        Fake::default().serve(&dir.path().join("cri.sock"));
        let client = Api::new(&pod).client();
        let ctx = testing::context(client, crate::Config::default(), dir.path()).await;
        let pods = Pods::new(ctx.clone(), TaskTracker::new(), CancellationToken::new());
        ctx.allocations.admit(&pod, true, |_| Ok(())).unwrap();
        // Its containers may still be on their way out.
        pods.dispatch(pod.clone(), true);
        let alone = |others: &crate::worker::admission::Admitted| {
            assert!(others.is_empty());
            Ok(())
        };
        ctx.allocations.admit(&pod, true, alone).unwrap();
    }
}
