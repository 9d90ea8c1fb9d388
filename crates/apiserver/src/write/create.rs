//! POST: system fields, a generated name, and the create part of the write path.

use std::sync::Arc;

use knarr_meta::{
    GroupKind,
    field::{ErrorList, Path},
    names, object, object_meta,
    status::Status,
    time,
};
use knarr_store::Expect;
use serde_json::Value;

use super::{Phase, Refused, Write, check_namespace, metadata, set_type};
use crate::{
    cache::entry::{self, Entry},
    core::Core,
    request::Operation,
};

/// Names tried before a generateName gives up, as upstream.
const GENERATED_NAMES: usize = 8;

impl Core {
    /// Creates an object of the stored version, defaulted. Answers the stored state.
    pub async fn create(&self, write: &Write<'_>, mut tree: Value) -> Result<Arc<Entry>, Status> {
        check_namespace(write, &mut tree)?;
        set_type(write.kind, &mut tree);
        if !object::resource_version(&tree).is_empty() {
            return Err(Status::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        // Admission and hooks judge by the cache: it must have what was acknowledged (the namespace, just made).
        self.cache.fresh().await?;
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
        }
        let generated = asked_name.is_empty() && !object::generate_name(&tree).is_empty();
        system_fields(&mut tree, strategy.has_generation());
        if !generated {
            return self.try_create(write, tree).await;
        }
        let mut last = Status::internal("no name was tried");
        for _ in 0..GENERATED_NAMES {
            let name = names::generate(object::generate_name(&tree));
            last = Status::generate_name_conflict(write.group_resource(), &name, 1);
            metadata(&mut tree).insert("name".into(), Value::from(name));
            match self.try_create(write, tree.clone()).await {
                Err(status) if status.is_already_exists() => {}
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
            Err(Refused::Conflict(_)) => Err(self.exists(write, object::name(&tree)).await),
        }
    }

    async fn validated_create(
        &self,
        write: &Write<'_>,
        tree: &mut Value,
    ) -> Result<Arc<Entry>, Refused> {
        let strategy = &write.kind.strategy;
        strategy.prepare_create(tree);
        let name = object::name(tree).to_owned();
        let errors = validate(write, tree);
        if !errors.is_empty() {
            return Err(Refused::Status(Status::invalid(
                GroupKind::new(write.kind.group.clone(), write.kind.kind.clone()),
                &name,
                errors,
            )));
        }
        for warning in strategy.warnings(tree) {
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
        if write.dry_run {
            return self
                .pretend_create(write, &name, tree)
                .await
                .map_err(Refused::Status);
        }
        self.commit(write, &name, entry::encode(tree), Expect::Absent)
            .await
    }

    async fn pretend_create(
        &self,
        write: &Write<'_>,
        name: &str,
        tree: &Value,
    ) -> Result<Arc<Entry>, Status> {
        self.cache.fresh().await?;
        let (short, _) = write.keys(name);
        match self.cache.of(write.kind)?.get(&short) {
            Some(_) => Err(Status::already_exists(write.group_resource(), name)),
            None => Ok(self.pretend(write, name, entry::encode(tree), 0)),
        }
    }

    /// 409, saying so where the object in the way is on its way out.
    async fn exists(&self, write: &Write<'_>, name: &str) -> Status {
        let mut status = Status::already_exists(write.group_resource(), name);
        if let Ok(current) = self.current(write, name).await
            && object::deletion_timestamp(&current.tree).is_some()
        {
            status.message = format!("object is being deleted: {}", status.message);
        }
        status
    }
}

/// What the server alone decides.
fn system_fields(tree: &mut Value, generation: bool) {
    let meta = metadata(tree);
    for field in [
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "generation",
    ] {
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
    let name = |name: &str, prefix: bool| {
        let unsafe_segment = names::path_segment(name, prefix);
        match unsafe_segment.is_empty() {
            true => strategy.validate_name(name, prefix),
            false => unsafe_segment,
        }
    };
    let mut errors =
        object_meta::validate_with(meta, write.kind.namespaced(), name, &Path::new("metadata"));
    errors.extend(strategy.validate_create(tree));
    errors
}
