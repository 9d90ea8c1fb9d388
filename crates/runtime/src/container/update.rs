//! Changing a container's limits.

use std::sync::Arc;

use knarr_cri::v1::LinuxContainerResources;

use crate::container::{Container, Phase};
use crate::records::RESOURCES_FILE;
use crate::runtime::{Inner, blocking};
use crate::{Error, cgroup, files};

impl Inner {
    /// Changes what `asked` says; zero and empty fields stay as they are. What a container has is remembered: the next runtime tells
    /// it, too.
    pub(crate) async fn update_container(
        &self,
        container: &Arc<Container>,
        asked: LinuxContainerResources,
    ) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        let (phase, before) = {
            let status = container.status.lock();
            (status.phase, status.resources.clone())
        };
        if phase == Phase::Running {
            let (cgroup, wanted) = (container.record.cgroup.clone(), asked.clone());
            blocking("update the container's cgroup", move || {
                cgroup::host().update(&cgroup, &wanted)
            })
            .await?;
        }
        let now = merged(before.unwrap_or_default(), asked);
        let (file, kept) = (container.directory.join(RESOURCES_FILE), now.clone());
        let writing = move || files::write_json(&file, &kept);
        blocking("record the container's resources", writing).await?;
        container.status.lock().resources = Some(now);
        Ok(())
    }
}

/// What a container has after an update.
fn merged(
    mut now: LinuxContainerResources,
    asked: LinuxContainerResources,
) -> LinuxContainerResources {
    let numbers = [
        (&mut now.cpu_period, asked.cpu_period),
        (&mut now.cpu_quota, asked.cpu_quota),
        (&mut now.cpu_shares, asked.cpu_shares),
        (&mut now.memory_limit_in_bytes, asked.memory_limit_in_bytes),
        (
            &mut now.memory_swap_limit_in_bytes,
            asked.memory_swap_limit_in_bytes,
        ),
    ];
    for (number, asked) in numbers {
        if asked != 0 {
            *number = asked;
        }
    }
    let texts = [
        (&mut now.cpuset_cpus, asked.cpuset_cpus),
        (&mut now.cpuset_mems, asked.cpuset_mems),
    ];
    for (text, asked) in texts {
        if !asked.is_empty() {
            *text = asked;
        }
    }
    now.unified.extend(asked.unified);
    if !asked.hugepage_limits.is_empty() {
        now.hugepage_limits = asked.hugepage_limits;
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_stays() {
        let before = LinuxContainerResources {
            cpu_quota: 1_000,
            cpu_shares: 20,
            memory_limit_in_bytes: 1 << 20,
            oom_score_adj: 7,
            cpuset_cpus: "0".to_owned(),
            ..Default::default()
        };
        let asked = LinuxContainerResources {
            cpu_shares: 40,
            memory_limit_in_bytes: 2 << 20,
            oom_score_adj: 9,
            ..Default::default()
        };
        let wanted = LinuxContainerResources {
            cpu_shares: 40,
            memory_limit_in_bytes: 2 << 20,
            ..before.clone()
        };
        assert_eq!(merged(before, asked), wanted);
    }
}
