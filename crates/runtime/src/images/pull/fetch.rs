//! One pull.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt};
use knarr_shim::chain;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use oci_client::{Client, Reference as OciReference, RegistryOperation};
use tokio::sync::{Semaphore, mpsc};

use super::{CONNECT_TIMEOUT, Credentials, MAX_LAYERS_AT_A_TIME, PROGRESS_TIMEOUT, PullFailure};
use crate::images::archive::decompress;
use crate::images::store::MAX_CONFIG_BYTES;
use crate::images::{ImageConfig, ImageStore, NewImage, Reference, StoreError};

/// Tries to have all layers at once: one may be swept between its unpacking and the image's commit, when another image is
/// removed at that time.
const TRIES: usize = 2;
/// Layers that are fetched and unpacked at a time, of all images.
const MAX_UNPACKING: usize = 16;
/// Chunks of the network's that unpacking may be behind.
const QUEUED_CHUNKS: usize = 16;

/// Fetches what the store lacks and commits the image; its id.
pub async fn image(
    images: &Arc<ImageStore>,
    reference: &Reference,
    credentials: &Credentials,
    insecure: &[String],
) -> Result<String, PullFailure> {
    let registry = Registry::new(reference, insecure)?;
    registry.sign_in(credentials).await?;
    let (manifest, digest) = registry.manifest(credentials).await?;
    let config = registry.config(&manifest.config).await?;
    let parsed: ImageConfig = serde_json::from_slice(&config).map_err(PullFailure::Config)?;
    let diff_ids = &parsed.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        return Err(PullFailure::Unsupported(format!(
            "it has {} layers but {} diff ids",
            manifest.layers.len(),
            diff_ids.len()
        )));
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let layers = futures::stream::iter(diff_ids.iter().zip(&manifest.layers));
        layers
            .map(Ok)
            .try_for_each_concurrent(MAX_LAYERS_AT_A_TIME, |(diff_id, layer)| {
                registry.layer(images, diff_id, layer)
            })
            .await?;
        match commit(images, config.clone(), reference, digest.clone()).await {
            Err(PullFailure::Store(StoreError::MissingLayer(_))) if tries < TRIES => {}
            outcome => return outcome,
        }
    }
}

async fn commit(
    images: &Arc<ImageStore>,
    config: Vec<u8>,
    reference: &Reference,
    digest: String,
) -> Result<String, PullFailure> {
    let (images, reference) = (images.clone(), reference.clone());
    let committing = tokio::task::spawn_blocking(move || {
        images.commit(&NewImage {
            config: &config,
            references: &[reference],
            manifest_digest: Some(&digest),
        })
    });
    match committing.await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(PullFailure::Ended(error.to_string())),
    }
}

/// A repository of a registry.
struct Registry {
    client: Client,
    reference: OciReference,
    /// For messages.
    name: String,
}

impl Registry {
    fn new(reference: &Reference, insecure: &[String]) -> Result<Self, PullFailure> {
        // Whoever came first has installed one; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = is_loopback(&reference.registry) || insecure.contains(&reference.registry);
        let config = ClientConfig {
            protocol: if plain {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            read_timeout: Some(PROGRESS_TIMEOUT),
            connect_timeout: Some(CONNECT_TIMEOUT),
            user_agent: concat!("knarr/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client =
            Client::try_from(config).map_err(|error| PullFailure::Client(chain(&error)))?;
        let (registry, repository) = (reference.registry.clone(), reference.repository.clone());
        let oci = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => OciReference::with_digest(registry, repository, digest.clone()),
            (None, tag) => {
                let tag = tag
                    .as_deref()
                    .unwrap_or(crate::images::reference::DEFAULT_TAG);
                OciReference::with_tag(registry, repository, tag.to_owned())
            }
        };
        Ok(Self {
            client,
            reference: oci,
            name: reference.to_string(),
        })
    }

    fn failure(&self, what: &str) -> impl Fn(OciDistributionError) -> PullFailure + '_ {
        let what = format!("{what} {:?}", self.name);
        move |error| PullFailure::of(&error, &self.name, &what)
    }

    /// Gets a token where the registry wants one; anonymously as well.
    async fn sign_in(&self, credentials: &Credentials) -> Result<(), PullFailure> {
        let auth = credentials.registry_auth();
        self.client
            .auth(&self.reference, &auth, RegistryOperation::Pull)
            .await
            .map_err(self.failure("failed to resolve reference"))?;
        Ok(())
    }

    /// The manifest for this platform, and the digest of what the reference names: the list's, if it is one.
    async fn manifest(
        &self,
        credentials: &Credentials,
    ) -> Result<(OciImageManifest, String), PullFailure> {
        let auth = credentials.registry_auth();
        let (manifest, digest, list) = self
            .client
            .pull_image_manifest_and_list_digest(&self.reference, &auth)
            .await
            .map_err(|error| match error {
                OciDistributionError::ImageManifestNotFoundError(_) => {
                    PullFailure::Platform(architecture())
                }
                error => self.failure("failed to resolve reference")(error),
            })?;
        Ok((manifest, list.unwrap_or(digest)))
    }

    /// The image's configuration; its digest is checked at the stream's end.
    async fn config(&self, descriptor: &OciDescriptor) -> Result<Vec<u8>, PullFailure> {
        let too_long = || {
            PullFailure::Unsupported(format!(
                "its configuration is longer than {MAX_CONFIG_BYTES} bytes"
            ))
        };
        if descriptor.size > MAX_CONFIG_BYTES as i64 {
            return Err(too_long());
        }
        let what = "failed to fetch the configuration of";
        let mut stream = self
            .client
            .pull_blob_stream(&self.reference, descriptor)
            .await
            .map_err(self.failure(what))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.broken(what, &error))?;
            if bytes.len() + chunk.len() > MAX_CONFIG_BYTES as usize {
                return Err(too_long());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// From the socket into the layer's directory. One that is there is not fetched.
    async fn layer(
        &self,
        images: &Arc<ImageStore>,
        diff_id: &str,
        descriptor: &OciDescriptor,
    ) -> Result<(), PullFailure> {
        if images.has_layer(diff_id) {
            return Ok(());
        }
        let what = format!("failed to copy layer {} of", descriptor.digest);
        // Each takes a thread for as long as it is fetched.
        static UNPACKING: Semaphore = Semaphore::const_new(MAX_UNPACKING);
        let _permit = UNPACKING
            .acquire()
            .await
            .map_err(|error| PullFailure::Ended(error.to_string()))?;
        let mut stream = self
            .client
            .pull_blob_stream(&self.reference, descriptor)
            .await
            .map_err(self.failure(&what))?;
        let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
        let (store, id) = (images.clone(), diff_id.to_owned());
        let unpacking = tokio::task::spawn_blocking(move || {
            let reader = ChunkReader {
                chunks: receiver,
                current: Bytes::new(),
            };
            store.unpack_layer(&id, decompress(reader).map_err(StoreError::Io)?)
        });
        let promised = u64::try_from(descriptor.size).unwrap_or(0);
        let mut received = 0_u64;
        while let Some(chunk) = stream.next().await {
            received += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            if received > promised {
                return Err(PullFailure::Registry {
                    what: format!("{what} {:?}", self.name),
                    text: format!(
                        "more than the {promised} bytes of its descriptor: its digest is another"
                    ),
                });
            }
            // Whoever unpacks has failed, and says so below.
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
        drop(sender);
        match unpacking.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(&what, &error)),
            Err(error) => Err(PullFailure::Ended(error.to_string())),
        }
    }

    /// A stream that broke off: by the network, a digest that is not the promised one, or the disk.
    fn broken(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> PullFailure {
        let text = chain(error);
        let what = format!("{what} {:?}", self.name);
        if text.contains("timed out") || text.contains("operation timed") {
            PullFailure::Timeout { what, text }
        } else {
            PullFailure::Registry { what, text }
        }
    }
}

/// A download as a blocking reader. Unlike a bridge that runs futures it can be left alone when the process stops.
struct ChunkReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// The registry is on this machine: nothing that TLS would protect leaves it.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => registry.split(':').next().unwrap_or(registry),
    };
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests;
