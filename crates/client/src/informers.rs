//! The process's informers: one list and one watch for each resource and scope, however many readers there are.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use knarr_tasks::Tasks;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::informer::{Informer, Object};
use crate::reflector::Source;

/// Which objects of a resource an informer sees; everything by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct InformerScope {
    /// All namespaces when `None`.
    pub namespace: Option<String>,
    /// In the API's syntax, such as `app=web,tier in (a,b)`.
    pub label_selector: Option<String>,
    /// In the API's syntax, such as `spec.nodeName=n1`.
    pub field_selector: Option<String>,
}

struct Inner {
    client: kube::Client,
    tasks: Tasks,
    shared: Mutex<HashMap<(TypeId, InformerScope), Box<dyn Any + Send + Sync>>>,
}

/// Hands out shared informers. Clones share them too.
#[derive(Clone)]
pub struct Informers {
    inner: Arc<Inner>,
}

impl Informers {
    /// Informers read through `client` (its identity needs list and watch) and end when `token` is cancelled.
    pub fn new(client: kube::Client, token: CancellationToken) -> Self {
        let inner = Inner {
            client,
            tasks: Tasks::new(token),
            shared: Mutex::new(HashMap::new()),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The informer of all objects of `K`; started on first use. Needs a tokio runtime.
    pub fn informer<K>(&self) -> Informer<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static,
    {
        self.informer_with(InformerScope::default())
    }

    /// The informer of the objects of `K` within `scope`; started on first use. Needs a tokio runtime.
    pub fn informer_with<K>(&self, scope: InformerScope) -> Informer<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static,
    {
        self.informer_of::<K, K>(scope)
    }

    fn informer_of<T, K>(&self, scope: InformerScope) -> Informer<T>
    where
        T: Object,
        K: kube::Resource<DynamicType = ()>,
    {
        let mut shared = self.inner.shared.lock();
        let entry = shared
            .entry((TypeId::of::<T>(), scope.clone()))
            .or_insert_with(|| {
                let informer = Informer::<T>::new();
                let source = Source {
                    path: K::url_path(&(), scope.namespace.as_deref()),
                    label_selector: scope.label_selector,
                    field_selector: scope.field_selector,
                    metadata_only: false,
                };
                let task = informer.clone().run(
                    self.inner.client.clone(),
                    source,
                    self.inner.tasks.token().clone(),
                );
                let name = format!("the informer of {}", K::kind(&()));
                self.inner.tasks.keep(name, task);
                Box::new(informer)
            });
        match entry.downcast_ref::<Informer<T>>() {
            Some(informer) => informer.clone(),
            None => unreachable!("informers are keyed by their type"),
        }
    }

    /// The informer of all objects of `K`, of each of which a `T` is kept; started on first use. Needs a tokio runtime.
    pub fn informer_as<T, K>(&self) -> Informer<T>
    where
        T: Object,
        K: kube::Resource<DynamicType = ()>,
    {
        self.informer_of::<T, K>(InformerScope::default())
    }

    /// Waits until every informer's task has ended; to be called after the token was cancelled.
    pub async fn stopped(&self) {
        self.inner.tasks.stopped().await;
    }
}
