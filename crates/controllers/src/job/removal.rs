//! Which pods of a job go when there are too many.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::facts::index;
use crate::replicaset::rank;

/// At least `count` of the `running` pods, those that are missed least. Of an indexed job (which has `completions`) go all
/// that have no index, and all but one of each index.
pub(crate) fn choose(
    running: &[Arc<Pod>],
    completions: Option<i32>,
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    let (mut chosen, mut left) = match completions {
        Some(completions) => duplicates(running, completions, now),
        None => (Vec::new(), running.to_vec()),
    };
    if let Some(more) = count.checked_sub(chosen.len()) {
        rank(&mut left, &[], now);
        left.truncate(more);
        chosen.append(&mut left);
    }
    chosen
}

/// Pods that share an index or have none, and the others.
fn duplicates(
    running: &[Arc<Pod>],
    completions: i32,
    now: Timestamp,
) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let mut by_index: BTreeMap<i32, Vec<Arc<Pod>>> = BTreeMap::new();
    let mut chosen = Vec::new();
    for pod in running {
        match index(pod).filter(|index| *index < completions) {
            Some(index) => by_index.entry(index).or_default().push(pod.clone()),
            None => chosen.push(pod.clone()),
        }
    }
    let mut left = Vec::new();
    for mut pods in by_index.into_values() {
        rank(&mut pods, &[], now);
        left.extend(pods.pop());
        chosen.append(&mut pods);
    }
    (chosen, left)
}
