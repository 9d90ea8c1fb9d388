//! `kube-root-ca.crt` in every namespace: what pods verify the API server by.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use knarr_client::{Informer, InformerScope, WorkQueue};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::namespace::is_active;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;
const CONFIG_MAP: &str = "kube-root-ca.crt";
const DATA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

pub(crate) struct RootCaPublisher {
    client: kube::Client,
    pem: String,
    namespaces: Informer<Namespace>,
    config_maps: Informer<ConfigMap>,
    /// Names of namespaces.
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    if context.config.root_ca_pem.is_empty() {
        return;
    }
    let scope = InformerScope {
        field_selector: Some(format!("metadata.name={CONFIG_MAP}")),
        ..InformerScope::default()
    };
    let controller = Arc::new(RootCaPublisher {
        client: context.client("root-ca-cert-publisher"),
        pem: context.config.root_ca_pem.clone(),
        namespaces: context.informers.informer(),
        config_maps: context.informers.informer_with(scope),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller
        .namespaces
        .on_event(move |event| queue.add(Key::of(&**event.object())));
    let queue = controller.queue.clone();
    controller.config_maps.on_event(move |event| {
        queue.add(Key::new(
            "",
            event
                .object()
                .metadata
                .namespace
                .as_deref()
                .unwrap_or_default(),
        ));
    });
    let informers = vec![
        synced(&controller.namespaces),
        synced(&controller.config_maps),
    ];
    context.start(controller, WORKERS, informers);
}

/// What to write; `None` when it is as it should be.
fn plan(namespace: &str, pem: &str, existing: Option<&ConfigMap>) -> Option<ConfigMap> {
    let data = BTreeMap::from([(DATA_KEY.to_owned(), pem.to_owned())]);
    let annotated = |map: &ConfigMap| {
        map.metadata
            .annotations
            .as_ref()
            .is_some_and(|a| a.get(DESCRIPTION).is_some_and(|text| !text.is_empty()))
    };
    if existing.is_some_and(|map| map.data.as_ref() == Some(&data) && annotated(map)) {
        return None;
    }
    let mut map = existing.cloned().unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta {
            name: Some(CONFIG_MAP.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    });
    map.data = Some(data);
    let annotations = map.metadata.annotations.get_or_insert_default();
    annotations.insert(DESCRIPTION.to_owned(), DESCRIPTION_TEXT.to_owned());
    Some(map)
}

impl Reconciler for RootCaPublisher {
    const NAME: &'static str = "root-ca";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        if !self
            .namespaces
            .get("", &key.name)
            .is_some_and(|namespace| is_active(&namespace))
        {
            return Ok(());
        }
        let existing = self.config_maps.get(&key.name, CONFIG_MAP);
        let Some(map) = plan(&key.name, &self.pem, existing.as_deref()) else {
            return Ok(());
        };
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &key.name);
        if existing.is_some() {
            api.replace(CONFIG_MAP, &PostParams::default(), &map)
                .await?;
        } else {
            api.create(&PostParams::default(), &map).await?;
            // One that the informer never had brings no event when it goes.
            return Err(Error::Again("the certificate is not seen yet"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
