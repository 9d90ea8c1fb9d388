//! One pull.
//!
//! Everything a registry gives is on the disk, whole and with its digest checked, before anything reads it. So what reads
//! it never waits for a registry: the few places for that are soon free, whatever other registries do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::TryStreamExt;
use knarr_tasks::Shares;
use reqwest::header::CONTENT_TYPE;

use super::client::Source;
use super::error::RequestError;
use super::manifest::{ACCEPT, Descriptor, Manifest};
use super::spool::{self, Bounds, Spooled};
use super::{Credentials, MAX_LAYERS_AT_A_TIME, PullFailure, Timeouts};
use crate::images::decompress::decompress;
use crate::images::store::MAX_CONFIG_BYTES;
use crate::images::{ImageConfig, ImageStore, NewImage, Reference, StoreError};
use crate::registries::Registries;

/// Largest manifest or index, bytes: what the specification wants every registry to take.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Largest layer as it is fetched, bytes.
const MAX_LAYER_BYTES: u64 = 64 << 30;
/// Depth of indexes of indexes.
const MAX_INDEX_DEPTH: usize = 4;
const ANYTHING: &str = "*/*";
/// Of registries: what the manifest was when it was asked for.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A registry with its mirrors, for one image.
pub struct Pull<'a> {
    pub images: &'a Arc<ImageStore>,
    pub reference: &'a Reference,
    /// Places where what was fetched is read.
    pub shares: &'a Shares,
    pub timeouts: Timeouts,
    sources: Vec<(Source, AtomicBool)>,
}

/// A document and what its answer said of it.
struct Document {
    spooled: Spooled,
    content_type: String,
}

impl<'a> Pull<'a> {
    pub fn new(
        images: &'a Arc<ImageStore>,
        reference: &'a Reference,
        registries: &Registries,
        credentials: &Credentials,
        shares: &'a Shares,
        timeouts: Timeouts,
    ) -> Result<Self, PullFailure> {
        let endpoints = registries
            .endpoints(&reference.registry)
            .map_err(PullFailure::Client)?;
        let sources = endpoints.into_iter().map(|endpoint| {
            let source = Source::new(endpoint, reference, credentials, timeouts)?;
            Ok((source, AtomicBool::new(false)))
        });
        Ok(Self {
            images,
            reference,
            shares,
            timeouts,
            sources: sources
                .collect::<Result<_, String>>()
                .map_err(PullFailure::Client)?,
        })
    }

    /// Fetches what the store lacks and commits the image; its id.
    pub async fn run(&self) -> Result<String, PullFailure> {
        let (config, layers, digest) = self.manifest().await?;
        let config = self.config(&config).await?;
        let (config, parsed) = self
            .read(move || {
                let config = config.bytes().map_err(StoreError::Io)?;
                let parsed: ImageConfig =
                    serde_json::from_slice(&config).map_err(PullFailure::Config)?;
                Ok((config, parsed))
            })
            .await?;
        let diff_ids = &parsed.rootfs.diff_ids;
        if diff_ids.len() != layers.len() {
            return Err(PullFailure::Unsupported(format!(
                "it has {} layers but {} diff ids",
                layers.len(),
                diff_ids.len()
            )));
        }
        // Until the image is there nothing else names them.
        let _held = self.images.hold(diff_ids)?;
        futures::stream::iter(diff_ids.iter().zip(&layers).map(Ok))
            .try_for_each_concurrent(MAX_LAYERS_AT_A_TIME, |(diff_id, layer)| {
                self.layer(diff_id, layer)
            })
            .await?;
        let (images, reference) = (self.images.clone(), self.reference.clone());
        self.read(move || {
            Ok(images.commit(&NewImage {
                config: &config,
                references: &[reference],
                manifest_digests: &[digest],
                pinned: false,
            })?)
        })
        .await
    }

    /// Configuration and layers for this platform, and the digest of what the reference names: the index's, if it is one.
    async fn manifest(&self) -> Result<(Descriptor, Vec<Descriptor>, String), PullFailure> {
        let tag = self
            .reference
            .tag
            .as_deref()
            .unwrap_or(crate::images::reference::DEFAULT_TAG);
        let named = self.reference.digest.as_deref();
        let mut document = self
            .document(named.unwrap_or(tag), named.map(|digest| (None, digest)))
            .await?;
        let digest = document.spooled.digest.clone();
        for _ in 0..=MAX_INDEX_DEPTH {
            let Document {
                spooled,
                content_type,
            } = document;
            let parsed = self.read(move || {
                Manifest::parse(&spooled.bytes().map_err(StoreError::Io)?, &content_type)
            });
            match parsed.await? {
                Manifest::Image { config, layers } => return Ok((config, layers, digest)),
                Manifest::Elsewhere(next) => {
                    document = self
                        .document(&next.digest, Some((Some(next.size), &next.digest)))
                        .await?;
                }
            }
        }
        Err(PullFailure::Unsupported(format!(
            "its index leads through more than {MAX_INDEX_DEPTH} others"
        )))
    }

    async fn document(
        &self,
        name: &str,
        known: Option<(Option<u64>, &str)>,
    ) -> Result<Document, PullFailure> {
        let rest = format!("manifests/{name}");
        let rest = &rest;
        self.of_first("failed to resolve reference", |source| async move {
            let response = source.get(rest, ACCEPT).await?;
            let header = |name: &str| {
                let value = response
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok());
                value.unwrap_or_default().to_owned()
            };
            let (content_type, said) = (header(CONTENT_TYPE.as_str()), header(CONTENT_DIGEST));
            let bounds = Bounds {
                most: MAX_MANIFEST_BYTES,
                promised: known.and_then(|(size, digest)| Some((size?, digest))),
            };
            let spooled = self.spool(response, bounds).await?;
            let wanted = known.map(|(_, digest)| digest);
            let said = Some(said.as_str()).filter(|said| said.starts_with("sha256:"));
            for other in [wanted, said].into_iter().flatten() {
                if other != spooled.digest {
                    let text = format!("the manifest's digest is {}, not {other}", spooled.digest);
                    return Err(RequestError::Other(text));
                }
            }
            Ok(Document {
                spooled,
                content_type,
            })
        })
        .await
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Spooled, PullFailure> {
        if descriptor.size > MAX_CONFIG_BYTES {
            let text = format!("its configuration is longer than {MAX_CONFIG_BYTES} bytes");
            return Err(PullFailure::Unsupported(text));
        }
        self.blob(
            "failed to fetch the configuration of",
            descriptor,
            MAX_CONFIG_BYTES,
        )
        .await
    }

    /// Into the layer's directory. One that is there is not fetched.
    async fn layer(&self, diff_id: &str, descriptor: &Descriptor) -> Result<(), PullFailure> {
        if self.images.has_layer(diff_id) {
            return Ok(());
        }
        let what = format!("failed to copy layer {} of", descriptor.digest);
        let spooled = self.blob(&what, descriptor, MAX_LAYER_BYTES).await?;
        let (images, id) = (self.images.clone(), diff_id.to_owned());
        let unpacked = self.read(move || {
            let reader = spooled
                .into_reader()
                .and_then(decompress)
                .map_err(StoreError::Io)?;
            Ok(images.unpack_layer(&id, reader)?)
        });
        unpacked.await.map_err(|failure| PullFailure::Registry {
            what: format!(
                "failed to unpack layer {} of {:?}",
                descriptor.digest,
                self.reference.to_string()
            ),
            text: knarr_shim::chain(&failure),
        })
    }

    async fn blob(
        &self,
        what: &str,
        descriptor: &Descriptor,
        most: u64,
    ) -> Result<Spooled, PullFailure> {
        let rest = format!("blobs/{}", descriptor.digest);
        let bounds = Bounds {
            most,
            promised: Some((descriptor.size, &descriptor.digest)),
        };
        let rest = &rest;
        self.of_first(what, |source| async move {
            self.spool(source.get(rest, ANYTHING).await?, bounds).await
        })
        .await
    }

    async fn spool(
        &self,
        response: reqwest::Response,
        bounds: Bounds<'_>,
    ) -> Result<Spooled, RequestError> {
        let directory: &Path = &self.images.temporary();
        spool::spool(response, directory, bounds, self.timeouts.progress).await
    }

    /// From the first of mirrors and registry that has it. One that failed is not asked again, unless it only lacked
    /// something; the registry itself always is, last.
    async fn of_first<'s, T, F>(
        &'s self,
        what: &str,
        get: impl Fn(&'s Source) -> F,
    ) -> Result<T, PullFailure>
    where
        F: Future<Output = Result<T, RequestError>>,
    {
        let reference = self.reference.to_string();
        let mut what = format!("{what} {reference:?}");
        let mut left = self.sources.iter();
        while let Some((source, failed)) = left.next() {
            let last = left.as_slice().is_empty();
            if failed.load(Ordering::Relaxed) && !last {
                continue;
            }
            let error = match get(source).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            if last {
                return Err(error.failure(&reference, &what));
            }
            tracing::debug!(image = reference, mirror = source.place(), %error, "a mirror was of no use");
            failed.fetch_or(!error.is_not_found(), Ordering::Relaxed);
            what = format!("{what}, after {}: {error}", source.place());
        }
        Err(PullFailure::Client(
            "there is no registry to ask".to_owned(),
        ))
    }

    /// Work on what was fetched: at one of a few places, on a thread of its own.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PullFailure> + Send + 'static,
    ) -> Result<T, PullFailure> {
        let _share = self.shares.take(&self.reference.registry).await;
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            Err(error) => Err(PullFailure::Ended(error.to_string())),
        }
    }
}
