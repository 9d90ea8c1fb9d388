//! The images of a start: those that its containers run, and those that the pod has as volumes.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use knarr_cri::v1;

use super::{kill, memory::Waiting, plan::Start, start::Sequence};
use crate::{
    context::{self, Context},
    image::{Failure, Ready, Wanted},
};

/// What has become of each.
pub(super) struct Images {
    /// Of the containers to start, by their names.
    containers: HashMap<String, Result<Ready, Failure>>,
    /// Of the image volumes, by their names.
    volumes: HashMap<String, Result<v1::ImageSpec, Failure>>,
}

impl Images {
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
        let secrets = pull_secrets(&self.ctx, &self.pod).await;
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

/// The pull secrets of the pod that exist.
async fn pull_secrets(ctx: &Context, pod: &Pod) -> Vec<Arc<Secret>> {
    let references = pod
        .spec
        .iter()
        .flat_map(|s| s.image_pull_secrets.iter().flatten());
    let mut found = Vec::new();
    for reference in references {
        match ctx
            .objects
            .secret(context::namespace(pod), &reference.name)
            .await
        {
            Ok(secret) => found.extend(secret),
            Err(error) => {
                tracing::warn!(%error, secret = reference.name, "pull secret is not readable")
            }
        }
    }
    found
}
