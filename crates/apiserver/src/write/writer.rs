//! The server's own writes.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::{Kind, kind::Part};
use knarr_meta::status::Status;
use serde_json::Value;

use super::Write;
use crate::{
    core::Core,
    request::Writer,
    rest::{ask::Warnings, delete_options::DeleteOptions},
};

impl Core {
    fn own_write<'a>(
        &'a self,
        kind: &'a Kind,
        namespace: &'a str,
        warnings: &'a Warnings,
    ) -> Write<'a> {
        Write {
            kind,
            group: &kind.group,
            namespace,
            subresource: "",
            user: &self.own_user,
            dry_run: false,
            warnings,
        }
    }
}

#[async_trait]
impl Writer for Core {
    async fn create(
        &self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
    ) -> Result<Value, Status> {
        kind.strategy.default(&mut object);
        let warnings = Warnings::default();
        let write = self.own_write(kind, namespace, &warnings);
        Ok(Core::create(self, &write, object).await?.tree())
    }

    async fn update(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        part: Part,
        change: &(dyn for<'v> Fn(&'v mut Value) -> Result<bool, Status> + Send + Sync),
    ) -> Result<Value, Status> {
        let warnings = Warnings::default();
        let mut write = self.own_write(kind, namespace, &warnings);
        if part == Part::Status {
            write.subresource = "status";
        }
        let mut compute = |current: &Value| {
            let mut tree = current.clone();
            if change(&mut tree)? {
                kind.strategy.default(&mut tree);
                return Ok(tree);
            }
            Ok(current.clone())
        };
        Ok(Core::update(self, &write, name, part, &mut compute)
            .await?
            .entry
            .tree())
    }

    async fn delete(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
        let warnings = Warnings::default();
        let write = self.own_write(kind, namespace, &warnings);
        Core::delete(self, &write, name, &DeleteOptions::default()).await?;
        Ok(())
    }
}

#[async_trait]
impl Writer for Arc<Core> {
    async fn create(&self, kind: &Kind, namespace: &str, object: Value) -> Result<Value, Status> {
        Writer::create(&**self, kind, namespace, object).await
    }

    async fn update(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        part: Part,
        change: &(dyn for<'v> Fn(&'v mut Value) -> Result<bool, Status> + Send + Sync),
    ) -> Result<Value, Status> {
        Writer::update(&**self, kind, namespace, name, part, change).await
    }

    async fn delete(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
        Writer::delete(&**self, kind, namespace, name).await
    }
}
