//! Stored objects in the version of a request.

use std::sync::Arc;

use knarr_api::{Kind, Served};
use knarr_meta::status::Status;
use knarr_registry::cache::entry::{self, Entry};
use serde_json::Value;

use super::ask::Ask;

/// An object in the version the client uses.
pub fn served_tree(served: &Served, entry: &Entry) -> Value {
    in_version(served, entry.tree())
}

pub fn in_version(served: &Served, mut stored: Value) -> Value {
    if let Some(alias) = served.alias() {
        return (alias.decode)(stored);
    }
    served.kind.from_stored(&mut stored);
    stored
}

/// An object in the version of the request.
pub async fn entry(ask: &Ask<'_>, stored: &Arc<Entry>) -> Result<Arc<Entry>, Status> {
    if ask.kind().strategy.conversion().is_none() {
        return Ok(stored.clone());
    }
    let tree = ask
        .core
        .registry
        .in_version(ask.kind(), stored.tree())
        .await?;
    Ok(made(ask.kind(), stored, &tree))
}

/// The objects of a page in the version of the request.
pub async fn entries(ask: &Ask<'_>, stored: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, Status> {
    if ask.kind().strategy.conversion().is_none() {
        return Ok(stored);
    }
    let trees = stored.iter().map(|entry| entry.tree()).collect();
    let trees = ask.core.registry.all_in_version(ask.kind(), trees).await?;
    let both = stored.iter().zip(&trees);
    Ok(both
        .map(|(stored, tree)| made(ask.kind(), stored, tree))
        .collect())
}

/// A state of an object with another form of it.
pub fn made(kind: &Kind, stored: &Entry, tree: &Value) -> Arc<Entry> {
    let (key, json) = (stored.key.to_string(), entry::encode(tree));
    Arc::new(Entry::bare(kind, key, stored.revision, json))
}
