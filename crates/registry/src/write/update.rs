//! PUT, PATCH and every subresource that changes its object: guaranteed update.

mod checks;
mod names;

use std::sync::Arc;

use knarr_admission::request::Operation;
use knarr_api::{
    kind::{Part, SCALE},
    schema::disabled,
};
use knarr_meta::{object, status::Status};
use knarr_store::{Change, Expect};
use serde_json::Value;

pub use self::checks::check_name;
use self::checks::{check_uid, other_uid, preconditions, validate};
use super::{
    ATTEMPTS, Current, Phase, Refused, Write, check_namespace, finalized_by_spec, held, metadata,
    owners::{self, When},
    part::{self, changes},
    says_empty, set_type, track,
};
use crate::{
    Registry,
    cache::entry::Entry,
    managed::{self, Managed, ROUNDS, scale},
};

/// Computes the wanted object from the current one (with its resourceVersion). Called once an attempt.
pub type Compute<'c> = dyn FnMut(&Value) -> Result<Value, Status> + Send + 'c;

/// What became of an update.
pub struct Updated {
    pub entry: Arc<Entry>,
    /// PUT made it.
    pub created: bool,
    /// It is as it was.
    pub unchanged: bool,
}

/// One turn of a guaranteed update.
struct Attempt<'a> {
    write: &'a Write<'a>,
    name: &'a str,
    part: Part,
    current: &'a Current,
    admission: bool,
    /// The wanted object had something empty in it.
    says_empty: bool,
}

impl Registry {
    /// Reads, computes, compares and swaps until no other writer is in the way.
    pub async fn update(
        &self,
        write: &Write<'_>,
        name: &str,
        part: Part,
        compute: &mut Compute<'_>,
    ) -> Result<Updated, Status> {
        self.update_with(write, name, part, compute, true).await
    }

    /// Like [`Registry::update`] for subresources whose own object has been through admission.
    pub async fn update_unadmitted(
        &self,
        write: &Write<'_>,
        name: &str,
        part: Part,
        compute: &mut Compute<'_>,
    ) -> Result<Updated, Status> {
        self.update_with(write, name, part, compute, false).await
    }

    async fn update_with(
        &self,
        write: &Write<'_>,
        name: &str,
        part: Part,
        compute: &mut Compute<'_>,
        admission: bool,
    ) -> Result<Updated, Status> {
        for _ in 0..ATTEMPTS {
            let current = self.current(write, name).await?;
            let (tree, says_empty) = self.computed(write, part, &current, compute).await?;
            let attempt = Attempt {
                write,
                name,
                part,
                current: &current,
                admission,
                says_empty,
            };
            match self.try_update(&attempt, tree).await {
                Ok(entry) => {
                    return Ok(Updated {
                        unchanged: Arc::ptr_eq(&entry, &current.entry),
                        entry,
                        created: false,
                    });
                }
                Err(Refused::Status(status) | Refused::Unknown(status)) => return Err(status),
                Err(Refused::Conflict(revision)) => self.cache.at_least(revision).await?,
            }
        }
        Err(Status::modified(write.group_resource(), name))
    }

    /// What a write makes of the current object, with its managers, and whether something empty was in it. It is computed anew for as
    /// long as it lacks conversions to versions in which managers own fields.
    async fn computed(
        &self,
        write: &Write<'_>,
        part: Part,
        current: &Current,
        compute: &mut Compute<'_>,
    ) -> Result<(Value, bool), Status> {
        let mut compute = || {
            let mut tree = compute(&current.tree)?;
            let says_empty = says_empty(write.kind, &tree);
            if let Managed::Update(manager) = write.managed {
                track(write, manager, part, Some(&current.tree), &mut tree);
            }
            Ok((tree, says_empty))
        };
        let mut computed = compute();
        if let Some(siblings) = write.siblings {
            for _ in 0..ROUNDS {
                if !self.convert_missing(write.kind, siblings).await {
                    break;
                }
                computed = compute();
            }
        }
        computed
    }

    /// PUT of the whole object; creates it where the kind allows that and the user may.
    pub async fn put(
        &self,
        write: &Write<'_>,
        name: &str,
        part: Part,
        tree: Value,
        may_create: impl Fn() -> Result<(), Status>,
    ) -> Result<Updated, Status> {
        // Before the current object is looked for: a wrong name is the caller's mistake, whatever is there.
        check_name(name, &tree)?;
        let mut tree = tree;
        owners::dedup(write, &mut tree, When::Asked);
        let result = self
            .update(write, name, part, &mut |current| {
                check_uid(write, name, &tree, current)?;
                Ok(tree.clone())
            })
            .await;
        match result {
            Err(status)
                if status.is_not_found()
                    && part == Part::Main
                    && write.kind.strategy.create_on_update() =>
            {
                may_create()?;
                let mut tree = tree;
                let uid = object::uid(&tree);
                if !uid.is_empty() {
                    return Err(other_uid(write, name, uid, ""));
                }
                metadata(&mut tree).remove("resourceVersion");
                let entry = self.create(write, tree).await?;
                Ok(Updated {
                    entry,
                    created: true,
                    unchanged: false,
                })
            }
            other => other,
        }
    }

    async fn try_update(
        &self,
        attempt: &Attempt<'_>,
        mut tree: Value,
    ) -> Result<Arc<Entry>, Refused> {
        let &Attempt {
            write,
            name,
            current,
            ..
        } = attempt;
        preconditions(write, name, current, &mut tree).map_err(Refused::Status)?;
        self.mutate(attempt, &mut tree)
            .await
            .map_err(Refused::Status)?;
        let takings = self.take(write, &mut tree, Some(&current.tree)).await;
        let takings = takings.map_err(Refused::Status)?;
        let result = self.validated_update(attempt, &mut tree).await;
        self.settle(write, takings, &result, &tree, Some(&current.tree))
            .await;
        result
    }

    async fn mutate(&self, attempt: &Attempt<'_>, tree: &mut Value) -> Result<(), Status> {
        let &Attempt {
            write,
            name,
            current,
            admission,
            ..
        } = attempt;
        if !admission {
            return Ok(());
        }
        if write.subresource == SCALE.name {
            return self.mutate_scale(attempt, tree).await;
        }
        let old = Some(&current.tree);
        let changed = self
            .admit(
                write,
                Operation::Update,
                name,
                Phase::Mutate,
                Some(tree),
                old,
            )
            .await?;
        if changed {
            write.kind.strategy.default(tree);
        }
        // Of a patch nobody looked before.
        owners::dedup(write, tree, When::Admitted);
        if changed {
            // What admission made of it is still this object.
            check_namespace(write, tree)?;
            set_type(write.kind, tree);
            check_name(name, tree)?;
        }
        Ok(())
    }

    /// What is admitted of a write through `/scale` is the Scale.
    async fn mutate_scale(&self, attempt: &Attempt<'_>, tree: &mut Value) -> Result<(), Status> {
        let &Attempt {
            write,
            name,
            current,
            ..
        } = attempt;
        let kind = write.kind;
        let Some(mut view) = scale::view(kind, tree) else {
            return Ok(());
        };
        let old = scale::view(kind, &current.tree);
        self.admit(
            write,
            Operation::Update,
            name,
            Phase::Mutate,
            Some(&mut view),
            old.as_ref(),
        )
        .await?;
        match object::i64_at(&view, &["spec", "replicas"]) {
            Some(replicas) if scale::view(kind, tree).is_some_and(|before| before != view) => {
                kind.strategy.set_scale(tree, replicas)
            }
            _ => Ok(()),
        }
    }

    async fn validated_update(
        &self,
        attempt: &Attempt<'_>,
        tree: &mut Value,
    ) -> Result<Arc<Entry>, Refused> {
        let &Attempt {
            write,
            name,
            part,
            current,
            admission,
            says_empty,
        } = attempt;
        prepare(write, part, tree, &current.tree, says_empty);
        validate(write, name, part, tree, &current.tree).map_err(Refused::Status)?;
        if admission {
            let mut views = match write.subresource == SCALE.name {
                true => scale::view(write.kind, tree).zip(scale::view(write.kind, &current.tree)),
                false => None,
            };
            let (object, old) = match &mut views {
                Some((view, old)) => (view, &*old),
                None => (&mut *tree, &current.tree),
            };
            self.admit(
                write,
                Operation::Update,
                name,
                Phase::Validate,
                Some(object),
                Some(old),
            )
            .await
            .map_err(Refused::Status)?;
        }
        write.kind.strategy.settle(tree);
        let revision = current.entry.revision;
        if finished(write, tree, &current.tree) {
            return self.finish_deletion(write, name, tree, revision).await;
        }
        let json = self.encode_bounded(write, tree).await?;
        let same =
            json == current.entry.json || self.only_times_differ(write, tree, current).await?;
        let entry = &current.entry;
        if same && !entry.stale && self.transformer.is_current(write.kind, entry.seal) {
            return Ok(current.entry.clone());
        }
        // What the store has in another form is written anew: so is a storage migrated.
        let json = if same {
            current.entry.json.clone()
        } else {
            json
        };
        if write.dry_run {
            return Ok(self.pretend(write, name, json, revision));
        }
        let tree = (!same).then_some(&*tree);
        self.commit(write, name, json, tree, Expect::Revision(revision))
            .await
    }

    /// The last finalizer went: the object goes with it. Clients get the state they wrote.
    async fn finish_deletion(
        &self,
        write: &Write<'_>,
        name: &str,
        tree: &Value,
        revision: u64,
    ) -> Result<Arc<Entry>, Refused> {
        if !write.dry_run {
            let (_, full) = write.keys(name);
            self.commit_op(full, Expect::Revision(revision), Change::Delete)
                .await?;
            for hook in self.hooks.iter().filter(|h| h.handles(write.kind)) {
                hook.after_delete(tree).await;
            }
        }
        let json = self.encode(write, tree).await?;
        Ok(self.pretend(write, name, json, revision))
    }

    /// Whether the write changes nothing but the times of managed fields: then it changes nothing.
    async fn only_times_differ(
        &self,
        write: &Write<'_>,
        tree: &mut Value,
        current: &Current,
    ) -> Result<bool, Refused> {
        if !managed::only_times_differ(tree, &current.tree) {
            return Ok(false);
        }
        let entries = managed::take(tree);
        let old = object::at(&current.tree, &["metadata", "managedFields"]);
        managed::put(tree, old.cloned());
        let same = self.encode(write, tree).await? == current.entry.json;
        if !same {
            managed::put(tree, entries);
        }
        Ok(same)
    }
}

/// Carries over what this update may not change, and counts the generation.
fn prepare(write: &Write<'_>, part: Part, tree: &mut Value, old: &Value, says_empty: bool) {
    let strategy = &write.kind.strategy;
    let entries = match write.managed {
        Managed::Kept => old.pointer("/metadata/managedFields").cloned(),
        Managed::Update(_) | Managed::Given => managed::take(tree),
    };
    if let Some(changes) = changes(write.kind, part) {
        *tree = part::restrict(changes, tree, old);
    }
    let old_meta = old.get("metadata").and_then(Value::as_object);
    let old_field = |field: &str| old_meta.and_then(|m| m.get(field)).cloned();
    let meta = metadata(tree);
    meta.remove("selfLink");
    set(meta, "generation", old_field("generation"));
    let changed = strategy.counts_dropped() && strategy.changes_generation(tree, old);
    strategy.prepare_update(tree, old, part);
    disabled::drop(&write.kind.definition, tree, Some(old));
    let meta = metadata(tree);
    if meta
        .get("uid")
        .and_then(Value::as_str)
        .unwrap_or("")
        .is_empty()
    {
        set(meta, "uid", old_field("uid"));
    }
    set(meta, "creationTimestamp", old_field("creationTimestamp"));
    // Nobody takes them away. Where there are none, validation refuses those that are given.
    for (field, kept) in [
        ("deletionTimestamp", false),
        ("deletionGracePeriodSeconds", true),
    ] {
        let old = old_field(field).filter(|value| !value.is_null());
        let given = meta.get(field).is_some_and(|value| !value.is_null());
        if old.is_some() && !(kept && given) {
            set(meta, field, old);
        }
    }
    set(meta, "managedFields", entries);
    let changes = || {
        let empty = says_empty && strategy.counts_empty();
        empty || changed || strategy.changes_generation(tree, old)
    };
    if strategy.has_generation() && counts(part) && changes() {
        let generation = object::generation(old).saturating_add(1);
        metadata(tree).insert("generation".into(), Value::from(generation));
    }
}

fn set(meta: &mut serde_json::Map<String, Value>, field: &str, value: Option<Value>) {
    match value {
        Some(value) => meta.insert(field.into(), value),
        None => meta.remove(field),
    };
}

/// Whether a change through this part is one of the wanted state: a binding is not, as upstream.
fn counts(part: Part) -> bool {
    !matches!(part, Part::Status | Part::Subresource("binding"))
}

/// Deletion was asked for, its grace period is over, and nothing holds the object any more.
fn finished(write: &Write<'_>, tree: &Value, old: &Value) -> bool {
    let over = match finalized_by_spec(write.kind) {
        // Their deletion has no grace period.
        true => true,
        false => object::deletion_grace_period_seconds(old).unwrap_or(0) == 0,
    };
    object::deletion_timestamp(old).is_some() && over && !held(write.kind, tree)
}
