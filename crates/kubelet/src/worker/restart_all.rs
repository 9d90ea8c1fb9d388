//! Restarting all containers of a pod in its sandbox, as a rule of one of them has it (`RestartAllContainers`).
//!
//! The API hears of it by a condition, then every container but ephemeral ones is ended and removed, whoever asked for it last: what is
//! found after a crash, here or in the API, has it go on. The API hears that it is over before the first one starts anew, since another
//! kubelet would take what runs then for what is to be removed.

use std::{io, path::Path, sync::Arc};

use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use knarr_cri::v1::{ContainerState, ContainerStatus};

use super::{Done, Update, Worker, kill, plan};
use crate::{
    config::Config,
    context::{self, Shared},
    labels,
    logs::Log,
    observed::View,
    runtime::Result,
    termination,
};

/// The pod's condition while its containers go.
pub(crate) const CONDITION: &str = "AllContainersRestarting";
/// Containers get no time to end.
const GRACE_SECONDS: i64 = 0;
/// Logs of a container's instances that stay.
const KEPT_LOGS: u32 = 5;

/// The containers that may have rules: all but ephemeral ones.
fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(init)
    })
}

/// Whether a rule of the pod may restart it all.
pub(crate) fn is_possible(pod: &Pod) -> bool {
    let mut rules = containers(pod).flat_map(|c| c.restart_policy_rules.iter().flatten());
    rules.any(|rule| rule.action == plan::RESTART_ALL)
}

/// Whether the status says that containers are on their way out.
pub(crate) fn told(status: Option<&PodStatus>) -> bool {
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == CONDITION && condition.status == "True")
}

/// Whether this instance has ended in a way that restarts all.
fn triggers(container: &Container, status: &ContainerStatus) -> bool {
    status.state() == ContainerState::ContainerExited
        && plan::rule(container, status.exit_code) == Some(plan::RESTART_ALL)
}

/// Whether a container's newest instance has ended so.
pub(crate) fn is_asked_for(pod: &Pod, view: &View) -> bool {
    containers(pod).any(|container| {
        let newest = view.newest(&container.name);
        newest.is_some_and(|status| triggers(container, status))
    })
}

/// Everything that is to go, in that order: main containers, init containers, and at last those that have asked for it.
pub(crate) fn order<'a>(pod: &Pod, view: &'a View) -> Vec<&'a ContainerStatus> {
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    for container in containers(pod) {
        let instances = view.containers.iter();
        for status in instances.filter(|c| labels::container_name(c) == container.name) {
            match triggers(container, status) {
                true => sources.push(status),
                false => others.push(status),
            }
        }
    }
    others.append(&mut sources);
    others
}

impl Worker {
    /// Whether all containers are being restarted, so that nothing else is to be done with them.
    pub(super) fn restarts_all(&mut self, update: &Update, view: &Arc<View>) -> bool {
        let pod = &update.pod;
        if !is_possible(pod) {
            return false;
        }
        let left = order(pod, view);
        let asked = is_asked_for(pod, view);
        let restarting = self.state.edit(|memory| {
            memory.restarting_all = (memory.restarting_all || asked) && !left.is_empty();
            memory.restarting_all
        });
        let told = update.object.as_ref().map(|object| {
            let base = self.base(object);
            told(Some(&base))
        });
        // Static pods may have nobody who is told of them.
        let heard = |what: bool| self.unheard || told.is_none_or(|told| told == what);
        if !restarting {
            return !heard(false);
        }
        self.probes.retain(view);
        if let Some(sequence) = &self.start {
            sequence.cancel();
        }
        let busy =
            self.start.is_some() || self.removing || self.resizing || !self.killing.is_empty();
        if busy || self.held() || !heard(true) {
            return true;
        }
        self.state.edit(|memory| {
            for status in &left {
                let next = labels::restart_count(status).saturating_add(1);
                let name = labels::container_name(status).to_owned();
                let attempt = memory.attempts.entry(name).or_default();
                *attempt = next.max(*attempt);
            }
            // What came of earlier starts is over.
            memory.waiting.clear();
            memory.retry_at.clear();
        });
        self.removing = true;
        let (ctx, pod, view) = (self.ctx.clone(), pod.clone(), view.clone());
        self.tasks
            .spawn(async move { Done::Removed(remove(ctx, pod, view).await) });
        true
    }
}

/// Ends all containers, and then removes them. Their newest logs stay for as long as the pod does.
async fn remove(ctx: Shared, pod: Arc<Pod>, view: Arc<View>) -> Result<()> {
    let uid = context::uid(&pod);
    let all = order(&pod, &view);
    let running = all
        .iter()
        .filter(|status| status.state() == ContainerState::ContainerRunning);
    let ends = running.map(|status| {
        let which = (status.id.as_str(), labels::container_name(status));
        kill::container(&ctx, &pod, which, Some("killing".to_owned()), GRACE_SECONDS)
    });
    let ended = futures::future::join_all(ends).await;
    ended.into_iter().collect::<Result<()>>()?;
    for status in all {
        kill::remove_container(&ctx, uid, &status.id).await?;
        let (ctx, status) = (ctx.clone(), status.clone());
        let forgetting = tokio::task::spawn_blocking(move || forget(&ctx.config, &status));
        let forgotten = forgetting.await.map_err(io::Error::other);
        if let Err(error) = forgotten.and_then(|forgotten| forgotten) {
            // They are left to the pod's end.
            tracing::debug!(%error, "files of an old instance are not removed");
        }
    }
    Ok(())
}

/// Removes what an instance that is gone leaves: its last words, which the API has, and the log of one long before it. Nothing
/// delays such restarts, so that several a second would fill the disk with files. Blocks.
fn forget(config: &Config, status: &ContainerStatus) -> io::Result<()> {
    if let Some(old) = labels::restart_count(status).checked_sub(KEPT_LOGS)
        && !status.log_path.is_empty()
    {
        let path = Path::new(&status.log_path).with_file_name(format!("{old}.log"));
        Log::new(config.logs_dir(), path).remove()?;
    }
    termination::remove(config, status)
}

#[cfg(test)]
mod tests;
