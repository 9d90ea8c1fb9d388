//! What to do next about a deployment: a pure function of the deployment, its ReplicaSets and the time.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use serde_json::{Value, json};

use super::new_set::new_replica_set;
use super::revision::{self, REVISION};
use super::rollout::{self, Rollout, Set, observed_replicas};
use super::status::{self, AVAILABLE, PROGRESSING, REPLICA_FAILURE, reason};

/// One write.
#[derive(Debug)]
pub(crate) enum Op {
    Create(Box<ReplicaSet>),
    /// A merge patch that carries the resourceVersion it was planned on.
    Patch {
        name: String,
        patch: Value,
    },
    Delete {
        set: Arc<ReplicaSet>,
    },
    /// A `ScalingReplicaSet` event, after the writes it tells of.
    Scaled {
        message: String,
    },
    Status {
        status: Box<DeploymentStatus>,
        revision: Option<String>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// In order; the first failure ends the execution.
    pub ops: Vec<Op>,
    /// When to look again if nothing happens: the progress deadline.
    pub again_after: Option<Duration>,
}

struct Planner<'a> {
    deployment: &'a Deployment,
    rollout: Rollout,
    /// The observed status with the conditions that steps set on the way.
    status: DeploymentStatus,
    revision: Option<String>,
    now: Timestamp,
}

/// `sets` are the ReplicaSets the deployment controls; `running` counts pods that have not ended by ReplicaSet uid: asked
/// only by the Recreate strategy.
pub(crate) fn plan(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    running: impl FnOnce() -> HashMap<String, usize>,
    now: Timestamp,
) -> Plan {
    let mut planner = Planner {
        deployment,
        rollout: Rollout::new(deployment, sets),
        status: deployment.status.clone().unwrap_or_default(),
        revision: None,
        now,
    };
    let paused = deployment
        .spec
        .as_ref()
        .and_then(|s| s.paused)
        .unwrap_or(false);
    if deployment.metadata.deletion_timestamp.is_some() {
        planner.sync_new_set();
        let status = planner.counted_status();
        return planner.finish(status);
    }
    planner.note_pause(paused);
    planner.sync_new_set();
    let status = if paused || planner.rollout.is_scaling_event() {
        planner.rollout.resize();
        if paused {
            planner.clean_up();
        }
        planner.counted_status()
    } else if planner.rollout.bounds.rolling {
        planner.roll()
    } else {
        planner.recreate(running)
    };
    planner.finish(status)
}

impl Planner<'_> {
    fn spec_limit(&self) -> Option<i32> {
        self.deployment
            .spec
            .as_ref()?
            .revision_history_limit
            .filter(|limit| *limit != i32::MAX)
    }

    fn set_condition(&mut self, state: &str, reason: &str, message: String) {
        let condition = status::new_condition(PROGRESSING, state, reason, message, self.now);
        status::set_condition(&mut self.status, condition);
    }

    /// While paused no progress is expected; resuming starts the clock anew.
    fn note_pause(&mut self, paused: bool) {
        if status::progress_deadline(self.deployment).is_none()
            || status::has_reason(&self.status, PROGRESSING, reason::TIMED_OUT)
        {
            return;
        }
        let noted = status::has_reason(&self.status, PROGRESSING, reason::PAUSED);
        if paused && !noted {
            self.set_condition("Unknown", reason::PAUSED, "Deployment is paused".to_owned());
        } else if !paused && noted {
            self.set_condition(
                "Unknown",
                reason::RESUMED,
                "Deployment is resumed".to_owned(),
            );
        }
    }

    /// Brings the new ReplicaSet's annotations and the deployment's revision up to date, where it exists.
    fn sync_new_set(&mut self) {
        let Some(index) = self.rollout.new else {
            return;
        };
        let old = self.rollout.old().into_iter();
        let wanted = revision::next(old.map(|i| &*self.rollout.sets[i].object));
        let set = &mut self.rollout.sets[index];
        revision::update(&mut set.annotations, self.deployment, wanted);
        set.min_ready_seconds = self
            .deployment
            .spec
            .as_ref()
            .and_then(|s| s.min_ready_seconds)
            .unwrap_or(0);
        self.revision = set.annotations.get(REVISION).cloned();
        let message = format!("Found new replica set {:?}", set.name());
        if status::progress_deadline(self.deployment).is_some()
            && status::condition(&self.status, PROGRESSING).is_none()
        {
            self.set_condition("True", reason::FOUND, message);
        }
    }

    /// Adds the ReplicaSet of the current template, sized as the rollout allows.
    fn create_new_set(&mut self) {
        if self.rollout.new.is_some() {
            return;
        }
        let wanted = revision::next(self.rollout.sets.iter().map(|set| &*set.object));
        let mut set = Set::observed(Arc::new(new_replica_set(self.deployment, &self.status)));
        set.create = true;
        set.replicas = self.rollout.new_size(0);
        revision::update(&mut set.annotations, self.deployment, wanted);
        let bounds = self.rollout.bounds;
        revision::set_sizes(&mut set.annotations, bounds.desired, bounds.max_total());
        if set.replicas > 0 {
            let message = format!(
                "Scaled up replica set {} from 0 to {}",
                set.name(),
                set.replicas
            );
            self.rollout.scaled.push(message);
        }
        self.revision = Some(wanted.to_string());
        if status::progress_deadline(self.deployment).is_some() {
            self.set_condition(
                "True",
                reason::CREATED,
                format!("Created new replica set {:?}", set.name()),
            );
        }
        self.rollout.new = Some(self.rollout.sets.len());
        self.rollout.sets.push(set);
    }

    fn clean_up(&mut self) {
        if let Some(limit) = self.spec_limit() {
            self.rollout.clean_up(limit);
        }
    }

    fn roll(&mut self) -> DeploymentStatus {
        self.create_new_set();
        if !self.rollout.scale_new()
            && !self.rollout.scale_down_old()
            && status::is_complete(self.deployment, &self.status)
        {
            self.clean_up();
        }
        self.rollout_status()
    }

    fn recreate(&mut self, running: impl FnOnce() -> HashMap<String, usize>) -> DeploymentStatus {
        let mut scaled_down = false;
        for index in self.rollout.old() {
            scaled_down |= self.rollout.scale(index, 0);
        }
        if scaled_down || self.old_pods_run(running) {
            return self.rollout_status();
        }
        self.create_new_set();
        self.rollout.scale_new();
        if status::is_complete(self.deployment, &self.status) {
            self.clean_up();
        }
        self.rollout_status()
    }

    fn old_pods_run(&self, running: impl FnOnce() -> HashMap<String, usize>) -> bool {
        let new_uid = self
            .rollout
            .new_set()
            .and_then(|set| set.object.metadata.uid.as_ref());
        let counted = self
            .rollout
            .old()
            .into_iter()
            .any(|i| self.rollout.sets[i].status().replicas > 0);
        counted
            || running()
                .iter()
                .any(|(uid, pods)| Some(uid) != new_uid && *pods > 0)
    }

    /// Pods on their way out; unknown while a set that has been looked at does not tell its own.
    fn terminating(&self) -> Option<i32> {
        let mut total = 0_i32;
        for set in &self.rollout.sets {
            let status = set.status();
            match status.terminating_replicas {
                Some(count) => total = total.saturating_add(count),
                None if status.observed_generation.unwrap_or(0) == 0 => {}
                None => return None,
            }
        }
        Some(total)
    }

    /// Counts, and the Available condition.
    fn counted_status(&self) -> DeploymentStatus {
        let sets = &self.rollout.sets;
        let sum = |of: fn(&Set) -> i32| Some(rollout::sum(sets.iter().map(of))).filter(|n| *n != 0);
        let available = sum(Set::available).unwrap_or(0);
        let planned = sum(|set| set.replicas).unwrap_or(0);
        let mut new = DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: sum(|set| set.status().replicas),
            updated_replicas: self
                .rollout
                .new_set()
                .map(|set| set.status().replicas)
                .filter(|n| *n != 0),
            ready_replicas: sum(|set| set.status().ready_replicas.unwrap_or(0)),
            available_replicas: sum(Set::available),
            terminating_replicas: self.terminating(),
            unavailable_replicas: Some(planned.saturating_sub(available).max(0))
                .filter(|n| *n != 0),
            ..self.status.clone()
        };
        let condition = if available >= self.rollout.bounds.min_available() {
            let message = "Deployment has minimum availability.";
            status::new_condition(
                AVAILABLE,
                "True",
                "MinimumReplicasAvailable",
                message,
                self.now,
            )
        } else {
            let message = "Deployment does not have minimum availability.";
            status::new_condition(
                AVAILABLE,
                "False",
                "MinimumReplicasUnavailable",
                message,
                self.now,
            )
        };
        status::set_condition(&mut new, condition);
        new
    }

    /// Counts and all conditions, as they are during a rollout.
    fn rollout_status(&self) -> DeploymentStatus {
        let mut new = self.counted_status();
        let current = status::condition(&self.status, PROGRESSING);
        // The condition may still tell of the last rollout, when this one was too quick for its steps to be written.
        let names_new = self.rollout.new_set().is_none_or(|set| {
            let message = current
                .and_then(|c| c.message.as_deref())
                .unwrap_or_default();
            message.contains(&format!("{:?}", set.name()))
        });
        let done_before = new.replicas == new.updated_replicas
            && names_new
            && status::has_reason(&self.status, PROGRESSING, reason::AVAILABLE);
        if status::progress_deadline(self.deployment).is_none() {
            status::remove_condition(&mut new, PROGRESSING);
        } else if !done_before {
            let subject = match self.rollout.new_set() {
                Some(set) => format!("ReplicaSet {:?}", set.name()),
                None => format!(
                    "Deployment {:?}",
                    self.deployment.metadata.name.as_deref().unwrap_or_default()
                ),
            };
            let progressing = |state, reason, text: &str| {
                status::new_condition(
                    PROGRESSING,
                    state,
                    reason,
                    format!("{subject} {text}"),
                    self.now,
                )
            };
            if status::is_complete(self.deployment, &new) {
                let mut condition =
                    progressing("True", reason::AVAILABLE, "has successfully progressed.");
                if let Some(current) = current.filter(|c| c.status == "True" && !names_new) {
                    condition.last_transition_time = current.last_transition_time.clone();
                    status::remove_condition(&mut new, PROGRESSING);
                }
                status::set_condition(&mut new, condition);
            } else if status::has_progressed(&self.status, &new) {
                let mut condition =
                    progressing("True", reason::REPLICA_SET_UPDATED, "is progressing.");
                // Each progress renews the update time, also when nothing else changes.
                if let Some(current) = current.filter(|c| c.status == "True") {
                    condition.last_transition_time = current.last_transition_time.clone();
                }
                status::remove_condition(&mut new, PROGRESSING);
                status::set_condition(&mut new, condition);
            } else if status::has_timed_out(self.deployment, &new, self.now) {
                let condition =
                    progressing("False", reason::TIMED_OUT, "has timed out progressing.");
                status::set_condition(&mut new, condition);
            }
        }
        match self.replica_failure() {
            Some(condition) => status::set_condition(&mut new, condition),
            None => status::remove_condition(&mut new, REPLICA_FAILURE),
        }
        new
    }

    /// The failure of the new ReplicaSet, or of the first old one that has any.
    fn replica_failure(&self) -> Option<k8s_openapi::api::apps::v1::DeploymentCondition> {
        let of = |set: &Set| {
            let conditions = set.object.status.as_ref()?.conditions.as_ref()?;
            conditions
                .iter()
                .find(|c| c.type_ == REPLICA_FAILURE)
                .map(status::from_replica_set)
        };
        self.rollout
            .new_set()
            .and_then(of)
            .or_else(|| self.rollout.sets.iter().find_map(of))
    }

    fn finish(self, status: DeploymentStatus) -> Plan {
        let mut ops = Vec::new();
        for set in &self.rollout.sets {
            ops.extend(write(set));
        }
        ops.extend(self.rollout.scaled.iter().map(|message| Op::Scaled {
            message: message.clone(),
        }));
        let again_after = self.again_after(&status);
        let noted = self
            .deployment
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(REVISION));
        let revision = self.revision.filter(|revision| noted != Some(revision));
        if revision.is_some() || Some(&status) != self.deployment.status.as_ref() {
            ops.push(Op::Status {
                status: Box::new(status),
                revision,
            });
        }
        Plan { ops, again_after }
    }

    fn again_after(&self, new: &DeploymentStatus) -> Option<Duration> {
        let deadline = status::progress_deadline(self.deployment)?;
        let progressing = status::condition(new, PROGRESSING)?;
        let settled = matches!(
            progressing.reason.as_deref(),
            Some(reason::TIMED_OUT | reason::PAUSED | reason::AVAILABLE)
        );
        if settled || status::is_complete(self.deployment, new) {
            return None;
        }
        let due = progressing.last_update_time.as_ref()?.0;
        let due = due.checked_add(deadline).ok()?;
        // A second more, as times are kept in whole seconds.
        let left = (self.now.duration_until(due).max(SignedDuration::ZERO))
            .saturating_add(SignedDuration::from_secs(1));
        Duration::try_from(left).ok()
    }
}

/// The write that makes a ReplicaSet what it is to be; `None` when it is.
fn write(set: &Set) -> Option<Op> {
    let object = &set.object;
    if set.create {
        let mut object = ReplicaSet::clone(object);
        object.metadata.annotations = Some(set.annotations.clone());
        if let Some(spec) = &mut object.spec {
            spec.replicas = Some(set.replicas);
        }
        return Some(Op::Create(Box::new(object)));
    }
    if set.delete {
        return Some(Op::Delete {
            set: object.clone(),
        });
    }
    let mut spec = serde_json::Map::new();
    if set.replicas != observed_replicas(object) {
        spec.insert("replicas".to_owned(), json!(set.replicas));
    }
    if set.min_ready_seconds
        != object
            .spec
            .as_ref()
            .and_then(|s| s.min_ready_seconds)
            .unwrap_or(0)
    {
        spec.insert("minReadySeconds".to_owned(), json!(set.min_ready_seconds));
    }
    let before = object.metadata.annotations.clone().unwrap_or_default();
    let mut annotations = serde_json::Map::new();
    for (key, value) in &set.annotations {
        if before.get(key) != Some(value) {
            annotations.insert(key.clone(), json!(value));
        }
    }
    for key in before
        .keys()
        .filter(|key| !set.annotations.contains_key(*key))
    {
        annotations.insert(key.clone(), Value::Null);
    }
    if spec.is_empty() && annotations.is_empty() {
        return None;
    }
    let mut patch = json!({"metadata": {"resourceVersion": object.metadata.resource_version}});
    if !annotations.is_empty() {
        patch["metadata"]["annotations"] = annotations.into();
    }
    if !spec.is_empty() {
        patch["spec"] = spec.into();
    }
    Some(Op::Patch {
        name: set.name().to_owned(),
        patch,
    })
}

#[cfg(test)]
mod tests;
