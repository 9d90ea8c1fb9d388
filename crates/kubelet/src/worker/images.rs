//! The images of a start: those that its containers run, and those that the pod has as volumes.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use knarr_cri::v1;

use super::{kill, memory::Waiting, plan::Start, start::Sequence};
use crate::{
    context::{self, Context},
    events::WARNING,
    image::{self, Failure, Ready, Wanted},
};

/// What has become of each.
pub(super) struct Images {
    /// Of the containers to start, by their names.
    containers: HashMap<String, Result<Ready, Failure>>,
    /// Of the image volumes, by their names.
    volumes: HashMap<String, Result<v1::ImageSpec, Failure>>,
}

impl Images {
    /// Whether somebody has asked for an image now, in vain. Those that wait to be asked for again are not counted.
    fn any_pull_failed(&self) -> bool {
        let containers = self
            .containers
            .values()
            .filter_map(|image| image.as_ref().err());
        let volumes = self
            .volumes
            .values()
            .filter_map(|image| image.as_ref().err());
        (containers.chain(volumes)).any(|failure| failure.reason == image::PULL_FAILED)
    }

    /// The container's own image. Once.
    pub(super) fn of_container(&mut self, name: &str) -> Result<Ready, Failure> {
        let image = self.containers.remove(name);
        image.unwrap_or_else(|| {
            Err(Failure {
                reason: "InvalidImageName",
                message: format!("container {name} is not in the pod"),
                retry: super::start::CONTAINER_RETRY,
            })
        })
    }

    /// What the container's mounts name by image volumes. One that it does not mount may be missing: as upstream, only
    /// containers that need it wait for it.
    pub(super) fn of_volumes<'a>(
        &self,
        container: &'a Container,
    ) -> Result<HashMap<&'a str, v1::ImageSpec>, Failure> {
        let mut found = HashMap::new();
        for mount in container.volume_mounts.iter().flatten() {
            match self.volumes.get(&mount.name) {
                Some(Ok(image)) => found.insert(mount.name.as_str(), image.clone()),
                Some(Err(failure)) => return Err(failure.clone()),
                None => None,
            };
        }
        Ok(found)
    }
}

impl Sequence {
    /// Makes the images present of every container to start and of every image volume of the pod.
    pub(super) async fn images(&self) -> Images {
        let (secrets, missing) = pull_secrets(&self.ctx, &self.pod).await;
        let own = futures::future::join_all(
            self.plan
                .start
                .iter()
                .map(|start| self.container_image(start, &secrets)),
        );
        let (containers, volumes) = tokio::join!(own, self.volume_images(&secrets));
        let images = Images {
            containers: containers.into_iter().flatten().collect(),
            volumes,
        };
        if images.any_pull_failed() && !missing.is_empty() {
            let note = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            let events = &self.ctx.events;
            events.pod(&self.pod, WARNING, "FailedToRetrieveImagePullSecret", note);
        }
        for start in &self.plan.start {
            let container = kill::find(&self.pod, &start.name);
            let found = container.map(|container| images.of_volumes(&container).map(drop));
            if let Some(Err(failure)) = found {
                self.waits(&start.name, &failure);
            }
        }
        images
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

    async fn container_image(
        &self,
        start: &Start,
        secrets: &[Arc<Secret>],
    ) -> Option<(String, Result<Ready, Failure>)> {
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
        Some((start.name.clone(), result))
    }

    /// One after the other, as upstream: of two that name the same image, the second finds it there or waits with the first.
    async fn volume_images(
        &self,
        secrets: &[Arc<Secret>],
    ) -> HashMap<String, Result<v1::ImageSpec, Failure>> {
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
