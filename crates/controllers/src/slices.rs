//! The EndpointSlices of one controller: which service they belong to, and writing them; shared by those that make slices.
//!
//! What a slice holds is decided in `packing`, a pure function.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub(crate) mod packing;

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_client::{Event, IndexKey, Informer};
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use crate::deletion;
use crate::events::{Recorder, WARNING};
use crate::runner::{Error, Key};
use crate::written::{self, Written};
use packing::Changes;

pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Names the controller that a slice belongs to; no other one may touch it.
pub(crate) const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";

const FAILED: &str = "FailedToUpdateEndpointSlices";

/// The slices that one controller makes.
pub(crate) struct Slices {
    client: kube::Client,
    pub informer: Informer<EndpointSlice>,
    written: Written,
    managed_by: &'static str,
}

fn label<'a>(slice: &'a EndpointSlice, label: &str) -> &'a str {
    let labels = slice.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(label))
        .map_or("", String::as_str)
}

/// The service a slice of `managed_by` belongs to.
fn service_key(slice: &EndpointSlice, managed_by: &str) -> Option<Key> {
    let service = label(slice, SERVICE_NAME_LABEL);
    let ours = label(slice, MANAGED_BY_LABEL) == managed_by && !service.is_empty();
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    ours.then(|| Key::new(namespace, service))
}

/// A service's slices that one controller makes.
#[derive(Clone, PartialEq, Eq, Hash)]
struct SlicesOf {
    managed_by: String,
    service: Key,
}

impl IndexKey<EndpointSlice> for SlicesOf {
    fn keys_of(slice: &EndpointSlice) -> Vec<Self> {
        let managed_by = label(slice, MANAGED_BY_LABEL);
        let of = |service| Self {
            managed_by: managed_by.to_owned(),
            service,
        };
        service_key(slice, managed_by).map(of).into_iter().collect()
    }
}

impl Slices {
    pub(crate) fn new(
        client: kube::Client,
        informer: Informer<EndpointSlice>,
        managed_by: &'static str,
    ) -> Self {
        Self {
            client,
            informer,
            written: Written::default(),
            managed_by,
        }
    }

    /// The services to look at after an event of any slice.
    pub(crate) fn affected(&self, event: &Event<EndpointSlice>) -> BTreeSet<Key> {
        let keys = affected(event, self.managed_by);
        if let Event::Deleted(slice) = event {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            for key in &keys {
                self.written.forget_object(key, name);
            }
        }
        keys
    }

    pub(crate) fn of(&self, key: &Key) -> Vec<std::sync::Arc<EndpointSlice>> {
        self.informer.by_index(&SlicesOf {
            managed_by: self.managed_by.to_owned(),
            service: key.clone(),
        })
    }

    /// Until when to wait for what was written to be seen.
    pub(crate) fn unseen(&self, key: &Key) -> Option<Duration> {
        self.written.unseen(key, |name| {
            let seen = self.informer.get(&key.namespace, name);
            seen.map(|slice| written::revision(&*slice))
        })
    }

    /// The service is of no interest any more.
    pub(crate) fn forget(&self, key: &Key) {
        self.written.forget(key);
    }

    pub(crate) async fn write(&self, key: &Key, changes: Changes) -> Result<(), Error> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        for slice in changes.create {
            let created = api.create(&PostParams::default(), &slice).await?;
            let name = created.metadata.name.clone().unwrap_or_default();
            self.written.note(key, &name, &created);
        }
        for slice in changes.update {
            let name = slice.metadata.name.clone().unwrap_or_default();
            let updated = api.replace(&name, &PostParams::default(), &slice).await?;
            self.written.note(key, &name, &updated);
        }
        for slice in changes.delete {
            deletion::delete(&api, &slice.metadata, DeleteParams::default()).await?;
        }
        Ok(())
    }
}

/// Says on the object the slices are made of why they are not; what the next try mends by itself is not said.
pub(crate) fn report(
    recorder: &Recorder,
    (object, kind): (&ObjectReference, &str),
    key: &Key,
    error: &Error,
) {
    if error.is_race() || error.is_namespace_terminating() {
        return;
    }
    let note = format!("Error updating Endpoint Slices for {kind} {key}: {error}");
    recorder.event(object, WARNING, FAILED, note);
}

/// The service a slice belongs to, and the one it belonged to before its labels were changed.
fn affected(event: &Event<EndpointSlice>, managed_by: &str) -> BTreeSet<Key> {
    let states = match event {
        Event::Added(slice) | Event::Deleted(slice) => vec![slice],
        Event::Updated { old, new } => vec![old, new],
    };
    let keys = states.into_iter().map(|s| service_key(s, managed_by));
    keys.flatten().collect()
}

#[cfg(test)]
mod tests;
