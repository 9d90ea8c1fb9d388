//! Dynamic resources: drivers prepare the claims of a pod before it starts, and tell which CDI devices its containers get.
//!
//! ```text
//! plugin manager --> [`drivers`] --.
//! worker: start of a pod ----------+--> prepare: NodePrepareResources --> [`record`] --> CDI devices of a container
//! worker: end of a pod -----------------> unprepare: NodeUnprepareResources
//! ```
//!
//! As upstream's `pkg/kubelet/cm/dra`. What was prepared is on disk before a driver is called, so that a kubelet that comes after
//! this one undoes it with its pod. A claim that several pods use is prepared with the first and undone with the last of them.

pub(crate) mod drivers;
mod record;
mod slices;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use k8s_openapi::api::{
    core::v1::{Container, Pod},
    resource::v1::ResourceClaim,
};
use knarr_client::errors;
use knarr_cri::v1;
use knarr_devices::claim;
use knarr_kubelet_api::dra::v1::{
    Claim as Wanted, NodePrepareResourcesRequest, NodeUnprepareResourcesRequest,
};
use kube::Api;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    context::{self, Context, Shared},
    disk,
};
use drivers::Drivers;
pub(crate) use record::{Device, Prepared};
use record::{Records, State};

/// Longest wait for a claim.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked for claims of pods that are gone, as upstream.
const RECONCILE_PERIOD: Duration = Duration::from_secs(60);

/// The claims of a node's pods.
pub(crate) struct Dra {
    pub drivers: Drivers,
    records: Records,
}

impl Dra {
    /// Reads what a kubelet before this one has prepared.
    pub(crate) fn load(record: PathBuf) -> Self {
        Self {
            drivers: Drivers::default(),
            records: disk::waiting(|| Records::load(record)),
        }
    }

    /// Has drivers prepare what the pod claims.
    ///
    /// # Errors
    /// In upstream's words. What was prepared by then stays, for the next try or the pod's end.
    pub(crate) async fn prepare(&self, client: &kube::Client, pod: &Pod) -> Result<(), String> {
        let names = names(pod)?;
        let mut claims = Vec::new();
        for (name, made) in &names {
            claims.push(fetch(client, pod, name, *made).await?);
        }
        for claim in &claims {
            for driver in drivers_of(claim) {
                self.drivers.get(&driver)?;
            }
        }
        let uid = context::uid(pod);
        let mut batches: BTreeMap<String, Vec<Wanted>> = BTreeMap::new();
        let mut new = Vec::new();
        for claim in &claims {
            let drivers = drivers_of(claim);
            if self.records.begin(claim, &drivers, uid)? == State::Prepared {
                continue;
            }
            new.push(uid_of(claim));
            for driver in drivers {
                batches.entry(driver).or_default().push(wanted(claim));
            }
        }
        for (driver, claims) in batches {
            self.prepare_by(&driver, claims).await?;
        }
        self.records.prepared(&new)
    }

    async fn prepare_by(&self, driver: &str, claims: Vec<Wanted>) -> Result<(), String> {
        let call = "NodePrepareResources";
        let request = NodePrepareResourcesRequest {
            claims: claims.clone(),
        };
        let answer = self.drivers.get(driver)?.prepare(request).await;
        let answer = answer.map_err(|error| format!("{call}: {error}"))?;
        for (uid, result) in &answer.claims {
            let Some(claim) = claims.iter().find(|claim| claim.uid == *uid) else {
                return Err(format!(
                    "{call} returned result for unknown claim UID {uid}"
                ));
            };
            if !result.error.is_empty() {
                let (name, error) = (&claim.name, &result.error);
                return Err(format!("{call} failed for ResourceClaim {name}: {error}"));
            }
            let devices = result.devices.iter().map(Device::of).collect();
            self.records.set_devices(uid, driver, devices);
        }
        missing(call, claims.len(), answer.claims.len())
    }

    /// Has drivers undo what they have prepared for a pod, where nobody else uses it.
    ///
    /// # Errors
    /// In upstream's words; it is to be tried again.
    pub(crate) async fn unprepare(&self, pod_uid: &str) -> Result<(), String> {
        let ended = self.records.end(pod_uid)?;
        let mut batches: BTreeMap<&str, Vec<Wanted>> = BTreeMap::new();
        for claim in &ended {
            for driver in claim.drivers.keys() {
                batches.entry(driver).or_default().push(Wanted {
                    namespace: claim.namespace.clone(),
                    uid: claim.uid.clone(),
                    name: claim.name.clone(),
                });
            }
        }
        for (driver, claims) in batches {
            let unprepared = self.unprepare_by(driver, claims).await;
            unprepared.map_err(|error| format!("unprepare dynamic resources: {error}"))?;
        }
        let uids: Vec<String> = ended.into_iter().map(|claim| claim.uid).collect();
        self.records.forget(&uids)
    }

    async fn unprepare_by(&self, driver: &str, claims: Vec<Wanted>) -> Result<(), String> {
        let call = "NodeUnprepareResources";
        let request = NodeUnprepareResourcesRequest {
            claims: claims.clone(),
        };
        let answer = self.drivers.get(driver)?.unprepare(request).await;
        let answer = answer.map_err(|error| format!("{call}: {error}"))?;
        for (uid, result) in &answer.claims {
            let Some(claim) = claims.iter().find(|claim| claim.uid == *uid) else {
                return Err(format!(
                    "{call} returned result for unknown claim UID {uid}"
                ));
            };
            if !result.error.is_empty() {
                let (name, error) = (&claim.name, &result.error);
                return Err(format!("{call} failed for ResourceClaim {name}: {error}"));
            }
        }
        missing(call, claims.len(), answer.claims.len())
    }

    /// The CDI devices that a container gets.
    ///
    /// # Errors
    /// Where a claim of it was not prepared.
    pub(crate) fn cdi_devices(
        &self,
        pod: &Pod,
        container: &Container,
    ) -> Result<Vec<v1::CdiDevice>, String> {
        let mut found = Vec::new();
        for (name, requests) in requests(pod, container)? {
            let namespace = context::namespace(pod);
            let Some(prepared) = self.records.get(namespace, &name) else {
                return Err(format!(
                    "internal error: unable to get claim info for ResourceClaim {name} in namespace {namespace}"
                ));
            };
            for request in requests {
                let devices = prepared.drivers.values().flatten();
                let meant = devices.filter(|device| device.is_for(&request));
                found.extend(meant.flat_map(|device| device.cdi.iter().cloned()));
            }
        }
        let mut seen = BTreeSet::new();
        found.retain(|name: &String| seen.insert(name.clone()));
        Ok(found
            .into_iter()
            .map(|name| v1::CdiDevice { name })
            .collect())
    }

    /// What a container has of claims, by their names; those that were not prepared are left out.
    pub(crate) fn claims_of(&self, pod: &Pod, container: &Container) -> Vec<Prepared> {
        let names = requests(pod, container).unwrap_or_default();
        let names = names.into_keys();
        let namespace = context::namespace(pod);
        names
            .filter_map(|name| self.records.get(namespace, &name))
            .collect()
    }
}

fn missing(call: &str, asked: usize, answered: usize) -> Result<(), String> {
    match asked.saturating_sub(answered) {
        0 => Ok(()),
        missing => Err(format!("{call} skipped {missing} ResourceClaims")),
    }
}

/// Whether a pod has anything to be prepared.
pub(crate) fn has_claims(pod: &Pod) -> bool {
    extended(pod).is_some() || claim::claims(pod).next().is_some()
}

/// The claim that the scheduler made for the pod's extended resources.
fn extended(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let extended = status.extended_resource_claim_status.as_ref()?;
    Some(&extended.resource_claim_name)
}

/// The claims of a pod, and whether each was made for it from a template.
fn names(pod: &Pod) -> Result<Vec<(String, bool)>, String> {
    let mut names = Vec::new();
    for named in claim::claims(pod) {
        if let Some(name) = claim::name_of(pod, named)? {
            names.push((name.to_owned(), named.resource_claim_name.is_none()));
        }
    }
    names.extend(extended(pod).map(|name| (name.to_owned(), false)));
    Ok(names)
}

/// What a container uses: requests by the claim; an empty one means all of them.
fn requests(pod: &Pod, container: &Container) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let resources = container.resources.as_ref();
    let used = resources.and_then(|resources| resources.claims.as_deref());
    for named in claim::claims(pod) {
        let used = used.unwrap_or_default().iter();
        let mut used = used.filter(|used| used.name == named.name).peekable();
        if used.peek().is_none() {
            continue;
        }
        if let Some(name) = claim::name_of(pod, named)? {
            let requests = used.map(|used| used.request.clone().unwrap_or_default());
            found.entry(name.to_owned()).or_default().extend(requests);
        }
    }
    let status = pod.status.as_ref();
    let extended = status.and_then(|status| status.extended_resource_claim_status.as_ref());
    if let Some(extended) = extended {
        let mappings = extended.request_mappings.iter();
        let own = mappings.filter(|mapping| mapping.container_name == container.name);
        let mut own = own.map(|mapping| mapping.request_name.clone()).peekable();
        if own.peek().is_some() {
            let claim = extended.resource_claim_name.clone();
            found.entry(claim).or_default().extend(own);
        }
    }
    Ok(found)
}

/// A claim as the API has it, where the pod may use it.
async fn fetch(
    client: &kube::Client,
    pod: &Pod,
    name: &str,
    made: bool,
) -> Result<ResourceClaim, String> {
    let api: Api<ResourceClaim> = Api::namespaced(client.clone(), context::namespace(pod));
    let failed = |why: String| format!("fetch ResourceClaim {name}: {why}");
    let found = match timeout(CLAIM_TIMEOUT, api.get(name)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(failed(errors::message(&error))),
        Err(_) => return Err(failed("the API server did not answer".to_owned())),
    };
    if made {
        claim::check_owner(pod, &found)?;
    }
    let uid = context::uid(pod);
    if !claim::is_reserved_for(&found, uid) {
        return Err(format!(
            "pod {} ({uid}) is not allowed to use ResourceClaim {name} ({})",
            context::name(pod),
            found.metadata.uid.as_deref().unwrap_or_default()
        ));
    }
    if claim::allocation(&found).is_none() {
        return Err(format!("ResourceClaim {name}: claim not allocated"));
    }
    Ok(found)
}

/// The drivers that have devices of a claim.
fn drivers_of(claim: &ResourceClaim) -> BTreeSet<String> {
    let results = claim::allocation(claim)
        .into_iter()
        .flat_map(claim::results);
    results.map(|result| result.driver.clone()).collect()
}

fn uid_of(claim: &ResourceClaim) -> String {
    claim.metadata.uid.clone().unwrap_or_default()
}

fn wanted(claim: &ResourceClaim) -> Wanted {
    Wanted {
        namespace: claim.metadata.namespace.clone().unwrap_or_default(),
        uid: uid_of(claim),
        name: claim.metadata.name.clone().unwrap_or_default(),
    }
}

/// Undoes what is left of pods that are gone, and takes away the slices of drivers that are, until the token is cancelled.
pub(crate) async fn run(ctx: Shared, token: CancellationToken) {
    let work = async {
        tokio::join!(reconcile(&ctx), slices::run(&ctx));
    };
    token.run_until_cancelled(work).await;
}

async fn reconcile(ctx: &Context) {
    ctx.pods.synced().await;
    loop {
        let pods = ctx.pods.list();
        let known: BTreeSet<&str> = pods.iter().map(|pod| context::uid(pod)).collect();
        for uid in ctx.dra.records.pods() {
            if known.contains(uid.as_str()) || ctx.statics.lock().contains(&uid) {
                continue;
            }
            if let Err(error) = ctx.dra.unprepare(&uid).await {
                tracing::warn!(
                    uid,
                    error,
                    "cannot undo what was prepared for a pod that is gone"
                );
            }
        }
        tokio::time::sleep(RECONCILE_PERIOD).await;
    }
}
