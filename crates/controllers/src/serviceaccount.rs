//! The `default` service account of every namespace.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use knarr_client::{Event, Informer, InformerScope, WorkQueue, errors};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::namespace::is_active;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;
const ACCOUNT: &str = "default";

pub(crate) struct ServiceAccountController {
    client: kube::Client,
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
    /// Names of namespaces.
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let scope = InformerScope {
        field_selector: Some(format!("metadata.name={ACCOUNT}")),
        ..InformerScope::default()
    };
    let controller = Arc::new(ServiceAccountController {
        client: context.client("service-account-controller"),
        namespaces: context.informers.informer(),
        accounts: context.informers.informer_with(scope),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller
        .namespaces
        .on_event(move |event| queue.add(Key::of(&**event.object())));
    let queue = controller.queue.clone();
    controller.accounts.on_event(move |event| {
        if let Event::Deleted(account) = event {
            queue.add(Key::new(
                "",
                account.metadata.namespace.as_deref().unwrap_or_default(),
            ));
        }
    });
    let informers = vec![synced(&controller.namespaces), synced(&controller.accounts)];
    context.start(controller, WORKERS, informers);
}

impl Reconciler for ServiceAccountController {
    const NAME: &'static str = "serviceaccount";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let active = self
            .namespaces
            .get("", &key.name)
            .is_some_and(|namespace| is_active(&namespace));
        if !active || self.accounts.get(&key.name, ACCOUNT).is_some() {
            return Ok(());
        }
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(ACCOUNT.to_owned()),
                namespace: Some(key.name.clone()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.name);
        match api.create(&PostParams::default(), &account).await {
            Err(error) if !errors::is_already_exists(&error) => Err(error.into()),
            // One that the informer never had brings no event when it goes.
            _ => Err(Error::Again("the account is not seen yet")),
        }
    }
}
