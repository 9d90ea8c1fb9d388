//! File systems, and devices, that grow with their claims. A controller has made the volume larger by then, and has left the rest to
//! the node: the volume's capacity is more than the claim's status says. As upstream's `NodeExpander`.

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimCondition,
};
use knarr_client::errors;
use knarr_csi::{
    tonic::Code,
    v1::{CapacityRange, NodeExpandVolumeRequest},
};
use knarr_meta::Quantity;
use knarr_volumes::volume;
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{DRIVER_PATIENCE, Published, drivers::Driver, given, wanted::Wanted};
use crate::{
    events::{NORMAL, WARNING},
    volume::{READ_TIMEOUT, Target},
};

const STORAGE: &str = "storage";
const PENDING: &str = "NodeResizePending";
const IN_PROGRESS: &str = "NodeResizeInProgress";
const INFEASIBLE: &str = "NodeResizeInfeasible";
/// Conditions of a claim that tell of a change of its size.
const CONDITIONS: [&str; 4] = [
    "FileSystemResizePending",
    "Resizing",
    "ControllerResizeError",
    "NodeResizeError",
];

type Bound<'a> = (&'a PersistentVolumeClaim, &'a PersistentVolume);

/// What is to be done about a claim's size.
#[derive(Debug, PartialEq, Eq)]
struct Growth {
    /// As the API writes it.
    size: String,
    bytes: i64,
    /// The claim's status tells how far it is.
    is_tracked: bool,
}

/// `None` where nothing is to be done by the node, or not yet.
fn due((claim, volume): Bound<'_>) -> Option<Growth> {
    let status = claim.status.as_ref()?;
    let has = status
        .capacity
        .as_ref()
        .and_then(|capacity| capacity.get(STORAGE))?;
    let has = Quantity::parse(&has.0).ok()?;
    if volume::capacity(volume) <= has {
        return None;
    }
    let statuses = status.allocated_resource_statuses.as_ref();
    let state = statuses.and_then(|statuses| statuses.get(STORAGE));
    let allocated = status
        .allocated_resources
        .as_ref()
        .and_then(|all| all.get(STORAGE));
    let capacity = volume.spec.as_ref()?.capacity.as_ref()?.get(STORAGE)?;
    let is_tracked = state.is_some() || allocated.is_some();
    let size = match is_tracked {
        true => {
            let ready = matches!(state.map(String::as_str), Some(PENDING | IN_PROGRESS));
            allocated.filter(|_| ready)?
        }
        false => capacity,
    };
    Some(Growth {
        bytes: Quantity::parse(&size.0).ok()?.value(),
        size: size.0.clone(),
        is_tracked,
    })
}

/// Of a volume that is being set up: the pod is not to start with less than it was promised.
pub(super) async fn first(
    driver: &Driver,
    target: &Target<'_>,
    wanted: &Wanted,
    published: &Published,
    bound: Bound<'_>,
) -> Result<(), String> {
    match due(bound).filter(|_| published.can_expand) {
        Some(growth) => grow(driver, target, wanted, published, bound, &growth).await,
        None => Ok(()),
    }
}

/// Of a volume that the pod has: what fails is told, and tried again.
pub(super) async fn again(
    target: &Target<'_>,
    wanted: &Wanted,
    published: &Published,
    bound: Bound<'_>,
) {
    let Some(growth) = due(bound).filter(|_| published.can_expand) else {
        return;
    };
    let csi = &target.ctx.csi;
    let _turn = csi.turns.take(&wanted.handle).await;
    let grown = match csi.driver(&wanted.handle.driver, DRIVER_PATIENCE).await {
        Ok(driver) => grow(&driver, target, wanted, published, bound, &growth).await,
        Err(why) => Err(why),
    };
    if let Err(error) = grown {
        tracing::warn!(volume = wanted.name, error, "cannot expand a volume");
    }
}

async fn grow(
    driver: &Driver,
    target: &Target<'_>,
    wanted: &Wanted,
    published: &Published,
    bound: Bound<'_>,
    growth: &Growth,
) -> Result<(), String> {
    let csi = &target.ctx.csi;
    let stuck = csi.stuck.lock().get(&wanted.handle).cloned();
    if stuck.as_ref() == Some(&growth.size) {
        return Ok(());
    }
    if wanted.read_only {
        let why = format!(
            "MountVolume.NodeExpandVolume failed for volume \"{}\" requested read-only file system",
            wanted.name
        );
        tell(target, bound.0, WARNING, "FileSystemResizeFailed", &why);
        csi.stuck
            .lock()
            .insert(wanted.handle.clone(), growth.size.clone());
        return Ok(());
    }
    if growth.is_tracked {
        write(
            target,
            bound.0,
            json!({ "allocatedResourceStatuses": { STORAGE: IN_PROGRESS } }),
        )
        .await?;
    }
    let answer = ask(driver, wanted, published, growth, &csi.client).await?;
    match answer {
        Ok(()) => {
            let note = format!(
                "MountVolume.NodeExpandVolume succeeded for volume \"{}\" {}",
                wanted.name, csi.node
            );
            tell(target, bound.0, NORMAL, "FileSystemResizeSuccessful", &note);
            write(target, bound.0, finished(bound.0, &growth.size)).await
        }
        Err(error) => {
            let why = format!(
                "NodeExpandVolume.NodeExpandVolume failed for volume \"{}\" : Expander.NodeExpand failed to expand the volume : {error}",
                wanted.name
            );
            tell(target, bound.0, WARNING, "VolumeResizeFailed", &why);
            let infeasible = matches!(
                error.code,
                Code::InvalidArgument | Code::OutOfRange | Code::NotFound
            );
            if infeasible && growth.is_tracked {
                let status = json!({ "allocatedResourceStatuses": { STORAGE: INFEASIBLE } });
                write(target, bound.0, status).await?;
            }
            // The driver cannot do it while the volume is in use: that keeps no pod from it.
            if error.code == Code::FailedPrecondition {
                csi.stuck
                    .lock()
                    .insert(wanted.handle.clone(), growth.size.clone());
                return Ok(());
            }
            Err(format!(
                "Expander.NodeExpand failed to expand the volume : {error}"
            ))
        }
    }
}

async fn ask(
    driver: &Driver,
    wanted: &Wanted,
    published: &Published,
    growth: &Growth,
    client: &kube::Client,
) -> Result<Result<(), knarr_csi::Error>, String> {
    let capabilities = driver.capabilities().await;
    let capabilities = capabilities.map_err(|error| error.to_string())?;
    let staging = published.staging.as_ref();
    let request = NodeExpandVolumeRequest {
        volume_id: wanted.handle.id.clone(),
        volume_path: driver.path(&published.path),
        capacity_range: Some(CapacityRange {
            required_bytes: growth.bytes,
            limit_bytes: 0,
        }),
        staging_target_path: staging.map(|path| driver.path(path)).unwrap_or_default(),
        volume_capability: Some(wanted.shape.capability(&capabilities, None)),
        secrets: given::secret(client, wanted.expand_secret.as_ref()).await?,
    };
    Ok(driver.node.expand(request).await.map(drop))
}

/// The parts of the claim's status that tell that it has its size.
fn finished(claim: &PersistentVolumeClaim, size: &str) -> Value {
    let status = claim.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let others: Vec<&PersistentVolumeClaimCondition> = conditions
        .into_iter()
        .flatten()
        .filter(|condition| !CONDITIONS.contains(&condition.type_.as_str()))
        .collect();
    json!({
        "capacity": { STORAGE: size },
        "allocatedResourceStatuses": { STORAGE: null },
        "conditions": others,
    })
}

async fn write(
    target: &Target<'_>,
    claim: &PersistentVolumeClaim,
    status: Value,
) -> Result<(), String> {
    let meta = &claim.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(target.ctx.client.clone(), namespace);
    // Of this claim, and of no other one of its name.
    let patch = Patch::Merge(json!({ "metadata": { "uid": meta.uid }, "status": status }));
    let params = PatchParams::default();
    let writing = api.patch_status(name, &params, &patch);
    match tokio::time::timeout(READ_TIMEOUT, writing).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!(
            "mountVolume.NodeExpandVolume update pvc status failed: {}",
            errors::message(&error)
        )),
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}

/// Of both, the pod and its claim.
fn tell(
    target: &Target<'_>,
    claim: &PersistentVolumeClaim,
    kind: &'static str,
    reason: &str,
    note: &str,
) {
    let events = &target.ctx.events;
    events.pod(target.pod, kind, reason, note);
    events
        .recorder
        .event(&claim.object_ref(&()), kind, reason, note);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;

    fn claim(status: Value) -> PersistentVolumeClaim {
        object(json!({ "metadata": { "name": "data" }, "status": status }))
    }

    #[test]
    fn volumes_grow_when_the_controller_is_done() {
        let volume: PersistentVolume = object(
            json!({ "metadata": { "name": "pv" }, "spec": { "capacity": { "storage": "2Gi" } } }),
        );
        let growth = |is_tracked| Growth {
            size: "2Gi".to_owned(),
            bytes: 2 << 30,
            is_tracked,
        };
        for (status, wanted) in [
            (json!({}), None),
            (json!({ "capacity": { "storage": "2Gi" } }), None),
            (json!({ "capacity": { "storage": "3Gi" } }), None),
            (
                json!({ "capacity": { "storage": "1Gi" } }),
                Some(growth(false)),
            ),
            (
                json!({
                    "capacity": { "storage": "1Gi" },
                    "allocatedResources": { "storage": "2Gi" },
                    "allocatedResourceStatuses": { "storage": "NodeResizePending" },
                }),
                Some(growth(true)),
            ),
            (
                json!({
                    "capacity": { "storage": "1Gi" },
                    "allocatedResources": { "storage": "2Gi" },
                    "allocatedResourceStatuses": { "storage": "ControllerResizeInProgress" },
                }),
                None,
            ),
            (
                json!({
                    "capacity": { "storage": "1Gi" },
                    "allocatedResources": { "storage": "2Gi" },
                    "allocatedResourceStatuses": { "storage": "NodeResizeInfeasible" },
                }),
                None,
            ),
        ] {
            assert_eq!(due((&claim(status.clone()), &volume)), wanted, "{status}");
        }
    }

    #[test]
    fn what_told_of_the_change_goes_with_it() {
        let claim = claim(json!({ "conditions": [
            { "type": "FileSystemResizePending", "status": "True" },
            { "type": "ModifyingVolume", "status": "True" },
        ] }));
        let told = finished(&claim, "2Gi");
        assert_eq!(told["capacity"], json!({ "storage": "2Gi" }));
        assert_eq!(
            told["allocatedResourceStatuses"],
            json!({ "storage": null })
        );
        let kept = json!([{ "type": "ModifyingVolume", "status": "True" }]);
        assert_eq!(told["conditions"], kept);
    }
}
