//! Imports tar archives of images: what `docker save` writes and OCI layouts, plain or compressed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::metered::{MAX_HEADER_BYTES, Metered};
use super::platform::Platform;
use super::reference::{Reference, is_digest};
use super::room;
use super::store::{ImageConfig, ImageStore, MAX_CONFIG_BYTES, NewImage, StoreError};

/// Largest archive, uncompressed, bytes.
const MAX_ARCHIVE_BYTES: u64 = 128 << 30;
/// Files of an archive: manifests, configurations, layers.
const MAX_ARCHIVE_ENTRIES: usize = 100_000;
/// Depth of indexes of indexes.
const MAX_INDEX_DEPTH: usize = 4;
/// Memory that a zstd stream may ask for, as a power of two, bytes: that of the builders' highest levels.
const MAX_ZSTD_WINDOW_LOG: u32 = 25;
const REFERENCE_ANNOTATIONS: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("archive: {0}")]
    Io(#[from] io::Error),
    #[error("{0} is neither a docker archive nor an OCI layout")]
    Unknown(PathBuf),
    #[error("the archive lacks {0}")]
    Missing(String),
    #[error("{name}: {source}")]
    Json {
        name: String,
        source: serde_json::Error,
    },
    #[error("no image for this platform in the archive")]
    NoPlatform,
    #[error("the image has {layers} layers but {diff_ids} diff ids")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// The manifest for this platform, and the digests of what led to it, its own last: pods name an image by the first as well.
struct Found {
    manifest: Manifest,
    digests: Vec<String>,
}

impl Found {
    /// As docker archives call it.
    fn configuration(&self) -> Option<String> {
        blob(&self.manifest.config.digest).ok()
    }
}

/// An uncompressed tar with the places of its files.
struct Tar {
    file: File,
    entries: HashMap<PathBuf, (u64, u64)>,
}

impl ImageStore {
    /// Imports every image of an archive; their ids. Blocking.
    pub fn import_tar(&self, path: &Path) -> Result<Vec<String>, ImportError> {
        let _span = tracing::debug_span!("import", path = %path.display()).entered();
        let tar = Tar::open(path, &self.temporary()).map_err(|source| ImportError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        let index: Option<Index> = tar
            .has("index.json")
            .then(|| tar.json("index.json"))
            .transpose()?;
        let manifests = index.map(|index| index.manifests);
        if tar.has("manifest.json") {
            self.import_docker(&tar, &manifests.unwrap_or_default())
        } else if let Some(manifests) = manifests {
            let mut ids = Vec::new();
            for descriptor in &manifests {
                let references = references_of(&descriptor.annotations);
                let found = tar.manifest(descriptor)?;
                ids.push(self.import_oci(&tar, &found, &references)?);
            }
            Ok(ids)
        } else {
            Err(ImportError::Unknown(path.to_path_buf()))
        }
    }

    /// `manifests`: of an archive that is an OCI layout, too.
    fn import_docker(
        &self,
        tar: &Tar,
        manifests: &[Descriptor],
    ) -> Result<Vec<String>, ImportError> {
        let entries: Vec<DockerEntry> = tar.json("manifest.json")?;
        let known: Vec<Found> = manifests
            .iter()
            .filter_map(|descriptor| tar.manifest(descriptor).ok())
            .collect();
        entries
            .iter()
            .map(|entry| {
                let references: Vec<Reference> = entry
                    .repo_tags
                    .iter()
                    .flatten()
                    .filter_map(|tag| Reference::parse(tag).ok())
                    .collect();
                let mut known = known.iter();
                let known =
                    known.find(|found| found.configuration().as_ref() == Some(&entry.config));
                let digests = known.map(|found| found.digests.as_slice());
                let digests = digests.unwrap_or_default();
                self.import_image(tar, &entry.config, &entry.layers, &references, digests)
            })
            .collect()
    }

    fn import_oci(
        &self,
        tar: &Tar,
        found: &Found,
        references: &[Reference],
    ) -> Result<String, ImportError> {
        let layers = found.manifest.layers.iter();
        let layers = layers
            .map(|layer| blob(&layer.digest))
            .collect::<Result<Vec<_>, _>>()?;
        let config = blob(&found.manifest.config.digest)?;
        self.import_image(tar, &config, &layers, references, &found.digests)
    }

    fn import_image(
        &self,
        tar: &Tar,
        config_name: &str,
        layers: &[String],
        references: &[Reference],
        manifest_digests: &[String],
    ) -> Result<String, ImportError> {
        let bytes = tar.bytes(config_name)?;
        let config: ImageConfig =
            serde_json::from_slice(&bytes).map_err(|source| ImportError::Json {
                name: config_name.to_owned(),
                source,
            })?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != layers.len() {
            return Err(ImportError::LayerCount {
                layers: layers.len(),
                diff_ids: diff_ids.len(),
            });
        }
        let _held = self.hold(diff_ids)?;
        for (diff_id, layer) in diff_ids.iter().zip(layers) {
            if !self.has_layer(diff_id) {
                self.unpack_layer(diff_id, decompress(tar.reader(layer)?)?)?;
            }
        }
        Ok(self.commit(&NewImage {
            config: &bytes,
            references,
            manifest_digests,
            pinned: true,
        })?)
    }
}

/// Copies all of an archive. Few bytes may stand for many: the disk is looked at as they are written, so that others keep what is
/// reserved of it.
fn unpack(
    mut plain: impl Read,
    to: &mut impl Write,
    mut has_room: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let mut size = 0_u64;
    loop {
        has_room()?;
        let copied = io::copy(&mut plain.by_ref().take(room::CHECK_BYTES), to)?;
        size = size.saturating_add(copied);
        if size > MAX_ARCHIVE_BYTES {
            let message = format!("the archive has more than {MAX_ARCHIVE_BYTES} bytes");
            return Err(io::Error::other(message));
        }
        if copied < room::CHECK_BYTES {
            return Ok(());
        }
    }
}

impl Tar {
    /// A compressed archive is uncompressed into `temporary` first, since its files are wanted out of order.
    fn open(path: &Path, temporary: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let plain = decompress(BufReader::new(file.try_clone()?))?;
        if plain.compressed {
            let unpacked = tempfile::tempfile_in(temporary)?;
            unpack(plain, &mut &unpacked, || room::check(&unpacked))?;
            file = unpacked;
        }
        file.seek(SeekFrom::Start(0))?;
        let mut entries = HashMap::new();
        let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
        let (metered, allowance) = Metered::new(BufReader::new(file.try_clone()?));
        let mut archive = tar::Archive::new(metered);
        let mut contents = archive.entries_with_seek()?;
        loop {
            allowance.set(MAX_HEADER_BYTES);
            let Some(entry) = contents.next() else { break };
            if entries.len() + links.len() >= MAX_ARCHIVE_ENTRIES {
                let message = format!("the archive has more than {MAX_ARCHIVE_ENTRIES} entries");
                return Err(io::Error::other(message));
            }
            let entry = entry?;
            let name: PathBuf = entry.path()?.components().collect();
            let name = name
                .strip_prefix(".")
                .map(Path::to_path_buf)
                .unwrap_or(name);
            match entry.link_name()? {
                // Old docker archives link layers that images share.
                Some(target) => links.push((name, resolve_link(entry.path()?.parent(), &target))),
                None => {
                    entries.insert(name, (entry.raw_file_position(), entry.size()));
                }
            }
        }
        for (name, target) in links {
            if let Some(place) = entries.get(&target).copied() {
                entries.insert(name, place);
            }
        }
        Ok(Self { file, entries })
    }

    fn has(&self, name: &str) -> bool {
        self.entries.contains_key(Path::new(name))
    }

    fn reader(&self, name: &str) -> Result<impl Read + use<>, ImportError> {
        let (position, size) = *self
            .entries
            .get(Path::new(name))
            .ok_or_else(|| ImportError::Missing(name.to_owned()))?;
        Ok(BufReader::with_capacity(
            128 << 10,
            At {
                file: self.file.try_clone()?,
                position,
            }
            .take(size),
        ))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, ImportError> {
        let mut bytes = Vec::new();
        self.reader(name)?
            .take(MAX_CONFIG_BYTES)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Found, ImportError> {
        let mut descriptor = descriptor.clone();
        let mut digests = Vec::new();
        loop {
            let name = blob(&descriptor.digest)?;
            digests.push(descriptor.digest);
            let is_index = ["index", "manifest.list"]
                .iter()
                .any(|kind| descriptor.media_type.contains(kind));
            if !is_index {
                let manifest = self.json(&name)?;
                return Ok(Found { manifest, digests });
            }
            let index: Index = self.json(&name)?;
            let mut fitting = index.manifests.into_iter();
            descriptor = fitting
                .find(|manifest| manifest.platform.as_ref().is_none_or(Platform::is_ours))
                .filter(|_| digests.len() <= MAX_INDEX_DEPTH)
                .ok_or(ImportError::NoPlatform)?;
        }
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, ImportError> {
        serde_json::from_slice(&self.bytes(name)?).map_err(|source| ImportError::Json {
            name: name.to_owned(),
            source,
        })
    }
}

/// Reads from a place of its own, whoever else reads the file.
struct At {
    file: File,
    position: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = std::os::unix::fs::FileExt::read_at(&self.file, buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// A stream that may have been compressed.
pub struct Decompressed {
    inner: Box<dyn Read + Send>,
    compressed: bool,
}

impl Read for Decompressed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

/// Looks at the first bytes, not at what a media type claims: gzip, zstd, also where it begins with a frame that is to be
/// skipped, or neither.
pub fn decompress(mut from: impl Read + Send + 'static) -> io::Result<Decompressed> {
    let mut magic = Vec::with_capacity(4);
    from.by_ref().take(4).read_to_end(&mut magic)?;
    let gzip = magic.starts_with(&[0x1f, 0x8b]);
    let zstd = matches!(
        magic[..],
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18]
    );
    let whole = io::Cursor::new(magic).chain(from);
    let inner: Box<dyn Read + Send> = if gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if zstd {
        let mut decoder = zstd::Decoder::new(whole)?;
        decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
        Box::new(decoder)
    } else {
        Box::new(whole)
    };
    Ok(Decompressed {
        inner,
        compressed: gzip || zstd,
    })
}

fn references_of(annotations: &HashMap<String, String>) -> Vec<Reference> {
    REFERENCE_ANNOTATIONS
        .iter()
        .filter_map(|name| annotations.get(*name))
        // The second may hold a bare tag, which names no image.
        .find(|text| text.contains(['/', ':']))
        .and_then(|text| Reference::parse(text).ok())
        .into_iter()
        .collect()
}

fn blob(digest: &str) -> Result<String, ImportError> {
    if is_digest(digest) {
        Ok(format!("blobs/{}", digest.replace(':', "/")))
    } else {
        Err(ImportError::Missing(digest.to_owned()))
    }
}

fn resolve_link(parent: Option<&Path>, target: &Path) -> PathBuf {
    let mut path = parent.map(Path::to_path_buf).unwrap_or_default();
    for component in target.components() {
        match component {
            std::path::Component::ParentDir => {
                path.pop();
            }
            std::path::Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

#[cfg(test)]
mod tests;
