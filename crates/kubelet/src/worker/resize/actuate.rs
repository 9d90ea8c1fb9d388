//! Giving running containers what their pod is promised, in upstream's order: memory before CPU; the pod's cgroup grows before its
//! containers do, and shrinks after them. A failure leaves the rest for the next try.

use std::time::Instant;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use knarr_cri::v1;

use super::plan::{Actions, Change};
use crate::{
    allocation::Record,
    context::{self, Context},
    observed::View,
    resources::{self, PodLimits},
    stats::GroupWork,
    worker::kill,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Memory,
    Cpu,
}

/// Does it; `record` is what the pod had before.
///
/// # Errors
/// What went wrong, for the pod's condition.
pub(crate) async fn run(
    ctx: &Context,
    pod: &Pod,
    view: &View,
    record: Record,
    actions: Actions,
) -> Result<(), String> {
    let set = record.cgroup.unwrap_or_default();
    let wanted = resources::pod_limits(pod);
    let mut run = Run {
        ctx,
        pod,
        record,
        set,
    };
    run.check(view, wanted.memory, &actions.memory).await?;
    let memory = |limit| PodLimits {
        memory: limit,
        ..PodLimits::default()
    };
    // No limit is more than any.
    let grows = |set: Option<i64>, wanted: Option<i64>| match (set, wanted) {
        (Some(set), Some(wanted)) => wanted > set,
        (set, wanted) => set.is_some() && wanted.is_none(),
    };
    let first = grows(set.memory, wanted.memory);
    if first {
        run.cgroup(memory(wanted.memory)).await?;
    }
    run.containers(&actions.memory, Resource::Memory).await?;
    if !first && set.memory != wanted.memory {
        run.cgroup(memory(wanted.memory)).await?;
    }
    let quota = |quota| PodLimits {
        quota,
        ..PodLimits::default()
    };
    let shares = |shares| PodLimits {
        shares,
        ..PodLimits::default()
    };
    let (limit_first, shares_first) = (grows(set.quota, wanted.quota), wanted.shares > set.shares);
    if limit_first {
        run.cgroup(quota(wanted.quota)).await?;
    }
    if shares_first {
        run.cgroup(shares(wanted.shares)).await?;
    }
    run.containers(&actions.cpu, Resource::Cpu).await?;
    if !shares_first && set.shares != wanted.shares {
        run.cgroup(shares(wanted.shares)).await?;
    }
    if !limit_first && set.quota != wanted.quota {
        run.cgroup(quota(wanted.quota)).await?;
    }
    // What is not said is as it was: now it is known.
    ctx.allocations.give_cgroup(context::uid(pod), wanted);
    Ok(())
}

struct Run<'a> {
    ctx: &'a Context,
    pod: &'a Pod,
    record: Record,
    /// What the pod's cgroup is set to.
    set: PodLimits,
}

impl Run<'_> {
    /// Refuses limits of memory below what is used: the kernel would end processes for them.
    async fn check(
        &self,
        view: &View,
        wanted: Option<i64>,
        changes: &[Change],
    ) -> Result<(), String> {
        let shrinks = |from: i64, to: i64| to != 0 && (from == 0 || to < from);
        let of_pod = wanted.filter(|wanted| shrinks(self.set.memory.unwrap_or(0), *wanted));
        let shrinking =
            |change: &&Change| shrinks(change.from.memory_limit, change.to.memory_limit);
        let containers: Vec<&Change> = changes.iter().filter(shrinking).collect();
        if of_pod.is_none() && containers.is_empty() {
            return Ok(());
        }
        let unreadable = || {
            let pod = context::display(self.pod);
            format!("unable to read memory usage for pod \"{pod}\"")
        };
        let sandbox = view.sandbox().ok_or_else(unreadable)?;
        let request = v1::PodSandboxStatsRequest {
            pod_sandbox_id: sandbox.id.clone(),
        };
        let stats = self.ctx.runtime.pod_sandbox_stats(request).await;
        let stats = stats.map_err(|_| unreadable())?.stats;
        let stats = stats.and_then(|s| s.linux).ok_or_else(unreadable)?;
        let below = too_small(&stats, of_pod, &containers);
        match &below[..] {
            [] => Ok(()),
            [one] => Err(format!("cannot decrease memory limits: {one}")),
            many => Err(format!(
                "cannot decrease memory limits: [{}]",
                many.join(", ")
            )),
        }
    }

    async fn containers(&mut self, changes: &[Change], resource: Resource) -> Result<(), String> {
        for change in changes {
            self.container(change, resource)
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn container(
        &mut self,
        change: &Change,
        resource: Resource,
    ) -> crate::runtime::Result<()> {
        let Some(spec) = kill::find(self.pod, &change.name) else {
            return Ok(());
        };
        let uid = context::uid(self.pod);
        let given = self.record.given.entry(change.name.clone()).or_default();
        let now = merged(given, spec.resources.as_ref(), resource);
        let container = Container {
            resources: Some(now.clone()),
            ..spec.into_owned()
        };
        let request = v1::UpdateContainerResourcesRequest {
            container_id: change.id.clone(),
            linux: Some(self.ctx.resources(self.pod, &container)),
            ..Default::default()
        };
        self.ctx.runtime.update_container_resources(request).await?;
        *given = now.clone();
        self.ctx.allocations.give(uid, &change.name, now);
        self.ctx.observed.refresh_container(uid, &change.id).await
    }

    async fn cgroup(&mut self, limits: PodLimits) -> Result<(), String> {
        let (cgroups, pod) = (self.ctx.cgroups.clone(), self.pod.clone());
        let began = Instant::now();
        let setting = tokio::task::spawn_blocking(move || cgroups.change(&pod, &limits)).await;
        let durations = &self.ctx.stats.durations;
        durations.of_group(GroupWork::Update, began.elapsed());
        setting
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("failed to set pod cgroup: {error}"))?;
        if limits.shares != 0 {
            self.set.shares = limits.shares;
        }
        self.set.quota = limits.quota.or(self.set.quota);
        self.set.memory = limits.memory.or(self.set.memory);
        self.ctx
            .allocations
            .give_cgroup(context::uid(self.pod), self.set);
        Ok(())
    }
}

/// Which limits would be below what is used, in upstream's words.
fn too_small(
    stats: &v1::LinuxPodSandboxStats,
    of_pod: Option<i64>,
    containers: &[&Change],
) -> Vec<String> {
    let usage = |memory: Option<&v1::MemoryUsage>| {
        let used = memory.and_then(|m| m.usage_bytes.as_ref());
        used.map(|used| i64::try_from(used.value).unwrap_or(i64::MAX))
    };
    let mut told = Vec::new();
    if let Some(limit) = of_pod {
        match usage(stats.memory.as_ref()) {
            None => told.push("missing pod memory usage".to_owned()),
            Some(used) if used >= limit => told.push(format!(
                "attempting to set pod memory limit ({limit}) below current usage ({used})"
            )),
            Some(_) => {}
        }
    }
    for change in containers {
        let named = |stats: &&v1::ContainerStats| {
            let attributes = stats.attributes.as_ref();
            attributes.is_some_and(|attributes| attributes.id == change.id)
        };
        let found = stats.containers.iter().find(named);
        let (name, limit) = (&change.name, change.to.memory_limit);
        match usage(found.and_then(|stats| stats.memory.as_ref())) {
            None => told.push(format!("missing container \"{name}\" memory usage")),
            Some(used) if used >= limit => told.push(format!(
                "attempting to set container \"{name}\" memory limit ({limit}) below current usage ({used})"
            )),
            Some(_) => {}
        }
    }
    told
}

/// What a container has once one resource is as it should be.
fn merged(
    given: &ResourceRequirements,
    wanted: Option<&ResourceRequirements>,
    resource: Resource,
) -> ResourceRequirements {
    let name = match resource {
        Resource::Memory => "memory",
        Resource::Cpu => "cpu",
    };
    let Some(wanted) = wanted else {
        return given.clone();
    };
    let mut merged = ResourceRequirements {
        claims: wanted.claims.clone(),
        ..given.clone()
    };
    let lists = [
        (&mut merged.requests, &wanted.requests),
        (&mut merged.limits, &wanted.limits),
    ];
    for (list, wanted) in lists {
        let amount = wanted.as_ref().and_then(|wanted| wanted.get(name));
        if let Some(amount) = amount {
            let list = list.get_or_insert_default();
            list.insert(name.to_owned(), amount.clone());
        }
    }
    merged
}

#[cfg(test)]
mod tests;
