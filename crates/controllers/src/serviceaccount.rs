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

#[cfg(test)]
mod tests {
    use knarr_client::fake;
    use serde_json::{Value, json};

    use super::*;
    use crate::exchange::{accepted, failed, reconcile};
    use crate::fixtures::object;

    fn controller(
        namespace: Value,
        account: Option<&str>,
    ) -> (ServiceAccountController, fake::Server) {
        let (client, server) = fake::client();
        let controller = ServiceAccountController {
            client,
            namespaces: Informer::new(),
            accounts: Informer::new(),
            queue: WorkQueue::new(),
        };
        controller.namespaces.apply(object(namespace));
        if let Some(name) = account {
            let meta = json!({"metadata": {"namespace": "x", "name": name}});
            controller.accounts.apply(object(meta));
        }
        (controller, server)
    }

    fn namespace(phase: &str, going: bool) -> Value {
        let at = going.then_some("2030-01-01T00:00:00Z");
        json!({"metadata": {"name": "x", "deletionTimestamp": at}, "status": {"phase": phase}})
    }

    #[tokio::test]
    async fn active_namespaces_have_an_account() {
        for (what, namespace, account, expected) in [
            ("new", namespace("Active", false), None, 1),
            ("complete", namespace("Active", false), Some("default"), 0),
            (
                "others do not count",
                namespace("Active", false),
                Some("other"),
                1,
            ),
            ("told to end", namespace("Active", true), None, 0),
            ("ending", namespace("Terminating", true), None, 0),
        ] {
            let (controller, mut server) = controller(namespace, account);
            let key = Key::new("", "x");
            let (result, asked) = reconcile(&controller, &key, &mut server, accepted).await;
            // One that was made is looked at until it is seen.
            assert_eq!(
                result.is_err_and(|error| error.is_race()),
                expected == 1,
                "{what}"
            );
            assert_eq!(asked.len(), expected, "{what}");
            for asked in asked {
                assert_eq!(asked.shown(), "POST /api/v1/namespaces/x/serviceaccounts");
                assert_eq!(asked.body["metadata"]["name"], "default", "{what}");
            }
        }
        let (controller, mut server) = controller(namespace("Active", false), None);
        let unknown = Key::new("", "gone");
        let (result, asked) = reconcile(&controller, &unknown, &mut server, accepted).await;
        assert!(result.is_ok() && asked.is_empty());
    }

    #[tokio::test]
    async fn another_may_have_made_it() {
        for (code, reason, race) in [
            (409, "AlreadyExists", true),
            (403, "Forbidden", false),
            (500, "InternalError", false),
        ] {
            let (controller, mut server) = controller(namespace("Active", false), None);
            let refused = |_: &_| failed(code, reason);
            let key = Key::new("", "x");
            let (result, _) = reconcile(&controller, &key, &mut server, refused).await;
            assert!(
                result.is_err_and(|error| error.is_race() == race),
                "{reason}"
            );
        }
    }
}
