//! `ImageService`.

use std::collections::HashMap;
use std::sync::Arc;

use knarr_cri::v1::image_service_server::ImageService;
use knarr_cri::v1::*;
use tonic::{Request, Response, Status};

use super::{fit::fit, status};
use crate::images::pull::Credentials;
use crate::images::{Image as StoredImage, Reference};
use crate::runtime::Inner;

pub struct ImageApi {
    inner: Arc<Inner>,
}

type Reply<T> = Result<Response<T>, Status>;

impl ImageApi {
    pub fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }
}

fn wanted(image: Option<ImageSpec>) -> Result<String, Status> {
    image
        .map(|image| image.image)
        .filter(|image| !image.is_empty())
        .ok_or_else(|| Status::invalid_argument("image is missing"))
}

fn item(image: &StoredImage) -> Image {
    let user = image
        .config
        .config
        .as_ref()
        .map(|config| config.user.clone())
        .unwrap_or_default();
    let user = user.split(':').next().unwrap_or_default();
    let uid: Option<i64> = if user.is_empty() {
        Some(0)
    } else {
        user.parse().ok()
    };
    Image {
        id: image.id.clone(),
        repo_tags: image.tags.iter().cloned().collect(),
        repo_digests: image.digests.iter().cloned().collect(),
        size: image.size,
        username: if uid.is_none() {
            user.to_owned()
        } else {
            String::new()
        },
        uid: uid.map(|value| Int64Value { value }),
        spec: Some(ImageSpec::default()),
        pinned: image.pinned,
    }
}

#[tonic::async_trait]
impl ImageService for ImageApi {
    async fn list_images(&self, request: Request<ListImagesRequest>) -> Reply<ListImagesResponse> {
        let filter = request
            .into_inner()
            .filter
            .and_then(|filter| filter.image)
            .map(|image| image.image);
        let images = match filter.filter(|text| !text.is_empty()) {
            Some(text) => self.inner.images.find(&text).into_iter().collect(),
            None => self.inner.images.list(),
        };
        Ok(Response::new(ListImagesResponse {
            images: fit(images.iter().map(item).collect()),
        }))
    }

    async fn image_status(
        &self,
        request: Request<ImageStatusRequest>,
    ) -> Reply<ImageStatusResponse> {
        let request = request.into_inner();
        let image = self.inner.images.find(&wanted(request.image)?);
        let mut info = HashMap::new();
        if let (true, Some(image)) = (request.verbose, &image) {
            info.insert(
                "info".to_owned(),
                serde_json::json!({ "imageSpec": image.config }).to_string(),
            );
        }
        Ok(Response::new(ImageStatusResponse {
            image: fit(image.iter().map(item).collect()).pop(),
            info,
        }))
    }

    async fn pull_image(&self, request: Request<PullImageRequest>) -> Reply<PullImageResponse> {
        let request = request.into_inner();
        let name = wanted(request.image)?;
        let invalid = |text: String| {
            Status::invalid_argument(format!("failed to pull image {name:?}: {text}"))
        };
        let reference = Reference::parse(&name).map_err(|error| invalid(error.to_string()))?;
        let credentials = Credentials::of(request.auth, &reference.registry).map_err(invalid)?;
        let image_ref = self
            .inner
            .puller
            .pull(&reference, credentials)
            .await
            .map_err(|error| status(error.into()))?;
        Ok(Response::new(PullImageResponse { image_ref }))
    }

    async fn remove_image(
        &self,
        request: Request<RemoveImageRequest>,
    ) -> Reply<RemoveImageResponse> {
        let name = wanted(request.into_inner().image)?;
        let Some(image) = self.inner.images.find(&name) else {
            return Ok(Response::new(RemoveImageResponse {}));
        };
        let user = self
            .inner
            .containers
            .lock()
            .values()
            .find(|container| container.record.images().any(|id| id == image.id))
            .map(|container| container.record.id.clone());
        if let Some(user) = user {
            return Err(Status::failed_precondition(format!(
                "image {name:?} is in use by container {user:?}"
            )));
        }
        let images = self.inner.images.clone();
        tokio::task::spawn_blocking(move || images.remove(&image.id))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| status(error.into()))?;
        Ok(Response::new(RemoveImageResponse {}))
    }

    async fn image_fs_info(&self, _: Request<ImageFsInfoRequest>) -> Reply<ImageFsInfoResponse> {
        let (images, containers) = (self.inner.layout.images(), self.inner.layout.containers());
        let store = self.inner.images.clone();
        let writable: Vec<_> = self.inner.containers.lock().values().cloned().collect();
        let (used, usages) = tokio::task::spawn_blocking(move || {
            let usages = writable
                .iter()
                .map(|container| container.written.usage(&container.snapshot().upper()))
                .collect::<Vec<_>>();
            (store.used_bytes(), usages)
        })
        .await
        .map_err(|error| Status::internal(error.to_string()))?;
        let sum = |of: fn(&FilesystemUsage) -> u64| usages.iter().map(of).sum();
        let usage = |mountpoint: String, bytes: u64, inodes: u64| FilesystemUsage {
            timestamp: crate::files::now(),
            fs_id: Some(FilesystemIdentifier { mountpoint }),
            used_bytes: Some(UInt64Value { value: bytes }),
            inodes_used: Some(UInt64Value { value: inodes }),
        };
        let bytes = sum(|one| one.used_bytes.as_ref().map_or(0, |bytes| bytes.value));
        let inodes = sum(|one| one.inodes_used.as_ref().map_or(0, |inodes| inodes.value));
        Ok(Response::new(ImageFsInfoResponse {
            image_filesystems: vec![usage(images.display().to_string(), used, 0)],
            container_filesystems: vec![usage(containers.display().to_string(), bytes, inodes)],
        }))
    }
}
