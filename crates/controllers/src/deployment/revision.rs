//! The annotations by which a deployment and its ReplicaSets remember revisions and sizes.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
/// The revisions a ReplicaSet had before it was rolled back to.
pub(crate) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The deployment's size when the ReplicaSet was scaled last; another size now is a scaling event.
pub(crate) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// The deployment's size with surge, at that time.
pub(crate) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of a deployment that its ReplicaSets do not get.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

/// Longest value of [`REVISION_HISTORY`], in bytes; the oldest entries go first.
const MAX_HISTORY_BYTES: usize = 2000;

pub(crate) type Annotations = BTreeMap<String, String>;

/// The revision of an object; 0 without one, `None` for one that is no number.
pub(crate) fn revision(annotations: &Annotations) -> Option<i64> {
    annotations
        .get(REVISION)
        .map_or(Some(0), |text| text.parse().ok())
}

pub(crate) fn number(annotations: &Annotations, key: &str) -> Option<i32> {
    annotations.get(key)?.parse().ok()
}

/// The revision that follows those of `sets`.
pub(crate) fn next<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i64 {
    let annotations = sets
        .into_iter()
        .filter_map(|rs| rs.metadata.annotations.as_ref());
    let highest = annotations.filter_map(revision).max().unwrap_or(0).max(0);
    highest.saturating_add(1)
}

/// Brings the newest ReplicaSet's annotations up to date: the deployment's own ones, and its revision if that is lower
/// than `wanted`. A revision it had before goes into its history: it was rolled back to.
pub(crate) fn update(annotations: &mut Annotations, deployment: &Deployment, wanted: i64) {
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let Some(current) = revision(annotations) else {
        return;
    };
    if current >= wanted {
        return;
    }
    let previous = annotations.insert(REVISION.to_owned(), wanted.to_string());
    if let Some(previous) = previous {
        let history = annotations.remove(REVISION_HISTORY).unwrap_or_default();
        annotations.insert(REVISION_HISTORY.to_owned(), append(&history, &previous));
    }
}

fn append(history: &str, revision: &str) -> String {
    let mut entries: Vec<&str> = history
        .split(',')
        .filter(|entry| !entry.is_empty())
        .collect();
    entries.push(revision);
    let length = |entries: &[&str]| {
        entries
            .iter()
            .map(|entry| entry.len() + 1)
            .sum::<usize>()
            .saturating_sub(1)
    };
    let mut first = 0;
    while first + 1 < entries.len() && length(&entries[first..]) > MAX_HISTORY_BYTES {
        first += 1;
    }
    entries[first..].join(",")
}

/// Notes the deployment's size on a ReplicaSet that is scaled.
pub(crate) fn set_sizes(annotations: &mut Annotations, desired: i32, max: i32) {
    annotations.insert(DESIRED_REPLICAS.to_owned(), desired.to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), max.to_string());
}
