//! Writes for the tests of plugins, and into the in-memory objects of tests.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;

use knarr_api::{Kind, Kinds, kind::Part};
use knarr_audit::{Annotations, Level};
use knarr_auth::{UserInfo, objects::Objects, testing::Fake};
use knarr_meta::{GroupResource, object, status::Status};
use serde_json::Value;

use crate::{
    Warnings,
    reinvocation::Reinvocation,
    request::{AdmissionPlugin, AdmissionRequest, Operation, Phase},
    writer::Writer,
};

/// A write to admit.
pub struct Write {
    pub operation: Operation,
    pub kind: Arc<Kind>,
    pub subresource: &'static str,
    pub user: UserInfo,
    pub object: Option<Value>,
    pub old: Option<Value>,
    /// For what has no object.
    pub name: &'static str,
    pub namespace: &'static str,
}

impl Write {
    pub fn create(kind: &Arc<Kind>, user: UserInfo, object: Value) -> Write {
        let (subresource, old, name, namespace) = ("", None, "", "");
        Write {
            operation: Operation::Create,
            kind: kind.clone(),
            subresource,
            user,
            object: Some(object),
            old,
            name,
            namespace,
        }
    }

    pub fn update(kind: &Arc<Kind>, user: UserInfo, old: Value, object: Value) -> Write {
        Write {
            operation: Operation::Update,
            old: Some(old),
            ..Write::create(kind, user, object)
        }
    }

    /// Runs one plugin's phases as the server does; the object as it came out.
    pub async fn run(self, plugin: &dyn AdmissionPlugin) -> Result<Value, Status> {
        self.run_with(plugin, &Warnings::default(), &Annotations::default())
            .await
    }

    /// As [`Write::run`], with what it warned of.
    pub async fn warned(self, plugin: &dyn AdmissionPlugin) -> (Result<Value, Status>, String) {
        let warnings = Warnings::default();
        let result = self
            .run_with(plugin, &warnings, &Annotations::default())
            .await;
        (result, warnings.take().join("\n"))
    }

    /// What audit events of it are annotated with.
    pub async fn annotated(self, plugin: &dyn AdmissionPlugin) -> BTreeMap<String, String> {
        let annotations = Annotations::default();
        annotations.keep(Level::Metadata);
        // A refusal is annotated as well.
        let _ = self
            .run_with(plugin, &Warnings::default(), &annotations)
            .await;
        annotations.all()
    }

    async fn run_with(
        mut self,
        plugin: &dyn AdmissionPlugin,
        warnings: &Warnings,
        annotations: &Annotations,
    ) -> Result<Value, Status> {
        let of = self.object.clone().unwrap_or_default();
        let pick = |given: &str, own: &str| {
            if given.is_empty() {
                own.to_owned()
            } else {
                given.to_owned()
            }
        };
        let (name, namespace) = (
            pick(self.name, object::name(&of)),
            pick(self.namespace, object::namespace(&of)),
        );
        let kinds = Kinds::built_in();
        let mut reinvocation = Reinvocation::default();
        let mut request = AdmissionRequest {
            operation: self.operation,
            kind: &self.kind,
            alias: None,
            kinds: &kinds,
            converter: &(),
            options: &(),
            subresource: self.subresource,
            namespace: &namespace,
            name: &name,
            user: &self.user,
            own: false,
            dry_run: false,
            object: self.object.as_mut(),
            old: self.old.as_ref(),
            warnings,
            annotations,
            reinvocation: &mut reinvocation,
        };
        let mutates = plugin.runs_in(Phase::Mutate);
        if mutates && plugin.handles(&request) {
            plugin.admit(&mut request).await?;
        }
        if mutates && request.reinvocation.begin_again() && plugin.handles(&request) {
            plugin.admit(&mut request).await?;
        }
        if plugin.runs_in(Phase::Validate) && plugin.handles(&request) {
            plugin.validate(&request).await?;
        }
        Ok(self.object.unwrap_or_default())
    }
}

#[async_trait]
impl Writer for Fake {
    async fn create(
        &self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
    ) -> Result<Value, Status> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let name = object::name(&object).to_owned();
        if self
            .get(&kind.group, &kind.resource, namespace, &name)
            .is_some()
        {
            return Err(Status::already_exists(
                GroupResource::new(kind.group.clone(), kind.resource.clone()),
                &name,
            ));
        }
        object["metadata"]["uid"] = format!("uid-{name}").into();
        self.put(&kind.group, &kind.resource, object.clone());
        Ok(object)
    }

    async fn update(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        _part: Part,
        change: &(dyn for<'v> Fn(&'v mut Value) -> Result<bool, Status> + Send + Sync),
    ) -> Result<Value, Status> {
        let mut object = self.stored(&kind.group, &kind.resource, namespace, name);
        if change(&mut object)? {
            self.writes.fetch_add(1, Ordering::Relaxed);
            self.put(&kind.group, &kind.resource, object.clone());
        }
        Ok(object)
    }

    async fn delete(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.remove(&kind.group, &kind.resource, namespace, name);
        Ok(())
    }
}
