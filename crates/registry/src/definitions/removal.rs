//! The end of a definition: its objects are deleted, then it is let go.

use std::sync::Arc;

use futures::{StreamExt, future::BoxFuture, stream};
use knarr_admission::writer::Writer;
use knarr_api::apiextensions::custom_resource_definition::{
    Condition, FINALIZER, is_true, set_condition,
};
use knarr_meta::{object, status::Status};
use serde_json::Value;

use super::{Definitions, keep_ours, release};
use crate::cache::{
    entry::Entry,
    filter::Filter,
    resource::{Page, ResourceCache},
};

/// Deletions that run beside each other.
const AT_ONCE: usize = 16;

impl Definitions {
    /// Goes on with the removal of a definition: `wanted` gets the conditions that are written.
    pub(super) async fn remove(&self, before: &Value, wanted: &mut Value) -> Result<(), Status> {
        if !object::finalizers(wanted).any(|finalizer| finalizer == FINALIZER) {
            return self.write_status(before, wanted).await;
        }
        let Some(served) = self.served.get(object::name(wanted)) else {
            let (status, reason, why) = match is_true(wanted, Condition::Established) {
                // It is served as soon as that can be done.
                true => return Ok(()),
                false => (
                    "False",
                    "NeverEstablished",
                    "resource was never established",
                ),
            };
            set_condition(wanted, Condition::Terminating, status, reason, why);
            return self.let_go(before, wanted).await;
        };
        let resource = self.registry.cache.of(&served.kinds.stored)?;
        self.registry.cache.fresh().await?;
        let objects = objects(&resource);
        if objects.is_empty() {
            let why = "removed all instances";
            set_condition(
                wanted,
                Condition::Terminating,
                "False",
                "InstanceDeletionCompleted",
                why,
            );
            return self.let_go(before, wanted).await;
        }
        let why = "CustomResource deletion is in progress";
        set_condition(
            wanted,
            Condition::Terminating,
            "True",
            "InstanceDeletionInProgress",
            why,
        );
        self.write_status(before, wanted).await?;
        self.delete_all(&resource, objects).await
    }

    async fn let_go(&self, before: &Value, wanted: &Value) -> Result<(), Status> {
        self.write(before, &|object| {
            keep_ours(object, wanted);
            release(object);
            Ok(true)
        })
        .await
    }

    /// Asks for the deletion of what is not on its way already.
    async fn delete_all(
        &self,
        resource: &ResourceCache,
        objects: Vec<Arc<Entry>>,
    ) -> Result<(), Status> {
        let deletions: Vec<_> = objects
            .iter()
            .map(|entry| self.delete(resource, entry))
            .collect();
        let mut results = stream::iter(deletions).buffer_unordered(AT_ONCE);
        let mut failed = Ok(());
        while let Some(result) = results.next().await {
            failed = failed.and(result);
        }
        failed
    }

    fn delete<'a>(
        &'a self,
        resource: &'a ResourceCache,
        entry: &'a Entry,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if object::deletion_timestamp(&entry.tree()).is_some() {
                return Ok(());
            }
            let (namespace, name) = entry.namespaced_name();
            match Writer::delete(&*self.registry, &resource.kind, namespace, name).await {
                Err(status) if status.is_not_found() => Ok(()),
                other => other,
            }
        })
    }
}

fn objects(resource: &ResourceCache) -> Vec<Arc<Entry>> {
    let page = Page {
        start: None,
        limit: 0,
    };
    resource.list(&Filter::default(), page).entries
}
