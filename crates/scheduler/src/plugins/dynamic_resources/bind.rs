//! Has what was decided for a pod's claims become true: written into them before the pod is bound (upstream's PreBind), and taken
//! back where it is not bound (Unreserve).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{AllocationResult, ResourceClaim},
};
use knarr_client::errors;
use knarr_devices::claim::{self, FINALIZER};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::warn;

use super::{Allocated, DynamicResources, NAME, State, extended, ready, uid};
use crate::framework::{PreBind, Reservation};

/// How often a claim that somebody else has changed is looked at anew.
const CONFLICTS_MAX: usize = 5;
/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether devices have become ready, besides whenever a claim changes.
const READY_PERIOD: Duration = Duration::from_secs(5);

/// Why claims are not as they were decided to be.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("claim {0} got deleted in the meantime")]
    Deleted(String),
    #[error("claim {0} got allocated elsewhere in the meantime")]
    Allocated(String),
    #[error("claim {0} got deallocated elsewhere in the meantime")]
    Deallocated(String),
    #[error("{0}: {message}", message = errors::message(.1))]
    Api(String, #[source] kube::Error),
    #[error("{0}: no answer within {seconds}s", seconds = WRITE_TIMEOUT.as_secs())]
    NoAnswer(String),
    #[error("device binding timeout: claim={0}")]
    NotReady(String),
    #[error("{0}")]
    Failed(String),
}

/// A claim of the pod.
struct Part {
    claim: Arc<ResourceClaim>,
    /// What it gets, where it had nothing.
    allocation: Option<AllocationResult>,
    /// The pod has been written into it.
    written: bool,
}

/// What is taken for a pod. Dropped it is free again, but for what was written.
pub struct Taken {
    plugin: Arc<DynamicResources>,
    pod: Arc<Pod>,
    node: String,
    parts: Vec<Part>,
    /// The claim that is made for extended resources, and its devices. It is the last part once it is made.
    extended: Option<(extended::Claim, AllocationResult)>,
}

impl Taken {
    /// `None` where nothing is to be done.
    pub(super) fn new(
        plugin: Arc<DynamicResources>,
        state: State,
        node: &str,
        allocated: Option<Allocated>,
    ) -> Option<Self> {
        let pod_uid = state.pod.metadata.uid.clone().unwrap_or_default();
        let (results, made) = match allocated {
            Some(allocated) => (allocated.results, allocated.extended),
            None => (Vec::new(), None),
        };
        let mut results = results.into_iter();
        let parts: Vec<Part> = state
            .claims
            .into_iter()
            .map(|claim| Part {
                allocation: match claim::allocation(&claim) {
                    Some(_) => None,
                    None => results.next(),
                },
                claim,
                written: false,
            })
            .collect();
        let extended = made.and_then(|made| Some((made, results.next()?)));
        let settled = |part: &Part| {
            part.allocation.is_none()
                && claim::is_reserved_for(&part.claim, &pod_uid)
                && !ready::has_conditions(&part.claim)
        };
        if extended.is_none() && parts.iter().all(settled) {
            return None;
        }
        let mut ledger = plugin.ledger.lock();
        for part in &parts {
            if let Some(allocation) = &part.allocation {
                ledger.reserve(uid(&part.claim), allocation.clone());
            }
        }
        if let Some((_, allocation)) = &extended {
            ledger.reserve(&extended::key(&state.pod), allocation.clone());
        }
        drop(ledger);
        Some(Self {
            plugin,
            pod: state.pod,
            node: node.to_owned(),
            parts,
            extended,
        })
    }

    fn pod_uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn api(&self, client: &kube::Client) -> Api<ResourceClaim> {
        Api::namespaced(client.clone(), self.namespace())
    }

    /// Writes what was decided, and waits until all devices are ready.
    async fn bind(&mut self, asked: &PreBind<'_>) -> Result<(), BindError> {
        let client = asked.client;
        for index in 0..self.parts.len() {
            if !claim::is_reserved_for(&self.parts[index].claim, self.pod_uid()) {
                self.write(client, index).await?;
            }
        }
        if let Some((made, allocation)) = self.extended.take() {
            self.make(client, made, allocation).await?;
        }
        if self
            .parts
            .iter()
            .any(|part| ready::has_conditions(&part.claim))
        {
            (asked.waits)(format!(
                "waiting for binding conditions for device on node {}",
                self.node
            ));
            self.wait(asked.wanted).await?;
        }
        Ok(())
    }

    /// Writes the allocation and the pod into a claim, as it is now.
    async fn write(&mut self, client: &kube::Client, index: usize) -> Result<(), BindError> {
        let api = self.api(client);
        let full = claim::full_name(&self.parts[index].claim);
        for attempt in 0..CONFLICTS_MAX {
            if attempt > 0 {
                let name = self.parts[index]
                    .claim
                    .metadata
                    .name
                    .clone()
                    .unwrap_or_default();
                let what = format!("get updated claim {full} after conflict");
                let now = answered(what, api.get(&name)).await?;
                if now.metadata.uid != self.parts[index].claim.metadata.uid {
                    return Err(BindError::Deleted(full));
                }
                self.parts[index].claim = Arc::new(now);
            }
            match self.write_once(&api, index, &full).await {
                Err(BindError::Api(_, error)) if errors::is_conflict(&error) => {}
                result => return result,
            }
        }
        Err(BindError::Failed(format!(
            "claim {full} is changed too often"
        )))
    }

    async fn write_once(
        &mut self,
        api: &Api<ResourceClaim>,
        index: usize,
        full: &str,
    ) -> Result<(), BindError> {
        let part = &mut self.parts[index];
        let mut now = ResourceClaim::clone(&part.claim);
        if now.metadata.deletion_timestamp.is_some() {
            return Err(BindError::Deleted(full.to_owned()));
        }
        let allocated = claim::allocation(&now).is_some();
        match &part.allocation {
            Some(_) if allocated => return Err(BindError::Allocated(full.to_owned())),
            None if !allocated => return Err(BindError::Deallocated(full.to_owned())),
            _ => {}
        }
        let name = now.metadata.name.clone().unwrap_or_default();
        let params = PatchParams::default();
        let mut finalizers = now.metadata.finalizers.clone().unwrap_or_default();
        if part.allocation.is_some() && !finalizers.iter().any(|one| one == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
            let patch = json!({"metadata": {
                "uid": now.metadata.uid, "resourceVersion": now.metadata.resource_version,
                "finalizers": finalizers,
            }});
            let patch = Patch::Merge(&patch);
            let what = format!("add finalizer to claim {full}");
            now = answered(what, api.patch(&name, &params, &patch)).await?;
            part.claim = Arc::new(now.clone());
        }
        let patch = json!({
            "metadata": {"uid": now.metadata.uid, "resourceVersion": now.metadata.resource_version},
            "status": status(&now, part.allocation.as_ref(), &self.pod),
        });
        let what = match &part.allocation {
            Some(_) => format!("add allocation and reservation to claim {full}"),
            None => format!("add reservation to claim {full}"),
        };
        let written = answered(
            what,
            api.patch_status(&name, &params, &Patch::Merge(&patch)),
        )
        .await?;
        if part.allocation.is_some() {
            let mut ledger = self.plugin.ledger.lock();
            ledger.written(uid(&part.claim), &written);
        }
        part.claim = Arc::new(written);
        part.written = true;
        Ok(())
    }

    /// Makes the claim for extended resources, and notes it in the pod's status.
    async fn make(
        &mut self,
        client: &kube::Client,
        made: extended::Claim,
        allocation: AllocationResult,
    ) -> Result<(), BindError> {
        let api = self.api(client);
        let mut claim = ResourceClaim::clone(&made.claim);
        claim.metadata.name = None;
        claim.metadata.uid = None;
        let what = "create claim for extended resources".to_owned();
        let created = answered(what, api.create(&PostParams::default(), &claim)).await?;
        let name = created.metadata.name.clone().unwrap_or_default();
        let key = extended::key(&self.pod);
        // Under its own uid from here on.
        {
            let mut ledger = self.plugin.ledger.lock();
            ledger.release(&key);
            ledger.reserve(uid(&created), allocation.clone());
        }
        self.parts.push(Part {
            claim: Arc::new(created),
            allocation: Some(allocation),
            written: false,
        });
        self.write(client, self.parts.len().saturating_sub(1))
            .await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), self.namespace());
        let pod_name = self.pod.metadata.name.clone().unwrap_or_default();
        let patch = json!({
            "metadata": {"uid": self.pod.metadata.uid},
            "status": {"extendedResourceClaimStatus": {
                "resourceClaimName": name, "requestMappings": made.mappings,
            }},
        });
        let patch = Patch::Strategic(&patch);
        let params = PatchParams::default();
        let what = format!(
            "update pod {}/{pod_name} ExtendedResourceClaimStatus",
            self.namespace()
        );
        answered(what, pods.patch_status(&pod_name, &params, &patch)).await?;
        Ok(())
    }

    async fn wait(&mut self, wanted: &(dyn Fn() -> bool + Sync)) -> Result<(), BindError> {
        let mut bell = self.plugin.bell.subscribe();
        loop {
            bell.mark_unchanged();
            let mut all = true;
            for part in &mut self.parts {
                let meta = &part.claim.metadata;
                let (namespace, name) = (
                    meta.namespace.as_deref().unwrap_or_default(),
                    meta.name.as_deref().unwrap_or_default(),
                );
                let now = self.plugin.sources.claims.get(namespace, name);
                // Until the informer has it, it is as was written.
                if let Some(now) = now.filter(|now| now.metadata.uid == meta.uid)
                    && claim::allocation(&now).is_some()
                {
                    part.claim = now;
                }
                let ready = ready::is_ready(&part.claim).map_err(BindError::Failed)?;
                if !ready && ready::is_late(&part.claim) {
                    return Err(BindError::NotReady(claim::full_name(&part.claim)));
                }
                all &= ready;
            }
            if all {
                return Ok(());
            }
            if !wanted() {
                return Err(BindError::Failed("pod does not exist any more".to_owned()));
            }
            // The sender lives as long as this holds the plugin; time passes without a change, too.
            let _ = timeout(READY_PERIOD, bell.changed()).await;
        }
    }
}

#[async_trait]
impl Reservation for Taken {
    fn plugin(&self) -> &'static str {
        NAME
    }

    async fn pre_bind(&mut self, asked: &PreBind<'_>) -> Result<(), String> {
        self.bind(asked).await.map_err(|error| error.to_string())
    }

    /// Takes the pod out of the claims that it was written into. They keep their devices for its next attempt; the claim that was
    /// made for its extended resources goes.
    async fn unreserve(self: Box<Self>, client: &kube::Client) {
        let api = self.api(client);
        for part in &self.parts {
            let name = part.claim.metadata.name.as_deref().unwrap_or_default();
            if claim::is_for_extended_resources(&part.claim, self.pod_uid()) {
                if let Err(error) = delete(&api, &part.claim).await {
                    warn!(claim = name, %error, "cannot delete a claim for extended resources");
                }
                continue;
            }
            if !part.written {
                continue;
            }
            let patch = json!({
                "metadata": {"uid": part.claim.metadata.uid},
                "status": {"reservedFor": [{"$patch": "delete", "uid": self.pod_uid()}]},
            });
            let patch = Patch::Strategic(&patch);
            let params = PatchParams::default();
            let write = api.patch_status(name, &params, &patch);
            if let Err(error) = answered("unreserve".to_owned(), write).await {
                warn!(claim = name, %error, "cannot take a reservation back");
            }
        }
    }

    fn keep(mut self: Box<Self>) {
        self.parts.clear();
        self.extended = None;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut ledger = self.plugin.ledger.lock();
        for part in &self.parts {
            if part.allocation.is_some() {
                ledger.release(uid(&part.claim));
            }
        }
        if self.extended.is_some() {
            ledger.release(&extended::key(&self.pod));
        }
    }
}

/// The status of a claim with the pod, and with devices where it gets them.
fn status(now: &ResourceClaim, allocation: Option<&AllocationResult>, pod: &Pod) -> Value {
    let mut reserved = claim::reserved(now).to_vec();
    reserved.push(claim::consumer(pod));
    let mut status = json!({"reservedFor": reserved});
    if let Some(allocation) = allocation {
        status["allocation"] = json!(allocation);
    }
    if allocation.is_some() {
        let at = knarr_meta::clock::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        status["allocation"]["allocationTimestamp"] = json!(at.to_string());
    }
    status
}

async fn answered<T>(
    what: String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, BindError> {
    match timeout(WRITE_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(BindError::Api(what, error)),
        Err(_) => Err(BindError::NoAnswer(what)),
    }
}

/// Deletes a claim that was made for extended resources; one that is gone needs none.
async fn delete(api: &Api<ResourceClaim>, claim: &ResourceClaim) -> Result<(), BindError> {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let now = answered("get resourceclaim".to_owned(), api.get_opt(name)).await?;
    let Some(now) = now.filter(|now| now.metadata.uid == claim.metadata.uid) else {
        return Ok(());
    };
    let finalizers = now.metadata.finalizers.unwrap_or_default();
    let kept: Vec<_> = finalizers.iter().filter(|one| *one != FINALIZER).collect();
    if kept.len() < finalizers.len() {
        let patch = json!({"metadata": {
            "uid": now.metadata.uid, "resourceVersion": now.metadata.resource_version, "finalizers": kept,
        }});
        let patch = Patch::Merge(&patch);
        let params = PatchParams::default();
        answered(
            "update resourceclaim".to_owned(),
            api.patch(name, &params, &patch),
        )
        .await?;
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: now.metadata.uid,
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match answered("delete resourceclaim".to_owned(), api.delete(name, &params)).await {
        // Another one that has the name by now is not ours to delete.
        Err(BindError::Api(_, error))
            if errors::is_not_found(&error) || errors::is_conflict(&error) =>
        {
            Ok(())
        }
        result => result.map(drop),
    }
}

/// Gives a claim back that keeps a pod from its node (upstream's PostFilter). Whoever changed it meanwhile goes first.
pub async fn give_back(client: &kube::Client, pod_uid: &str, claim: &ResourceClaim) {
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let api: Api<ResourceClaim> = Api::namespaced(client.clone(), namespace);
    let result = if claim::is_for_extended_resources(claim, pod_uid) {
        delete(&api, claim).await
    } else {
        let patch = json!({
            "metadata": {"uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version},
            "status": {"reservedFor": null, "allocation": null, "devices": null},
        });
        let params = PatchParams::default();
        let patch = Patch::Merge(&patch);
        let write = api.patch_status(name, &params, &patch);
        answered("deallocate resourceclaim".to_owned(), write)
            .await
            .map(drop)
    };
    match result {
        Err(BindError::Api(_, error))
            if errors::is_conflict(&error) || errors::is_not_found(&error) => {}
        Err(error) => warn!(claim = name, %error, "cannot give a claim back"),
        Ok(()) => {}
    }
}
