//! `knarr image`: what images a node has, and what is brought to it and taken from it, while its knarr runs.
//!
//! All but imports is asked for by CRI, so that it is the same for every runtime.

mod import;
mod text;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use knarr_cri::{
    tonic::{Code, Status, transport::Channel},
    v1::{
        self, Image, image_service_client::ImageServiceClient,
        runtime_service_client::RuntimeServiceClient,
    },
};
use tokio::time::timeout;

use crate::{
    cli::{ImageAction, ImageCommand, ImageOutput},
    instance::Record,
    status::running,
};

/// What does not have to fetch anything.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// A registry that sends nothing is given up by the runtime long before; this is for whole images.
const PULL_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Clients of the node's runtime.
struct Node {
    endpoint: String,
    foreign: bool,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

pub fn run(command: &ImageCommand) -> Result<()> {
    let data_dir = &command.data_dir;
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let Some(record) = running(data_dir)? else {
        let dir = data_dir.display();
        bail!("no knarr runs on {dir}; start one with: knarr up (it imports what --image-dir has)");
    };
    let result = executor.block_on(async {
        let mut node = Node::connect(data_dir, &record).await?;
        match &command.action {
            ImageAction::Ls { output } => node.ls(*output).await,
            ImageAction::Pull { image } => node.pull(image).await,
            ImageAction::Import { archives } => import::run(&node, archives).await,
            ImageAction::Rm { images } => node.rm(images).await,
            ImageAction::Prune { dry_run } => node.prune(*dry_run).await,
        }
    });
    // Nobody waits for more of standard input when the import has failed.
    executor.shutdown_background();
    result
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
fn say(line: &str) {
    println!("{line}");
}

/// An answer in time, or why there is none.
async fn call<T>(
    limit: Duration,
    asked: impl Future<Output = Result<knarr_cri::tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match timeout(limit, asked).await {
        Ok(answer) => answer.map(knarr_cri::tonic::Response::into_inner),
        Err(_) => {
            let seconds = limit.as_secs();
            Err(Status::deadline_exceeded(format!(
                "the container runtime gave no answer within {seconds}s"
            )))
        }
    }
}

/// What the runtime said, without the transport's words.
fn reason(status: &Status) -> anyhow::Error {
    anyhow!("{}", status.message())
}

impl Node {
    async fn connect(data_dir: &std::path::Path, record: &Record) -> Result<Self> {
        let own = || {
            knarr_runtime::Config::new(data_dir)
                .socket
                .display()
                .to_string()
        };
        let foreign = record.foreign_runtime.as_ref();
        let endpoint = foreign.map_or_else(own, |foreign| foreign.endpoint.clone());
        let connected = knarr_cri::connect(&endpoint).await;
        let (runtime, images) =
            connected.with_context(|| match nix::unistd::geteuid().is_root() {
                true => format!(
                    "knarr runs (pid {}), its container runtime does not",
                    record.pid
                ),
                false => "only root may ask the container runtime; try it with sudo".to_owned(),
            })?;
        Ok(Self {
            endpoint,
            foreign: foreign.is_some(),
            runtime,
            images,
        })
    }

    async fn list(&mut self) -> Result<Vec<Image>> {
        let asked = self
            .images
            .list_images(v1::ListImagesRequest { filter: None });
        let answer = call(CALL_TIMEOUT, asked).await.map_err(|e| reason(&e))?;
        Ok(answer.images)
    }

    async fn ls(&mut self, output: ImageOutput) -> Result<()> {
        let images = self.list().await?;
        match output {
            ImageOutput::Table => text::table(&images).iter().for_each(|line| say(line)),
            ImageOutput::Json => say(&text::json(&images)?),
        }
        Ok(())
    }

    async fn pull(&mut self, image: &str) -> Result<()> {
        let spec = v1::ImageSpec {
            image: image.to_owned(),
            ..Default::default()
        };
        let request = v1::PullImageRequest {
            image: Some(spec.clone()),
            ..Default::default()
        };
        let asked = self.images.pull_image(request);
        call(PULL_TIMEOUT, asked).await.map_err(|e| reason(&e))?;
        let found = self.find(image).await?;
        let found =
            found.with_context(|| format!("{image} was fetched and has been removed since"))?;
        say(&format!("pulled {}", text::one(&found)));
        Ok(())
    }

    async fn find(&mut self, image: &str) -> Result<Option<Image>> {
        let spec = v1::ImageSpec {
            image: image.to_owned(),
            ..Default::default()
        };
        let request = v1::ImageStatusRequest {
            image: Some(spec),
            verbose: false,
        };
        let answer = call(CALL_TIMEOUT, self.images.image_status(request)).await;
        Ok(answer.map_err(|e| reason(&e))?.image)
    }

    async fn remove(&mut self, image: &str) -> Result<(), Status> {
        let spec = v1::ImageSpec {
            image: image.to_owned(),
            ..Default::default()
        };
        let request = v1::RemoveImageRequest { image: Some(spec) };
        call(CALL_TIMEOUT, self.images.remove_image(request))
            .await
            .map(drop)
    }

    /// Everything that can be removed is; the first of the others is told of in the end.
    async fn rm(&mut self, images: &[String]) -> Result<()> {
        let mut failed = None;
        for image in images {
            let removed = match self.find(image).await? {
                None => Err(anyhow!(
                    "there is no image {image}; knarr image ls shows those that are"
                )),
                Some(found) => match self.remove(&found.id).await {
                    Ok(()) => Ok(found),
                    Err(error) => Err(reason(&error)),
                },
            };
            match removed {
                Ok(found) => say(&format!("removed {}", text::one(&found))),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn prune(&mut self, dry_run: bool) -> Result<()> {
        let used = self.used().await?;
        let foreign = self.foreign;
        let unused = |image: &Image| {
            let mut names = std::iter::once(&image.id)
                .chain(&image.repo_tags)
                .chain(&image.repo_digests);
            // What the embedded runtime pins is kept from the kubelet, not from whoever asks for room.
            let is_kept = foreign && image.pinned;
            !(is_kept || names.any(|name| used.contains(name)))
        };
        let mut images = self.list().await?;
        images.retain(unused);
        let (mut count, mut bytes) = (0_usize, 0_u64);
        for image in &images {
            if !dry_run {
                match self.remove(&image.id).await {
                    Ok(()) => {}
                    // A container has come meanwhile.
                    Err(error) if error.code() == Code::FailedPrecondition => continue,
                    Err(error) => return Err(reason(&error)),
                }
            }
            let what = if dry_run { "would remove" } else { "removed" };
            say(&format!("{what} {}", text::one(image)));
            count += 1;
            bytes = bytes.saturating_add(image.size);
        }
        let bytes = text::size(bytes);
        match dry_run {
            true => say(&format!(
                "{count} images of {bytes} together are used by no container"
            )),
            false => say(&format!("removed {count} images of {bytes} together")),
        }
        Ok(())
    }

    /// Ids and names of the images that containers have as their root or mount.
    async fn used(&mut self) -> Result<BTreeSet<String>> {
        let asked = self
            .runtime
            .list_containers(v1::ListContainersRequest { filter: None });
        let containers = call(CALL_TIMEOUT, asked)
            .await
            .map_err(|e| reason(&e))?
            .containers;
        let mut used = BTreeSet::new();
        for container in containers {
            used.extend([container.image_ref, container.image_id]);
            used.extend(container.image.map(|image| image.image));
            let request = v1::ContainerStatusRequest {
                container_id: container.id,
                verbose: false,
            };
            match call(CALL_TIMEOUT, self.runtime.container_status(request)).await {
                Ok(answer) => {
                    let mounts = answer.status.into_iter().flat_map(|status| status.mounts);
                    used.extend(
                        mounts
                            .filter_map(|mount| mount.image)
                            .map(|image| image.image),
                    );
                }
                // It has gone meanwhile.
                Err(error) if error.code() == Code::NotFound => {}
                Err(error) => return Err(reason(&error)),
            }
        }
        used.remove("");
        Ok(used)
    }
}
