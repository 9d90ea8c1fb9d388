//! What is wrong with a policy's expressions for the types of the objects that it is about: `status.typeChecking`.
//!
//! As upstream's `pkg/controller/validatingadmissionpolicystatus`: expressions are checked once a generation, and what is found
//! changes nothing of what the policy does.

mod check;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use knarr_api::{Kind, apiextensions::custom_resource, built_in_kinds};
use knarr_client::{Event, Informer, WorkQueue};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;
const MANAGER: &str = "validatingadmissionpolicy-status";
/// Definitions that are read in one request.
const DEFINITIONS_AT_ONCE: u32 = 100;

pub(crate) struct PolicyStatus {
    client: kube::Client,
    /// For the definitions, which the service account may not read.
    reader: kube::Client,
    policies: Informer<ValidatingAdmissionPolicy>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(PolicyStatus {
        client: context.client("validatingadmissionpolicy-status-controller"),
        reader: context.own_client(),
        policies: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.policies.on_event(move |event| {
        let policy = event.object();
        if !matches!(event, Event::Deleted(_)) && is_due(policy) {
            queue.add(Key::of(&**policy));
        }
    });
    let informers = vec![synced(&controller.policies)];
    context.start(controller, WORKERS, informers);
}

/// Whether the policy changed since its expressions were checked.
fn is_due(policy: &ValidatingAdmissionPolicy) -> bool {
    let status = policy.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    policy.metadata.generation.unwrap_or_default() > observed.unwrap_or_default()
}

impl PolicyStatus {
    /// The kinds that are served now. Definitions are read when a policy has changed: to follow them would decode every state of
    /// each, which is large, for policies that come seldom.
    async fn kinds(&self) -> Result<Vec<Arc<Kind>>, Error> {
        let mut kinds = built_in_kinds().to_vec();
        let named = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let resource = ApiResource::from_gvk(&named);
        let api: Api<DynamicObject> = Api::all_with(self.reader.clone(), &resource);
        let mut page = ListParams::default().limit(DEFINITIONS_AT_ONCE);
        loop {
            let list = api.list(&page).await?;
            for definition in list.items {
                let Ok(tree) = serde_json::to_value(definition) else {
                    continue;
                };
                let source = tree.to_string().into();
                // One that no kinds can be made of is not served.
                if let Ok(made) = custom_resource::kinds(&tree, &source) {
                    kinds.extend(made.served);
                }
            }
            let next = list.metadata.continue_.filter(|token| !token.is_empty());
            match next {
                Some(token) => page.continue_token = Some(token),
                None => return Ok(kinds),
            }
        }
    }
}

impl Reconciler for PolicyStatus {
    const NAME: &'static str = "validatingadmissionpolicy-status";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(policy) = self.policies.get("", &key.name) else {
            return Ok(());
        };
        if !is_due(&policy) {
            return Ok(());
        }
        let tree = serde_json::to_value(&*policy).map_err(|e| Error::Other(e.to_string()))?;
        let kinds = self.kinds().await?;
        // Compiling takes its time, and is no work for the threads that serve.
        let warnings = tokio::task::spawn_blocking(move || check::warnings(&tree, &kinds))
            .await
            .map_err(|error| Error::Other(error.to_string()))?;
        let api: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        let params = PatchParams::apply(MANAGER).force();
        let applied = status(&policy, &warnings);
        api.patch_status(&key.name, &params, &Patch::Apply(&applied))
            .await?;
        Ok(())
    }
}

/// What is applied.
fn status(policy: &ValidatingAdmissionPolicy, warnings: &[check::Warning]) -> Value {
    let warnings = warnings
        .iter()
        .map(|warning| json!({"fieldRef": warning.field, "warning": warning.text}));
    let mut checking = json!({});
    let warnings: Vec<Value> = warnings.collect();
    if !warnings.is_empty() {
        checking["expressionWarnings"] = warnings.into();
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": policy.metadata.name},
        "status": {"observedGeneration": policy.metadata.generation, "typeChecking": checking},
    })
}
