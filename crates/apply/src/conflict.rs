//! What an applier wants that others own.

use std::collections::BTreeMap;

use knarr_meta::status::{Reason, Status};

use crate::{
    element::{self, Element},
    managers::Identity,
    set::Set,
};

/// The cause of each conflict in a Status.
pub const CAUSE: &str = "FieldManagerConflict";

/// The paths that others own, by owner. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts<'a>(pub(crate) BTreeMap<Identity<'a>, Set<'a>>);

impl<'a> Conflicts<'a> {
    /// Every path that somebody else owns.
    pub(crate) fn paths(&self) -> Set<'a> {
        let sets = self.0.values();
        sets.fold(Set::default(), |all, set| all.union(set))
    }

    /// The conflicts that are about no path in `allowed`.
    pub(crate) fn without(&self, allowed: &Set<'_>) -> Conflicts<'a> {
        let mut left = BTreeMap::new();
        for (manager, set) in &self.0 {
            let set = set.difference(allowed);
            if !set.is_empty() {
                left.insert(manager.clone(), set);
            }
        }
        Conflicts(left)
    }

    /// The answer: 409, with a cause for each path.
    pub fn status(&self) -> Status {
        let mut lines = Vec::new();
        let mut causes = Vec::new();
        for (manager, set) in &self.0 {
            lines.push(format!("conflicts with {manager}:"));
            set.for_each(&mut |path: &[&Element<'_>]| {
                let path = element::show(path);
                lines.push(format!("- {path}"));
                causes.push((format!("conflict with {manager}"), path));
            });
        }
        let message = match &causes[..] {
            [(conflict, path)] => {
                format!("Apply failed with 1 conflict: {conflict}: {path}")
            }
            causes => format!(
                "Apply failed with {} conflicts: {}",
                causes.len(),
                lines.join("\n")
            ),
        };
        let status = Status::new(409, Reason::Conflict, message);
        causes.into_iter().fold(status, |status, (message, path)| {
            status.with_cause(CAUSE, message, path)
        })
    }
}
