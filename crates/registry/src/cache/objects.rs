//! What plugins of admission and authorization read of the cache.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use knarr_auth::objects::{Object, Objects};

use super::{
    Cache,
    entry::Entry,
    filter::{self, Filter},
    resource::Page,
};
use crate::object_key;

#[async_trait]
impl Objects for Cache {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Object> {
        let cache = self.resource(group, resource)?;
        let entry = cache.get(&object_key(&cache.kind, namespace, name))?;
        Some(object(&entry))
    }

    async fn appears(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        wait: Duration,
    ) -> Option<Object> {
        let cache = self.resource(group, resource)?;
        let key = object_key(&cache.kind, namespace, name);
        let entry = cache.appears(&key, wait).await?;
        Some(object(&entry))
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Object> {
        let Some(cache) = self.resource(group, resource) else {
            return Vec::new();
        };
        let filter = Filter::in_namespace(namespace);
        let slice = cache.list(
            &filter,
            Page {
                start: None,
                limit: 0,
            },
        );
        slice.entries.iter().map(object).collect()
    }

    fn list_by_field(
        &self,
        group: &str,
        resource: &str,
        field: &str,
        value: &str,
    ) -> Option<Vec<Object>> {
        if field != filter::INDEXED_FIELD {
            return None;
        }
        let entries = self.resource(group, resource)?.by_field(value)?;
        Some(entries.iter().map(object).collect())
    }

    fn revision_of(&self, group: &str, resource: &str) -> u64 {
        self.resource(group, resource)
            .map_or(0, |c| c.last_change())
    }

    fn is_whole(&self, group: &str, resource: &str) -> bool {
        self.resource(group, resource)
            .is_none_or(|cache| cache.damaged.is_empty())
    }
}

fn object(entry: &Arc<Entry>) -> Object {
    Object {
        revision: entry.revision,
        json: entry.json.clone(),
    }
}
