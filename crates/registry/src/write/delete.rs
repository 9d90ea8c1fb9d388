//! DELETE: preconditions, grace periods, finalizers, and the removal itself.

mod options;

use std::sync::Arc;

use knarr_admission::request::Operation;
use knarr_api::{Kind, kind::Deletion};
use knarr_meta::{GroupResource, clock, object, status::Status, time};
use knarr_store::{Change, Expect};
use serde_json::{Value, json};

use super::{ATTEMPTS, Current, Phase, Refused, Write, finalized_by_spec, held, metadata};
use crate::{Registry, cache::entry::Entry};

pub use options::{DeleteOptions, Propagation};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Upstream's words to who deletes a Job without saying what becomes of its pods.
const ORPHANS_LEFT: &str = "child pods are preserved by default when jobs are deleted; \
    set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

/// The resource whose deletion they are said of.
const WARNS_OF_ORPHANS: (&str, &str) = ("batch", "jobs");

/// What became of a delete.
pub struct Deleted {
    /// The last state, at the revision it had before the removal or has after the change.
    pub entry: Arc<Entry>,
    /// False: it is still there, waiting for its grace period or finalizers.
    pub gone: bool,
}

/// What one attempt decided.
enum Step {
    /// Write this state: deletion has begun.
    Mark(Value),
    /// Nothing to do: it is on its way already.
    Wait,
    /// It goes at once. The state that it is shown with, where that is not the stored one.
    Remove(Option<Value>),
}

impl Write<'_> {
    /// Warns who deletes without saying what becomes of what is owned.
    pub fn warn_of_orphans(&self, options: &DeleteOptions) {
        let warns = (&*self.kind.group, &*self.kind.resource) == WARNS_OF_ORPHANS;
        if warns && options.propagation().is_none() {
            self.warnings.add(ORPHANS_LEFT.to_owned());
        }
    }
}

impl Registry {
    /// Deletes an object, or begins to.
    pub async fn delete(
        &self,
        write: &Write<'_>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        write.warn_of_orphans(options);
        for _ in 0..ATTEMPTS {
            let damaged = self.damaged(write, name, options).await?;
            let attempt = match damaged {
                Some(revision) => self.delete_damaged(write, name, revision).await,
                None => {
                    let current = self.current(write, name).await?;
                    self.try_delete(write, name, options, &current).await
                }
            };
            match attempt {
                Ok(deleted) => return Ok(deleted),
                Err(Refused::Status(status) | Refused::Unknown(status)) => return Err(status),
                Err(Refused::Conflict(revision)) => self.cache.at_least(revision).await?,
            }
        }
        Err(Status::modified(write.group_resource(), name))
    }

    /// The revision of an object that cannot be read, if it may be deleted all the same: preconditions are about what is in
    /// it, and nobody can tell whether they hold.
    async fn damaged(
        &self,
        write: &Write<'_>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Option<u64>, Status> {
        if options.uid.is_some() || options.resource_version.is_some() {
            return Ok(None);
        }
        self.cache.fresh().await?;
        let (short, _) = write.keys(name);
        Ok(self.cache.of(write.kind)?.damaged.revision(&short))
    }

    /// Removes an object that cannot be read: whatever it said about finalizers and grace is lost.
    async fn delete_damaged(
        &self,
        write: &Write<'_>,
        name: &str,
        revision: u64,
    ) -> Result<Deleted, Refused> {
        for phase in [Phase::Mutate, Phase::Validate] {
            self.admit(write, Operation::Delete, name, phase, None, None)
                .await
                .map_err(Refused::Status)?;
        }
        if !write.dry_run {
            let (_, full) = write.keys(name);
            self.commit_op(full, Expect::Revision(revision), Change::Delete)
                .await?;
        }
        let tree = json!({
            "kind": write.kind.kind, "apiVersion": write.kind.api_version(),
            "metadata": {"name": name, "namespace": write.namespace},
        });
        let json = self.encode(write, &tree).await?;
        let entry = self.pretend(write, name, json, revision);
        Ok(Deleted { entry, gone: true })
    }

    async fn try_delete(
        &self,
        write: &Write<'_>,
        name: &str,
        options: &DeleteOptions,
        current: &Current,
    ) -> Result<Deleted, Refused> {
        preconditions(write.kind, name, options, current).map_err(Refused::Status)?;
        for phase in [Phase::Mutate, Phase::Validate] {
            self.admit(
                write,
                Operation::Delete,
                name,
                phase,
                None,
                Some(&current.tree),
            )
            .await
            .map_err(Refused::Status)?;
        }
        let revision = current.entry.revision;
        match plan(write.kind, &current.tree, options) {
            Step::Wait => Ok(Deleted {
                entry: current.entry.clone(),
                gone: false,
            }),
            Step::Mark(tree) if write.dry_run => {
                let json = self.encode(write, &tree).await?;
                let entry = self.pretend(write, name, json, revision);
                Ok(Deleted { entry, gone: false })
            }
            Step::Mark(tree) => {
                let json = self.encode(write, &tree).await?;
                let entry = self
                    .commit(write, name, json, Some(&tree), Expect::Revision(revision))
                    .await?;
                Ok(Deleted { entry, gone: false })
            }
            Step::Remove(shown) => {
                if !write.dry_run {
                    let (_, full) = write.keys(name);
                    self.commit_op(full, Expect::Revision(revision), Change::Delete)
                        .await?;
                    for hook in self.hooks.iter().filter(|h| h.handles(write.kind)) {
                        hook.after_delete(&current.tree).await;
                    }
                }
                let entry = match shown {
                    Some(tree) => {
                        let json = self.encode(write, &tree).await?;
                        self.pretend(write, name, json, revision)
                    }
                    None => current.entry.clone(),
                };
                Ok(Deleted { entry, gone: true })
            }
        }
    }
}

fn preconditions(
    kind: &Kind,
    name: &str,
    options: &DeleteOptions,
    current: &Current,
) -> Result<(), Status> {
    // Upstream names the kind where the resource belongs.
    let resource = || GroupResource::new(kind.group.clone(), kind.kind.clone());
    let uid = object::uid(&current.tree);
    let not_met = |what: &str, wanted: &str, found: &str| {
        let begin = own_words(kind)?;
        let resource = GroupResource::new(kind.group.clone(), kind.resource.clone());
        let why =
            format!("{begin}: {what} in precondition: {wanted}, {what} in object meta: {found}");
        Some(Status::conflict(resource, name, why))
    };
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        if let Some(status) = not_met("UID", wanted, uid) {
            return Err(status);
        }
        return Err(Status::conflict(
            resource(),
            name,
            format_args!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). \
             The object might have been deleted and then recreated"
            ),
        ));
    }
    let version = current.entry.revision.to_string();
    if let Some(wanted) = options
        .resource_version
        .as_deref()
        .filter(|wanted| *wanted != version)
    {
        if let Some(status) = not_met("ResourceVersion", wanted, &version) {
            return Err(status);
        }
        return Err(Status::conflict(
            resource(),
            name,
            format_args!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). \
             The object might have been modified"
            ),
        ));
    }
    Ok(())
}

/// How upstream begins to say that a precondition is not met, of kinds whose deletion is code of their own.
fn own_words(kind: &Kind) -> Option<&'static str> {
    match (&*kind.group, &*kind.resource) {
        ("", "namespaces") => Some("Precondition failed"),
        ("apiextensions.k8s.io", "customresourcedefinitions") => Some("precondition failed"),
        _ => None,
    }
}

/// Decides from the stored state; pure.
fn plan(kind: &Kind, current: &Value, options: &DeleteOptions) -> Step {
    // Negative values mean one second, as upstream.
    let grace = options
        .grace_period_seconds
        .map(|g| if g < 0 { 1 } else { g });
    let deleting = object::deletion_timestamp(current).is_some();
    let mut tree = current.clone();
    if !deleting {
        kind.strategy.begin_deletion(&mut tree);
    }
    // What the kind does by itself is all that is done.
    if tree != *current {
        end_at(&mut tree, 0);
        return Step::Mark(tree);
    }
    if finalized_by_spec(kind) && held_by_spec(current) {
        if deleting {
            return Step::Wait;
        }
        mark(&mut tree, 0, false);
        set_finalizers(kind, &mut tree, options);
        if let Some(map) = tree.as_object_mut() {
            let status = map.entry("status").or_insert_with(|| json!({}));
            status["phase"] = json!("Terminating");
        }
        return Step::Mark(tree);
    }
    if deleting {
        // A running grace period may only get shorter.
        let left = object::deletion_grace_period_seconds(current).unwrap_or(0);
        return match grace {
            _ if left <= 0 => remove_or_hold(kind, current, options),
            Some(0) => remove_or_hold(kind, current, options),
            Some(wanted) if wanted < left => {
                shorten(&mut tree, left, wanted);
                Step::Mark(tree)
            }
            _ => Step::Wait,
        };
    }
    match kind.strategy.deletion(current, grace) {
        Deletion::Graceful { seconds } if seconds > 0 => {
            mark(&mut tree, seconds, true);
            set_finalizers(kind, &mut tree, options);
            Step::Mark(tree)
        }
        // One that could have had a period is shown with none.
        Deletion::Graceful { .. } => match remove_or_hold(kind, current, options) {
            Step::Remove(_) => {
                mark(&mut tree, 0, true);
                Step::Remove(Some(tree))
            }
            other => other,
        },
        Deletion::Immediate => remove_or_hold(kind, current, options),
    }
}

/// Without grace: gone, unless finalizers hold it.
fn remove_or_hold(kind: &Kind, current: &Value, options: &DeleteOptions) -> Step {
    let mut tree = current.clone();
    set_finalizers(kind, &mut tree, options);
    if !held(kind, &tree) {
        return Step::Remove(None);
    }
    mark(&mut tree, 0, true);
    match tree == *current {
        true => Step::Wait,
        false => Step::Mark(tree),
    }
}

fn held_by_spec(tree: &Value) -> bool {
    !object::list_at(tree, &["spec", "finalizers"]).is_empty()
}

/// Sets the deletion fields: the moment at which the grace period ends, and its length.
fn mark(tree: &mut Value, seconds: i64, with_grace: bool) {
    let generation = object::generation(tree);
    let begins = object::deletion_timestamp(tree).is_none();
    end_at(tree, seconds);
    let meta = metadata(tree);
    if begins && generation > 0 {
        meta.insert("generation".into(), json!(generation.saturating_add(1)));
    }
    if with_grace {
        meta.insert("deletionGracePeriodSeconds".into(), json!(seconds));
    }
}

/// Sets the moment at which the grace period ends, unless it ends before.
fn end_at(tree: &mut Value, seconds: i64) {
    let end = object::deletion_timestamp(tree).and_then(time::parse);
    let wanted = time::after(clock::now(), seconds);
    if end.is_none_or(|end| end > wanted) {
        let wanted = json!(time::format_seconds(wanted));
        metadata(tree).insert("deletionTimestamp".into(), wanted);
    }
}

/// Moves the end of a running grace period forward.
fn shorten(tree: &mut Value, left: i64, wanted: i64) {
    let end = object::deletion_timestamp(tree).and_then(time::parse);
    let meta = metadata(tree);
    if let Some(end) = end {
        let at = time::after(end, wanted.saturating_sub(left));
        meta.insert("deletionTimestamp".into(), json!(time::format_seconds(at)));
    }
    meta.insert("deletionGracePeriodSeconds".into(), json!(wanted));
}

/// Adds and removes the garbage collector's finalizers as the options ask; without a policy they stay as they are, or as the kind
/// wants them.
fn set_finalizers(kind: &Kind, tree: &mut Value, options: &DeleteOptions) {
    let finalizers: Vec<String> = object::finalizers(tree).map(str::to_owned).collect();
    let wanted = match options.propagation() {
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Background) => None,
        None if finalizers.iter().any(|f| f == ORPHAN) => Some(ORPHAN),
        None if finalizers.iter().any(|f| f == FOREGROUND) => Some(FOREGROUND),
        None if kind.strategy.orphans_dependents() => Some(ORPHAN),
        None => None,
    };
    let mut new: Vec<String> = finalizers
        .iter()
        .filter(|f| *f != ORPHAN && *f != FOREGROUND)
        .cloned()
        .collect();
    new.extend(wanted.map(str::to_owned));
    if new.iter().collect::<std::collections::BTreeSet<_>>() == finalizers.iter().collect() {
        return;
    }
    let meta = metadata(tree);
    match new.is_empty() {
        true => meta.remove("finalizers"),
        false => meta.insert("finalizers".into(), json!(new)),
    };
}

#[cfg(test)]
mod tests;
