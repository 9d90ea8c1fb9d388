//! Manifests and indexes of images: what they lead to, or what is wrong with them.

use serde::Deserialize;

use super::PullFailure;
use crate::images::platform::{Platform, architecture};
use crate::images::reference::is_digest;

/// overlayfs takes no more directories.
const MAX_LAYERS: usize = 500;
/// Asked for, in this order.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.v2+json";
const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
/// How the types of layers begin, and how they end: compression is told by the bytes themselves.
const LAYERS: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];
const COMPRESSIONS: [&str; 5] = ["", "+gzip", "+zstd", ".gzip", ".zstd"];

/// Points to a blob or a manifest.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    /// Bytes.
    pub size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u64,
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// What a document says.
#[derive(Debug, PartialEq, Eq)]
pub enum Manifest {
    Image {
        config: Descriptor,
        /// The lowest first.
        layers: Vec<Descriptor>,
    },
    /// The manifest, or index, of this platform.
    Elsewhere(Descriptor),
}

impl Manifest {
    /// `content_type` is the answer's, for documents that do not say what they are.
    pub fn parse(bytes: &[u8], content_type: &str) -> Result<Self, PullFailure> {
        let unsupported = |text: String| PullFailure::Unsupported(text);
        let document: Document = serde_json::from_slice(bytes).map_err(PullFailure::Manifest)?;
        if document.schema_version != 2 {
            let version = document.schema_version;
            return Err(unsupported(format!(
                "its manifest is of schema version {version}, not 2: push it anew"
            )));
        }
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let said = match document.media_type.as_str() {
            "" => content_type,
            said => said,
        };
        // Who reads it as the one and who as the other must not run two images.
        match (document.manifests, document.config, document.layers) {
            (Some(manifests), None, None) if !MANIFESTS.contains(&said) => select(manifests),
            (None, Some(config), Some(layers)) if !INDEXES.contains(&said) => image(config, layers),
            _ if !MANIFESTS.contains(&said) && !INDEXES.contains(&said) => Err(unsupported(
                format!("its manifest is of the unknown type {said:?}"),
            )),
            _ => Err(unsupported(format!(
                "its manifest is not what its type, {said:?}, says"
            ))),
        }
    }
}

fn image(config: Descriptor, layers: Vec<Descriptor>) -> Result<Manifest, PullFailure> {
    if layers.len() > MAX_LAYERS {
        let text = format!(
            "it has {} layers; {MAX_LAYERS} can be mounted",
            layers.len()
        );
        return Err(PullFailure::Unsupported(text));
    }
    check(&config)?;
    for layer in &layers {
        check(layer)?;
        let known = LAYERS.iter().any(|kind| {
            let rest = layer.media_type.strip_prefix(kind);
            rest.is_some_and(|rest| COMPRESSIONS.contains(&rest))
        });
        if !known {
            let text = format!(
                "layer {} is of the unknown type {:?}",
                layer.digest, layer.media_type
            );
            return Err(PullFailure::Unsupported(text));
        }
    }
    Ok(Manifest::Image { config, layers })
}

/// The first that is for this platform, or else the first that does not say what it is for.
fn select(manifests: Vec<Descriptor>) -> Result<Manifest, PullFailure> {
    let mut open = None;
    for manifest in manifests {
        match &manifest.platform {
            Some(platform) if platform.is_ours() => {
                check(&manifest)?;
                return Ok(Manifest::Elsewhere(manifest));
            }
            None if open.is_none() => open = Some(manifest),
            _ => {}
        }
    }
    let manifest = open.ok_or(PullFailure::Platform(architecture()))?;
    check(&manifest)?;
    Ok(Manifest::Elsewhere(manifest))
}

fn check(descriptor: &Descriptor) -> Result<(), PullFailure> {
    if is_digest(&descriptor.digest) {
        return Ok(());
    }
    let text = format!("{:?} is no sha256 digest", descriptor.digest);
    Err(PullFailure::Unsupported(text))
}

#[cfg(test)]
mod tests;
