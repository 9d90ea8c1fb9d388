//! How long the kubelet's own work takes: pods' workers, volumes and control groups, in upstream's families.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;

use super::{
    Histogram,
    text::{Text, Type},
};

/// Prometheus' own buckets, seconds.
const DEFAULT: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Of volumes.
const STORAGE: [f64; 13] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0,
];

/// What of a pod was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PodWork {
    /// The pod had nothing yet.
    Create,
    /// Containers of a pod that was there were started.
    Sync,
    /// Its containers were ended.
    Kill,
    /// What was left of it was removed.
    Terminated,
}

/// What was done with a control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GroupWork {
    Create,
    Update,
    Destroy,
}

/// What was done with a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum VolumeWork {
    Mount,
    Unmount,
}

type ByKey<K, const N: usize> = Mutex<BTreeMap<K, Histogram<N>>>;

/// All since the kubelet's start.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    pods: ByKey<PodWork, 11>,
    groups: ByKey<GroupWork, 11>,
    /// By plugin, work and whether it was done. There are as many plugins as types of volumes and drivers of the node.
    volumes: ByKey<(String, VolumeWork, bool), 13>,
}

impl PodWork {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Sync => "sync",
            Self::Kill => "kill",
            Self::Terminated => "terminated",
        }
    }
}

impl GroupWork {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Destroy => "destroy",
        }
    }
}

impl VolumeWork {
    fn as_str(self) -> &'static str {
        match self {
            Self::Mount => "volume_mount",
            Self::Unmount => "volume_unmount",
        }
    }
}

fn observe<K: Ord, const N: usize>(all: &ByKey<K, N>, bounds: [f64; N], key: K, took: Duration) {
    let mut all = all.lock();
    let one = all.entry(key).or_insert_with(|| Histogram::new(bounds));
    one.observe(took.as_secs_f64());
}

impl Durations {
    pub(crate) fn of_pod(&self, work: PodWork, took: Duration) {
        observe(&self.pods, DEFAULT, work, took);
    }

    pub(crate) fn of_group(&self, work: GroupWork, took: Duration) {
        observe(&self.groups, DEFAULT, work, took);
    }

    pub(crate) fn of_volume(&self, plugin: String, work: VolumeWork, took: Duration, ok: bool) {
        observe(&self.volumes, STORAGE, (plugin, work, ok), took);
    }

    pub(super) fn write(&self, text: &mut Text) {
        let name = "kubelet_pod_worker_duration_seconds";
        let help = "[ALPHA] Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync";
        text.family(name, help, Type::Histogram);
        for (work, took) in &*self.pods.lock() {
            text.histogram(name, &[("operation_type", work.as_str())], took);
        }
        let name = "kubelet_cgroup_manager_duration_seconds";
        let help =
            "[ALPHA] Duration in seconds for cgroup manager operations. Broken down by method.";
        text.family(name, help, Type::Histogram);
        for (work, took) in &*self.groups.lock() {
            text.histogram(name, &[("operation_type", work.as_str())], took);
        }
        let name = "storage_operation_duration_seconds";
        text.family(name, "[BETA] Storage operation duration", Type::Histogram);
        for ((plugin, work, ok), took) in &*self.volumes.lock() {
            let status = if *ok { "success" } else { "fail-unknown" };
            let labels = [
                ("migrated", "false"),
                ("operation_name", work.as_str()),
                ("status", status),
                ("volume_plugin", plugin),
            ];
            text.histogram(name, &labels, took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_upstreams() {
        let all = Durations::default();
        let now = Duration::ZERO;
        all.of_pod(PodWork::Create, now);
        all.of_pod(PodWork::Terminated, now);
        all.of_group(GroupWork::Destroy, now);
        for ok in [true, false] {
            let plugin = "kubernetes.io/nfs".to_owned();
            all.of_volume(plugin, VolumeWork::Mount, now, ok);
        }
        let mut text = Text::default();
        all.write(&mut text);
        let text = text.finish();
        for line in [
            "kubelet_pod_worker_duration_seconds_count{operation_type=\"create\"} 1",
            "kubelet_pod_worker_duration_seconds_bucket{operation_type=\"terminated\",le=\"10\"} 1",
            "kubelet_cgroup_manager_duration_seconds_count{operation_type=\"destroy\"} 1",
            "storage_operation_duration_seconds_count{migrated=\"false\",operation_name=\"volume_mount\",status=\"fail-unknown\",volume_plugin=\"kubernetes.io/nfs\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
