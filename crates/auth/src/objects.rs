//! What security reads of the cluster: the watch cache, seen from below.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// Read access to the watch cache for security and allocators: plaintext bytes of the stored version, without copying.
#[async_trait]
pub trait Objects: Send + Sync {
    /// `namespace` is empty for cluster-scoped kinds.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Object>;
    /// `namespace` empty: all namespaces.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Object>;
    /// Objects whose selectable `field` has this value (`spec.nodeName` of pods). `None`: the cache keeps no such index; the
    /// caller then reads [`Objects::list`] and looks itself.
    fn list_by_field(
        &self,
        _group: &str,
        _resource: &str,
        _field: &str,
        _value: &str,
    ) -> Option<Vec<Object>> {
        None
    }
    /// Waits for an object that another component is about to create. `None`: it did not come within `wait`.
    async fn appears(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        wait: Duration,
    ) -> Option<Object>;
    /// Changes with each published event of the resource; holds the revision. Derived indexes rebuild lazily when it moved.
    fn revision_of(&self, group: &str, resource: &str) -> u64;
    /// Whether all that is stored of the resource could be read: [`Objects::list`] lacks the rest.
    fn is_whole(&self, _group: &str, _resource: &str) -> bool {
        true
    }
}

/// A cached object.
#[derive(Clone, Debug)]
pub struct Object {
    pub revision: u64,
    /// JSON of the stored version; metadata.resourceVersion is absent.
    pub json: Bytes,
}
