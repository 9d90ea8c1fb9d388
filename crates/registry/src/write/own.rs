//! The server's own writes.

use async_trait::async_trait;
use knarr_admission::writer::Writer;
use knarr_api::{Kind, kind::Part, schema::written};
use knarr_audit::Annotations;
use knarr_meta::status::Status;
use serde_json::Value;

use super::Write;
use crate::{
    Registry,
    managed::{self, Managed, Manager},
    write::{DeleteOptions, Warnings},
};

/// What such writes have to say beside their answer: there is no request that would hear it.
#[derive(Default)]
struct Unheard {
    warnings: Warnings,
    annotations: Annotations,
}

impl Registry {
    fn own_write<'a>(
        &'a self,
        kind: &'a Kind,
        namespace: &'a str,
        unheard: &'a Unheard,
    ) -> Write<'a> {
        Write {
            kind,
            group: &kind.group,
            alias: None,
            options: &(),
            namespace,
            subresource: "",
            user: &self.own_user,
            dry_run: false,
            warnings: &unheard.warnings,
            emptied: None,
            annotations: &unheard.annotations,
            managed: managed::own(kind),
            siblings: None,
        }
    }
}

/// A part of a cluster-scoped object, and whose what is applied to it becomes.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub kind: &'a Kind,
    pub name: &'a str,
    /// [`Part::Main`] or [`Part::Status`].
    pub part: Part,
    pub manager: &'a str,
}

impl Registry {
    /// Applies, by force, the configuration that `wish` makes of an object; none leaves it as it is.
    ///
    /// # Errors
    /// 404 where there is no such object, and those of every write.
    pub async fn apply(
        &self,
        place: Place<'_>,
        wish: &(dyn Fn(&Value) -> Option<Value> + Sync),
    ) -> Result<(), Status> {
        let Place {
            kind,
            name,
            part,
            manager,
        } = place;
        let unheard = Unheard::default();
        let mut write = self.own_write(kind, "", &unheard);
        write.managed = Managed::Given;
        if part == Part::Status {
            write.subresource = "status";
        }
        let manager = Manager {
            name: manager,
            alias: None,
            siblings: None,
        };
        let mut compute = |current: &Value| {
            let Some(config) = wish(current) else {
                return Ok(current.clone());
            };
            let mut tree = manager.apply(kind, part, Some(current), &config, true)?;
            kind.strategy.default(&mut tree);
            written::complete(&kind.definition, &mut tree);
            Ok(tree)
        };
        Registry::update(self, &write, name, part, &mut compute)
            .await
            .map(drop)
    }
}

#[async_trait]
impl Writer for Registry {
    async fn create(
        &self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
    ) -> Result<Value, Status> {
        kind.strategy.default(&mut object);
        let unheard = Unheard::default();
        let write = self.own_write(kind, namespace, &unheard);
        Ok(Registry::create(self, &write, object).await?.tree())
    }

    async fn update(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        part: Part,
        change: &(dyn for<'v> Fn(&'v mut Value) -> Result<bool, Status> + Send + Sync),
    ) -> Result<Value, Status> {
        let unheard = Unheard::default();
        let mut write = self.own_write(kind, namespace, &unheard);
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
        Ok(Registry::update(self, &write, name, part, &mut compute)
            .await?
            .entry
            .tree())
    }

    async fn delete(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
        let unheard = Unheard::default();
        let write = self.own_write(kind, namespace, &unheard);
        Registry::delete(self, &write, name, &DeleteOptions::default()).await?;
        Ok(())
    }
}
