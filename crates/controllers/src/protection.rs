//! Finalizers that keep storage objects as long as something uses them: what their controllers have in common.

use std::fmt::Debug;

use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::runner::Error;

/// What is to be done about an object's finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// It was made without one.
    Add,
    /// It is being deleted: the finalizer goes once nothing uses it.
    RemoveIfUnused,
}

/// What is due by the object alone.
pub(crate) fn due(meta: &ObjectMeta, finalizer: &str) -> Due {
    let has = has(meta, finalizer);
    match meta.deletion_timestamp {
        Some(_) if has => Due::RemoveIfUnused,
        None if !has => Due::Add,
        _ => Due::Nothing,
    }
}

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    let mut finalizers = meta.finalizers.iter().flatten();
    finalizers.any(|other| other == finalizer)
}

/// Writes the object with the finalizer, or without.
pub(crate) async fn write<K>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
    keep: bool,
) -> Result<(), Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
{
    let mut changed = object.clone();
    let finalizers = changed.meta_mut().finalizers.get_or_insert_default();
    finalizers.retain(|other| other != finalizer);
    if keep {
        finalizers.push(finalizer.to_owned());
    }
    let name = object.meta().name.as_deref().unwrap_or_default();
    api.replace(name, &PostParams::default(), &changed).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
