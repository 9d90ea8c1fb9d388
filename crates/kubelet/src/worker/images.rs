//! The images of a start: those that its containers run, and those that the pod has as volumes.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use knarr_cri::v1;
use tokio::sync::oneshot;

use super::{kill, memory::Waiting, plan::Start, start::Sequence};
use crate::{
    context::{self, Context},
    events::WARNING,
    image::{self, Failure, Ready, Wanted},
};

/// An image that a container is to run, or why there is none.
pub(super) type Outcome = Result<Ready, Failure>;
/// What has become of the image volumes, by their names.
type OfVolumes = HashMap<String, Result<v1::ImageSpec, Failure>>;

/// Where whoever looks for the images leaves them.
pub(super) struct Found {
    /// In the order of the containers to start.
    containers: Vec<oneshot::Sender<Outcome>>,
    volumes: oneshot::Sender<OfVolumes>,
}

/// Where whoever starts the containers waits for them.
pub(super) struct Awaited {
    containers: HashMap<String, oneshot::Receiver<Outcome>>,
    volumes: oneshot::Receiver<OfVolumes>,
}

/// The images of these containers, and of the pod's volumes, from one who looks for them to one who starts containers. Each is
/// handed over by itself: as upstream, a container waits for its own image, not for those of the containers after it.
pub(super) fn handover(starts: &[Start]) -> (Found, Awaited) {
    let (volumes, awaited_volumes) = oneshot::channel();
    let (mut found, mut awaited) = (Vec::new(), HashMap::new());
    for start in starts {
        let (sender, receiver) = oneshot::channel();
        found.push(sender);
        awaited.insert(start.name.clone(), receiver);
    }
    (
        Found {
            containers: found,
            volumes,
        },
        Awaited {
            containers: awaited,
            volumes: awaited_volumes,
        },
    )
}

impl Awaited {
    /// Once all image volumes have been looked for. `None` if that was called off.
    pub(super) async fn volumes(self) -> Option<Images> {
        Some(Images {
            containers: self.containers,
            volumes: self.volumes.await.ok()?,
        })
    }
}

/// Of the volumes all, of the containers those that are there by now.
pub(super) struct Images {
    /// Of the containers to start, by their names.
    containers: HashMap<String, oneshot::Receiver<Outcome>>,
    volumes: OfVolumes,
}

impl Images {
    /// The container's own image, as soon as it has been looked for. Once. `None` if that was called off.
    pub(super) async fn of_container(&mut self, name: &str) -> Option<Outcome> {
        self.containers.remove(name)?.await.ok()
    }

    pub(super) fn of_volumes<'a>(
        &self,
        container: &'a Container,
    ) -> Result<HashMap<&'a str, v1::ImageSpec>, Failure> {
        mounted(&self.volumes, container)
    }
}

/// What the container's mounts name by image volumes. One that it does not mount may be missing: as upstream, only
/// containers that need it wait for it.
fn mounted<'a>(
    volumes: &OfVolumes,
    container: &'a Container,
) -> Result<HashMap<&'a str, v1::ImageSpec>, Failure> {
    let mut found = HashMap::new();
    for mount in container.volume_mounts.iter().flatten() {
        match volumes.get(&mount.name) {
            Some(Ok(image)) => found.insert(mount.name.as_str(), image.clone()),
            Some(Err(failure)) => return Err(failure.clone()),
            None => None,
        };
    }
    Ok(found)
}

/// Whether somebody has asked for the image now, in vain. Those that wait to be asked for again are not counted.
fn is_failed_pull<T>(image: &Result<T, Failure>) -> bool {
    matches!(image, Err(failure) if failure.reason == image::PULL_FAILED)
}

impl Sequence {
    /// Makes the images present of every container to start and of every image volume of the pod.
    pub(super) async fn images(&self, found: Found) {
        let (secrets, missing) = pull_secrets(&self.ctx, &self.pod).await;
        let (starts, secrets) = (self.plan.start.iter(), secrets.as_slice());
        let own = starts.zip(found.containers).map(async |(start, to)| {
            match self.container_image(start, secrets).await {
                Some(image) => {
                    let failed = is_failed_pull(&image);
                    // Nobody waits for it any more where the pod is to end.
                    drop(to.send(image));
                    failed
                }
                None => false,
            }
        });
        let volumes = async {
            let volumes = self.volume_images(secrets).await;
            let failed = volumes.values().any(is_failed_pull);
            self.tell_of_volumes(&volumes);
            drop(found.volumes.send(volumes));
            failed
        };
        let (own, volumes) = tokio::join!(futures::future::join_all(own), volumes);
        if (volumes || own.contains(&true)) && !missing.is_empty() {
            let note = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            let events = &self.ctx.events;
            events.pod(&self.pod, WARNING, "FailedToRetrieveImagePullSecret", note);
        }
    }

    /// Which containers wait for images that they mount.
    fn tell_of_volumes(&self, volumes: &OfVolumes) {
        for start in &self.plan.start {
            let container = kill::find(&self.pod, &start.name);
            let found = container.map(|container| mounted(volumes, &container).map(drop));
            if let Some(Err(failure)) = found {
                self.waits(&start.name, &failure);
            }
        }
    }

    /// Told at once: volumes may keep the sequence from getting there.
    fn waits(&self, container: &str, failure: &Failure) {
        let waiting = Waiting {
            reason: failure.reason.to_owned(),
            message: failure.message.clone(),
        };
        self.state.write(|memory| {
            memory.waiting.insert(container.to_owned(), waiting);
        });
    }

    async fn container_image(&self, start: &Start, secrets: &[Arc<Secret>]) -> Option<Outcome> {
        let container = kill::find(&self.pod, &start.name)?;
        let wanted = Wanted::of(&self.pod, &container);
        let began = tokio::time::Instant::now();
        let result = self.ctx.images.ensure(wanted, secrets).await;
        match &result {
            Err(failure) => self.waits(&start.name, failure),
            Ok(ready) if !ready.was_there => {
                let uid = context::uid(&self.pod);
                self.ctx.stats.starts.pulled(uid, began.elapsed());
            }
            Ok(_) => {}
        }
        Some(result)
    }

    /// One after the other, as upstream: of two that name the same image, the second finds it there or waits with the first.
    async fn volume_images(&self, secrets: &[Arc<Secret>]) -> OfVolumes {
        let mut found = HashMap::new();
        let spec = self.pod.spec.iter();
        for volume in spec.flat_map(|s| s.volumes.iter().flatten()) {
            let Some(image) = &volume.image else { continue };
            let reference = image.reference.as_deref().unwrap_or_default();
            let wanted = Wanted {
                pod: &self.pod,
                container: None,
                reference,
                policy: image.pull_policy.as_deref(),
            };
            let result = self.ctx.images.ensure(wanted, secrets).await;
            let result = result.map(|ready| v1::ImageSpec {
                image: ready.id,
                user_specified_image: reference.to_owned(),
                ..Default::default()
            });
            found.insert(volume.name.clone(), result);
        }
        found
    }
}

/// The pull secrets of the pod that can be read, and the names of the others.
async fn pull_secrets(ctx: &Context, pod: &Pod) -> (Vec<Arc<Secret>>, Vec<String>) {
    let references = pod
        .spec
        .iter()
        .flat_map(|s| s.image_pull_secrets.iter().flatten())
        // Validation lets them pass.
        .filter(|reference| !reference.name.is_empty());
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for reference in references {
        let namespace = context::namespace(pod);
        match ctx.objects.secret(namespace, &reference.name).await {
            Ok(Some(secret)) => found.push(secret),
            Ok(None) => missing.push(reference.name.clone()),
            Err(error) => {
                tracing::warn!(%error, secret = reference.name, "pull secret is not readable");
                missing.push(reference.name.clone());
            }
        }
    }
    (found, missing)
}
