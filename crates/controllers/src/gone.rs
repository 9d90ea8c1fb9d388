//! Objects of any kind that are gone. The garbage collector watches every kind; who counts objects need not do so too.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::served::ServedResource;

type Handler = Box<dyn Fn(&ServedResource, &str) + Send + Sync>;

/// Those who want to know of objects that are gone. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Gone {
    handlers: Arc<RwLock<Vec<Handler>>>,
}

impl Gone {
    /// `handler` gets the resource and the namespace (empty for cluster-scoped ones) of each object that goes from now on. It
    /// must not wait.
    pub(crate) fn on(&self, handler: impl Fn(&ServedResource, &str) + Send + Sync + 'static) {
        self.handlers.write().push(Box::new(handler));
    }

    pub(crate) fn tell(&self, resource: &ServedResource, namespace: &str) {
        for handler in self.handlers.read().iter() {
            handler(resource, namespace);
        }
    }
}
