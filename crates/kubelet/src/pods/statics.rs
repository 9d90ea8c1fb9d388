//! Pods of other sources than the API: workers for those that are wanted, an end for the others.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::{Pods, remove_logs};
use crate::{
    context,
    events::WARNING,
    labels,
    sources::{HASH, Key, SOURCE, Source, Step, is_mirror, key},
    worker::finish,
};

/// How often the end of what an earlier kubelet left is tried; then the pod that has its name starts beside it.
const ORPHAN_TRIES: usize = 10;
/// Between two tries.
const ORPHAN_RETRY: Duration = Duration::from_secs(1);

impl Pods {
    /// Follows mirrors, and the node that they belong to, from now on.
    pub(crate) fn follow_mirrors(&self) {
        let pods = self.clone();
        self.ctx.pods.on_event(move |event| {
            let pod = event.object();
            if is_mirror(pod) {
                pods.tell(&key(pod));
                pods.ctx.mirrors_changed.notify_one();
            }
        });
        let ctx = self.ctx.clone();
        self.ctx
            .node
            .on_event(move |_| ctx.mirrors_changed.notify_one());
    }

    /// These are all pods that the source has now.
    pub(crate) fn set(&self, source: Source, found: Vec<Pod>) {
        let mut orphans = Vec::new();
        let (steps, doubled) = {
            let mut statics = self.ctx.statics.lock();
            if !statics.has(source) {
                orphans = self.orphans(source, &found);
                orphans
                    .iter()
                    .for_each(|orphan| statics.adopt(orphan.clone()));
            }
            statics.set(source, found)
        };
        for orphan in orphans {
            let pods = self.clone();
            self.tracker
                .spawn(async move { pods.end_orphan(&orphan).await });
        }
        for pod in doubled {
            let name = context::name(&pod);
            let note = format!(
                "Error validating pod {} from {} due to duplicate pod name {name:?}, ignoring",
                context::display(&pod),
                source.name()
            );
            tracing::warn!("{note}");
            self.ctx.events.pod(&pod, WARNING, "FailedValidation", note);
        }
        steps.into_iter().for_each(|step| self.take(step));
        self.read.send_modify(|read| {
            read.insert(source);
        });
        self.ctx.mirrors_changed.notify_one();
    }

    fn take(&self, step: Step) {
        let (Step::Start(pod) | Step::End(pod)) = step;
        self.tell(&key(&pod));
    }

    /// Brings the worker of the static pod with that name its news.
    fn tell(&self, key: &Key) {
        // Held until they are brought: whoever knows more comes later.
        let mut statics = self.ctx.statics.lock();
        let mirror = self.ctx.pods.get(&key.0, &key.1);
        let mirror = mirror.filter(|pod| is_mirror(pod));
        if let Some(update) = statics.update(key, mirror) {
            self.deliver(update);
        }
    }

    /// Nothing of the pod with that uid is left: another may have its name.
    pub(super) fn ended(&self, uid: &str) {
        let step = self.ctx.statics.lock().ended(uid);
        if let Some(step) = step {
            self.take(step);
        }
        self.ctx.mirrors_changed.notify_one();
    }

    /// Waits for [`Self::are_complete`].
    pub(super) async fn sources_read(&self) {
        let mut read = self.read.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = read.wait_for(|read| self.all_in(read)).await;
    }

    /// Every source that is configured has said what it has.
    pub(crate) fn are_complete(&self) -> bool {
        self.all_in(&self.read.borrow())
    }

    fn all_in(&self, read: &BTreeSet<Source>) -> bool {
        let config = self.config();
        let files = config.manifest_path.is_none() || read.contains(&Source::File);
        files && (config.manifest_url.is_none() || read.contains(&Source::Http))
    }

    /// What an earlier kubelet has left of pods that the source had then. A pod of the API may bear the annotations too, but nobody
    /// knows its uid before it is made.
    fn orphans(&self, source: Source, found: &[Pod]) -> Vec<Arc<Pod>> {
        let mut orphans = Vec::new();
        for uid in self.ctx.observed.uids() {
            if found.iter().any(|pod| context::uid(pod) == uid) {
                continue;
            }
            let view = self.ctx.observed.view(&uid);
            let Some(sandbox) = view.sandbox() else {
                continue;
            };
            let says = |annotations: &HashMap<String, String>, key: &str, value: &str| {
                annotations.get(key).is_some_and(|said| said == value)
            };
            let of_source = says(&sandbox.annotations, SOURCE, source.name());
            if of_source && says(&sandbox.annotations, HASH, &uid) {
                let label = |name: &str| sandbox.labels.get(name).cloned();
                let metadata = ObjectMeta {
                    name: label(labels::POD_NAME),
                    namespace: label(labels::POD_NAMESPACE),
                    uid: Some(uid),
                    ..Default::default()
                };
                orphans.push(Arc::new(Pod {
                    metadata,
                    ..Default::default()
                }));
            }
        }
        orphans
    }

    async fn end_orphan(&self, orphan: &Pod) {
        let uid = context::uid(orphan);
        tracing::info!(uid, "removing containers of a static pod that is gone");
        for _ in 0..ORPHAN_TRIES {
            let removed = async {
                self.remove_orphan(uid)
                    .await
                    .map_err(|error| error.to_string())?;
                finish::clean(&self.ctx, uid).await
            };
            match self.token.run_until_cancelled(removed).await {
                // The next kubelet finds it.
                None => return,
                Some(Ok(())) => break,
                Some(Err(error)) => tracing::warn!(error, uid, "cannot remove an orphaned pod"),
            }
            tokio::time::sleep(ORPHAN_RETRY).await;
        }
        self.ctx.allocations.forget(uid);
        let config = self.config();
        remove_logs(config.pod_logs(context::namespace(orphan), context::name(orphan), uid)).await;
        self.ended(uid);
    }
}

#[cfg(test)]
mod tests;
