//! The working copy of a rollout: the ReplicaSets of one deployment with the sizes they are to get.
//!
//! Steps change this copy; what differs from the observed objects in the end becomes one patch for each ReplicaSet.
//!
//! Sizes are whatever somebody wrote, up to the bounds of i32: they are added and subtracted with saturation. Where that makes a
//! difference there are no machines for it either.

#![deny(clippy::arithmetic_side_effects)]

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::revision::{self, Annotations};
use super::{status, template};

/// One ReplicaSet as it is (`object`) and as it is to be.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub object: Arc<ReplicaSet>,
    pub replicas: i32,
    pub annotations: Annotations,
    pub min_ready_seconds: i32,
    /// It does not exist yet.
    pub create: bool,
    pub delete: bool,
}

impl Set {
    pub(crate) fn observed(object: Arc<ReplicaSet>) -> Self {
        Self {
            replicas: observed_replicas(&object),
            annotations: object.metadata.annotations.clone().unwrap_or_default(),
            min_ready_seconds: object
                .spec
                .as_ref()
                .and_then(|s| s.min_ready_seconds)
                .unwrap_or(0),
            create: false,
            delete: false,
            object,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn status(&self) -> ReplicaSetStatus {
        self.object.status.clone().unwrap_or_default()
    }

    /// Available ones of those that are to stay: the status may still be of a larger set.
    fn available_of_wanted(&self) -> i32 {
        self.available().min(self.replicas)
    }

    pub(crate) fn available(&self) -> i32 {
        self.object
            .status
            .as_ref()
            .and_then(|s| s.available_replicas)
            .unwrap_or(0)
    }
}

pub(crate) fn observed_replicas(rs: &ReplicaSet) -> i32 {
    rs.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

/// A deployment's size and how far a rollout may deviate from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub desired: i32,
    pub max_surge: i32,
    pub max_unavailable: i32,
    pub rolling: bool,
}

impl Bounds {
    /// Percentages are of the desired size: surge rounded up, unavailability down. Both zero means one unavailable.
    pub(crate) fn of(deployment: &Deployment) -> Self {
        let desired = status::desired(deployment);
        let strategy = deployment.spec.as_ref().and_then(|s| s.strategy.as_ref());
        let rolling = strategy.is_none_or(|s| s.type_.as_deref() != Some("Recreate"));
        if !rolling {
            return Self {
                desired,
                max_surge: 0,
                max_unavailable: 0,
                rolling,
            };
        }
        let update = strategy.and_then(|s| s.rolling_update.as_ref());
        let surge = scaled(update.and_then(|u| u.max_surge.as_ref()), desired, true);
        let mut unavailable = scaled(
            update.and_then(|u| u.max_unavailable.as_ref()),
            desired,
            false,
        );
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self {
            desired,
            max_surge: surge,
            max_unavailable: unavailable.min(desired),
            rolling,
        }
    }

    pub(crate) fn max_total(&self) -> i32 {
        self.desired.saturating_add(self.max_surge)
    }

    pub(crate) fn min_available(&self) -> i32 {
        self.desired.saturating_sub(self.max_unavailable)
    }
}

pub(crate) fn sum(sizes: impl IntoIterator<Item = i32>) -> i32 {
    sizes.into_iter().fold(0, i32::saturating_add)
}

/// A number, or a percentage of `total`.
pub(crate) fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => (*number).max(0),
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = i128::from(percent.max(0)).saturating_mul(total.max(0).into());
            let share = if round_up {
                product.saturating_add(99) / 100
            } else {
                product / 100
            };
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}

/// All ReplicaSets of a deployment, oldest first, and which of them has its template.
#[derive(Debug)]
pub(crate) struct Rollout {
    pub bounds: Bounds,
    pub sets: Vec<Set>,
    pub new: Option<usize>,
    /// Messages of `ScalingReplicaSet` events.
    pub scaled: Vec<String>,
}

impl Rollout {
    pub(crate) fn new(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Self {
        let mut sets: Vec<Set> = sets.iter().cloned().map(Set::observed).collect();
        sets.sort_by(|a, b| by_age(&a.object, &b.object));
        let wanted = deployment.spec.as_ref().map(|s| &s.template);
        let has_template = |set: &Set| {
            let template = set.object.spec.as_ref().and_then(|s| s.template.as_ref());
            wanted
                .zip(template)
                .is_some_and(|(a, b)| template::equal_ignoring_hash(a, b))
        };
        let new = sets.iter().position(has_template);
        Self {
            bounds: Bounds::of(deployment),
            sets,
            new,
            scaled: Vec::new(),
        }
    }

    pub(crate) fn new_set(&self) -> Option<&Set> {
        self.new.map(|i| &self.sets[i])
    }

    /// Indexes of all but the new one, oldest first.
    pub(crate) fn old(&self) -> Vec<usize> {
        (0..self.sets.len())
            .filter(|i| Some(*i) != self.new)
            .collect()
    }

    fn active(&self) -> Vec<usize> {
        (0..self.sets.len())
            .filter(|i| self.sets[*i].replicas > 0)
            .collect()
    }

    fn total(&self) -> i32 {
        sum(self.sets.iter().map(|s| s.replicas))
    }

    /// Sets a size and notes it; whether it changed.
    pub(crate) fn scale(&mut self, index: usize, replicas: i32) -> bool {
        let bounds = self.bounds;
        let set = &mut self.sets[index];
        if set.replicas == replicas {
            return false;
        }
        let direction = if set.replicas < replicas {
            "up"
        } else {
            "down"
        };
        let message = format!(
            "Scaled {direction} replica set {} from {} to {replicas}",
            set.name(),
            set.replicas
        );
        self.scaled.push(message);
        set.replicas = replicas;
        revision::set_sizes(&mut set.annotations, bounds.desired, bounds.max_total());
        true
    }

    /// The size of the deployment changed since its active ReplicaSets were scaled.
    pub(crate) fn is_scaling_event(&self) -> bool {
        self.active().iter().any(|i| {
            let noted = revision::number(&self.sets[*i].annotations, revision::DESIRED_REPLICAS);
            noted.is_some_and(|noted| noted != self.bounds.desired)
        })
    }

    /// The size the new ReplicaSet may grow to now.
    pub(crate) fn new_size(&self, current: i32) -> i32 {
        let Bounds {
            desired, rolling, ..
        } = self.bounds;
        if !rolling {
            return desired;
        }
        let room = self.bounds.max_total().saturating_sub(self.total());
        if room <= 0 {
            current
        } else {
            current.saturating_add(room.min(desired.saturating_sub(current)))
        }
    }

    /// Grows (or shrinks) the new ReplicaSet towards the deployment's size.
    pub(crate) fn scale_new(&mut self) -> bool {
        let Some(index) = self.new else { return false };
        let current = self.sets[index].replicas;
        let size = if current > self.bounds.desired {
            self.bounds.desired
        } else {
            self.new_size(current)
        };
        current != self.bounds.desired && self.scale(index, size)
    }

    /// Shrinks old ReplicaSets as far as availability allows: unhealthy replicas first, they are not missed.
    pub(crate) fn scale_down_old(&mut self) -> bool {
        let old: Vec<usize> = self
            .old()
            .into_iter()
            .filter(|i| self.sets[*i].replicas > 0)
            .collect();
        let Some(new) = self.new_set() else {
            return false;
        };
        // New replicas that are not available yet count as if they were missing.
        let unavailable_new = new.replicas.saturating_sub(new.available_of_wanted());
        let allowed = self
            .total()
            .saturating_sub(self.bounds.min_available())
            .saturating_sub(unavailable_new);
        if old.is_empty() || allowed <= 0 {
            return false;
        }
        let mut removed = 0i32;
        for index in &old {
            let set = &self.sets[*index];
            let unhealthy = set.replicas.saturating_sub(set.available());
            if removed < allowed && unhealthy > 0 {
                let count = unhealthy.min(allowed.saturating_sub(removed));
                removed = removed.saturating_add(count);
                self.scale(*index, self.sets[*index].replicas.saturating_sub(count));
            }
        }
        let available = sum(self.sets.iter().map(Set::available_of_wanted));
        let spare = available.saturating_sub(self.bounds.min_available());
        let mut taken = 0i32;
        for index in old {
            let replicas = self.sets[index].replicas;
            if taken < spare && replicas > 0 {
                let count = replicas.min(spare.saturating_sub(taken));
                taken = taken.saturating_add(count);
                self.scale(index, replicas.saturating_sub(count));
            }
        }
        removed > 0 || taken > 0
    }

    /// Reacts to a changed size (also while paused): to the only ReplicaSet, or to all in proportion to their sizes, so
    /// that scaling in the middle of a rollout does not hasten it.
    pub(crate) fn resize(&mut self) {
        let active = self.active();
        if active.len() <= 1 {
            let newest_old = self.old().last().copied();
            if let Some(index) = active.first().copied().or(self.new).or(newest_old) {
                self.scale(index, self.bounds.desired);
            }
        } else if self.is_saturated() {
            for index in self.old() {
                self.scale(index, 0);
            }
        } else if self.bounds.rolling {
            self.resize_in_proportion(active);
        }
    }

    fn is_saturated(&self) -> bool {
        self.new_set().is_some_and(|set| {
            let desired = self.bounds.desired;
            revision::number(&set.annotations, revision::DESIRED_REPLICAS) == Some(desired)
                && set.replicas == desired
                && set.available() == desired
        })
    }

    fn resize_in_proportion(&mut self, mut active: Vec<usize>) {
        let allowed = if self.bounds.desired > 0 {
            self.bounds.max_total()
        } else {
            0
        };
        let to_add = allowed.saturating_sub(sum(active.iter().map(|i| self.sets[*i].replicas)));
        // Larger ones first; among equals newer ones grow first and older ones shrink first.
        active.sort_by(|a, b| {
            let (a, b) = (&self.sets[*a], &self.sets[*b]);
            let age = by_age(&a.object, &b.object);
            b.replicas
                .cmp(&a.replicas)
                .then(if to_add > 0 { age.reverse() } else { age })
        });
        let mut added = 0i32;
        let mut sizes = Vec::with_capacity(active.len());
        for index in &active {
            let set = &self.sets[*index];
            let share = self.share(set, to_add, added);
            added = added.saturating_add(share);
            sizes.push(set.replicas.saturating_add(share));
        }
        if to_add != 0 {
            // What rounding left over goes to the largest.
            let left = to_add.saturating_sub(added);
            sizes[0] = sizes[0].saturating_add(left).max(0);
        }
        for (index, size) in active.into_iter().zip(sizes) {
            self.scale(index, size);
            let bounds = self.bounds;
            revision::set_sizes(
                &mut self.sets[index].annotations,
                bounds.desired,
                bounds.max_total(),
            );
        }
    }

    /// How many of `to_add` replicas (negative: to remove) are this ReplicaSet's, when `added` have been given out.
    fn share(&self, set: &Set, to_add: i32, added: i32) -> i32 {
        if set.replicas == 0 || to_add == added {
            return 0;
        }
        let fraction = self.fraction(set);
        let left = to_add.saturating_sub(added);
        if to_add > 0 {
            fraction.min(left)
        } else {
            fraction.max(left)
        }
    }

    fn fraction(&self, set: &Set) -> i32 {
        if self.bounds.desired == 0 {
            return set.replicas.saturating_neg();
        }
        let noted = revision::number(&set.annotations, revision::MAX_REPLICAS).filter(|n| *n > 0);
        let before = noted.unwrap_or_else(|| sum(self.sets.iter().map(|s| s.status().replicas)));
        if before == 0 {
            return 0;
        }
        let size = f64::from(set.replicas) * f64::from(self.bounds.max_total()) / f64::from(before);
        // Sizes fit into 32 bits, and the cast saturates.
        ((size + 0.5).floor() as i32).saturating_sub(set.replicas)
    }

    /// Marks the oldest revisions beyond `limit` that run nothing for deletion.
    pub(crate) fn clean_up(&mut self, limit: i32) {
        let alive = |i: &usize| self.sets[*i].object.metadata.deletion_timestamp.is_none();
        let mut old: Vec<usize> = self.old().into_iter().filter(alive).collect();
        let excess = old
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or(0));
        let revision_of = |i: &usize| revision::revision(&self.sets[*i].annotations).unwrap_or(0);
        old.sort_by_key(revision_of);
        for index in old.into_iter().take(excess) {
            let set = &mut self.sets[index];
            let status = set.status();
            let generation = set.object.metadata.generation.unwrap_or(0);
            let settled = generation <= status.observed_generation.unwrap_or(0);
            set.delete = set.replicas == 0 && status.replicas == 0 && settled;
        }
    }
}

/// Oldest first, by name among those of one second.
pub(crate) fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> std::cmp::Ordering {
    let key = |rs: &ReplicaSet| {
        (
            rs.metadata.creation_timestamp.clone(),
            rs.metadata.name.clone(),
        )
    };
    key(a).cmp(&key(b))
}
