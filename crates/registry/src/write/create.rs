//! POST: system fields, a generated name, and the create part of the write path.

use std::sync::Arc;

use knarr_admission::request::Operation;
use knarr_api::{
    Requester,
    kind::{Part, Verb},
    schema::{disabled, enums},
};
use knarr_meta::{
    field::{Error, ErrorList, Path},
    names, object, object_meta,
    status::Status,
    time,
};
use knarr_store::Expect;
use serde_json::Value;

use super::{
    Phase, Refused, Write, check_namespace, in_words_of, metadata,
    owners::{self, When},
    set_type, track,
};
use crate::{Registry, cache::entry::Entry, managed::Managed};

/// Names tried before a generateName gives up, as upstream.
const GENERATED_NAMES: usize = 8;
/// When a client whose generated name was taken may try again.
const RETRY_AFTER_SECONDS: u32 = 1;

impl Registry {
    /// Creates an object of the stored version, defaulted. Answers the stored state.
    pub async fn create(&self, write: &Write<'_>, mut tree: Value) -> Result<Arc<Entry>, Status> {
        // By whatever verb it comes: of a definition that goes there are no new objects.
        if !write.kind.verbs.contains(&Verb::Create) {
            return Err(Status::method_not_allowed());
        }
        check_namespace(write, &mut tree)?;
        set_type(write.kind, &mut tree);
        // The caller's, not what admission makes of it.
        let version = metadata(&mut tree).get("resourceVersion").cloned();
        // Admission and hooks judge by the cache: it must have what was acknowledged (the namespace, just made).
        self.cache.fresh().await?;
        forget_deletion(&mut tree);
        owners::dedup(write, &mut tree, When::Asked);
        if let Managed::Update(manager) = write.managed {
            track(write, manager, Part::Main, None, &mut tree);
        }
        let asked_name = object::name(&tree).to_owned();
        let strategy = &write.kind.strategy;
        if self
            .admit(
                write,
                Operation::Create,
                &asked_name,
                Phase::Mutate,
                Some(&mut tree),
                None,
            )
            .await?
        {
            strategy.default(&mut tree);
            owners::dedup(write, &mut tree, When::Admitted);
        }
        // What admission made of it stays where it was asked for.
        check_namespace(write, &mut tree)?;
        set_type(write.kind, &mut tree);
        let generated = object::name(&tree).is_empty() && !object::generate_name(&tree).is_empty();
        system_fields(&mut tree, strategy.has_first_generation());
        if let Some(version) = version {
            metadata(&mut tree).insert("resourceVersion".into(), version);
        }
        if !generated {
            return self.try_create(write, tree).await;
        }
        let mut last = Status::internal("no name was tried");
        for _ in 0..GENERATED_NAMES {
            let name = strategy.generate_name(object::generate_name(&tree));
            metadata(&mut tree).insert("name".into(), Value::from(name));
            match self.try_create(write, tree.clone()).await {
                Err(status) if status.is_already_exists() => last = status,
                other => return other,
            }
        }
        Err(last)
    }

    /// From the hooks to the commit, undoing what the hooks took when anything fails.
    async fn try_create(&self, write: &Write<'_>, mut tree: Value) -> Result<Arc<Entry>, Status> {
        let takings = self.take(write, &mut tree, None).await?;
        let result = self.validated_create(write, &mut tree).await;
        self.settle(write, takings, &result, &tree, None).await;
        match result {
            Ok(entry) => Ok(entry),
            Err(Refused::Status(status) | Refused::Unknown(status)) => Err(status),
            Err(Refused::Conflict(_)) => Err(self.exists(write, &tree).await),
        }
    }

    async fn validated_create(
        &self,
        write: &Write<'_>,
        tree: &mut Value,
    ) -> Result<Arc<Entry>, Refused> {
        let strategy = &write.kind.strategy;
        for warning in strategy.early_warnings(tree) {
            write.warnings.add(warning);
        }
        strategy.prepare_create(tree);
        disabled::drop(&write.kind.definition, tree, None);
        let user = write.user;
        let requester = Requester {
            name: &user.name,
            uid: &user.uid,
            groups: &user.groups,
            extra: &user.extra,
        };
        strategy.stamp(tree, &requester);
        let name = object::name(tree).to_owned();
        let errors = validate(write, tree);
        if !errors.is_empty() {
            return Err(Refused::Status(write.invalid(&name, errors)));
        }
        for warning in strategy.warnings(tree, None, Part::Main) {
            write.warnings.add(warning);
        }
        self.admit(
            write,
            Operation::Create,
            &name,
            Phase::Validate,
            Some(tree),
            None,
        )
        .await
        .map_err(Refused::Status)?;
        strategy.settle(tree);
        // The store's word, upstream: who may not create it at all is told that first, and a dry run does not ask it.
        let version = metadata(tree).remove("resourceVersion");
        if !write.dry_run && version.is_some_and(|version| version != "") {
            return Err(Refused::Status(Status::unexpected(
                "resourceVersion should not be set on objects to be created",
            )));
        }
        if write.dry_run {
            return self.pretend_create(write, &name, tree).await;
        }
        let json = self.encode_bounded(write, tree).await?;
        self.commit(write, &name, json, Some(tree), Expect::Absent)
            .await
    }

    async fn pretend_create(
        &self,
        write: &Write<'_>,
        name: &str,
        tree: &mut Value,
    ) -> Result<Arc<Entry>, Refused> {
        let (short, _) = write.keys(name);
        let fresh = async {
            self.cache.fresh().await?;
            Ok(self.cache.of(write.kind)?.get(&short))
        };
        match fresh.await.map_err(Refused::Status)? {
            Some(_) => Err(Refused::Status(taken(write, tree))),
            None => {
                let json = self.encode_bounded(write, tree).await?;
                Ok(self.pretend(write, name, json, 0))
            }
        }
    }

    /// 409, saying so where the object in the way is on its way out.
    async fn exists(&self, write: &Write<'_>, tree: &Value) -> Status {
        let mut status = taken(write, tree);
        if let Ok(current) = self.current(write, object::name(tree)).await
            && object::deletion_timestamp(&current.tree).is_some()
        {
            status.message = format!("object is being deleted: {}", status.message);
        }
        status
    }
}

/// 409: an object that says a prefix is told that its name was generated, also where it came with one.
fn taken(write: &Write<'_>, tree: &Value) -> Status {
    let name = object::name(tree);
    if object::generate_name(tree).is_empty() {
        Status::already_exists(write.group_resource(), name)
    } else {
        Status::generate_name_conflict(write.group_resource(), name, RETRY_AFTER_SECONDS)
    }
}

/// What no client can say of a new object.
pub fn forget_system_fields(tree: &mut Value) {
    forget_deletion(tree);
    for field in ["creationTimestamp", "uid", "selfLink"] {
        metadata(tree).remove(field);
    }
}

/// A new object is not being deleted, whatever it says.
fn forget_deletion(tree: &mut Value) {
    let meta = metadata(tree);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        meta.remove(field);
    }
}

/// What the server alone decides.
fn system_fields(tree: &mut Value, generation: bool) {
    forget_deletion(tree);
    let meta = metadata(tree);
    // A generation that is asked for stays where the kind counts none.
    for field in ["selfLink", "resourceVersion"] {
        meta.remove(field);
    }
    meta.insert("uid".into(), Value::from(names::new_uid()));
    meta.insert("creationTimestamp".into(), Value::from(time::now_seconds()));
    if generation {
        meta.insert("generation".into(), Value::from(1));
    }
}

fn validate(write: &Write<'_>, tree: &Value) -> ErrorList {
    let strategy = &write.kind.strategy;
    let empty = Value::Null;
    let meta = tree.get("metadata").unwrap_or(&empty);
    let name = |name: &str, prefix: bool| strategy.validate_name(name, prefix);
    let path = Path::new("metadata");
    let of_metadata = || object_meta::validate_with(meta, write.kind.namespaced(), name, &path);
    let mut errors = ErrorList::new();
    if write.kind.validates_metadata() {
        errors = of_metadata();
    }
    if write.kind.has_standard_finalizers() {
        errors.extend(object_meta::validate_standard_finalizers(meta, &path));
    }
    errors.extend(strategy.validate_create(tree));
    strategy.validate_rest(tree, None, &mut errors);
    enums::add_empty_values(&write.kind.definition, tree, None, &mut errors);
    if let Some(alias) = write.alias {
        in_words_of(alias, &mut errors);
        errors.extend((alias.validate)(tree, None));
    }
    if errors.is_empty() && !write.kind.validates_metadata() {
        errors = of_metadata();
    }
    // What cannot be a part of a path is told where the kind has nothing against the object.
    if errors.is_empty() {
        for (field, prefix) in [("generateName", true), ("name", false)] {
            let name = object::str_at(meta, &[field]);
            if name.is_empty() {
                continue;
            }
            let messages = names::path_segment(name, prefix).into_iter();
            errors.extend(messages.map(|why| Error::invalid(&path.child(field), name, why)));
        }
    }
    errors
}
