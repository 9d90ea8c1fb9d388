//! Imports tar archives of images: what `docker save` writes and OCI layouts, plain or compressed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::decompress::decompress;
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
/// Of images' configurations.
const CONFIG_TYPES: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];
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
    /// Such as charts, signatures and what is said of how an image was built.
    #[error("it is no image of a container")]
    NoImage,
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

/// What came of an archive.
#[derive(Debug, Default)]
pub struct Imported {
    pub images: Vec<NamedImage>,
    /// What else it names, each with the reason why it is of no use here.
    pub skipped: Vec<String>,
}

/// An image, and the names that an archive gives it.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedImage {
    pub id: String,
    pub names: Vec<String>,
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

impl Descriptor {
    fn is_for_us(&self) -> bool {
        self.platform.as_ref().is_none_or(Platform::is_ours)
    }
}

/// An uncompressed tar with the places of its files.
struct Tar {
    file: File,
    entries: HashMap<PathBuf, (u64, u64)>,
}

impl ImageStore {
    /// Imports every image of an archive that is for this platform. Blocking.
    ///
    /// # Errors
    /// When it has none, or one that is damaged.
    pub fn import_tar(&self, path: &Path) -> Result<Imported, ImportError> {
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
            let images = self.import_docker(&tar, &manifests.unwrap_or_default())?;
            Ok(Imported {
                images,
                skipped: Vec::new(),
            })
        } else if let Some(manifests) = manifests {
            self.import_layout(&tar, &manifests)
        } else {
            Err(ImportError::Unknown(path.to_path_buf()))
        }
    }

    /// `manifests`: what a layout has, which may be images of other platforms and what is no image, beside each other.
    fn import_layout(&self, tar: &Tar, manifests: &[Descriptor]) -> Result<Imported, ImportError> {
        let mut imported = Imported::default();
        let mut last = None;
        for descriptor in manifests {
            let references = references_of(&descriptor.annotations);
            let found = tar.manifest(descriptor);
            let found = found.and_then(|found| tar.fits(found, references.is_empty()));
            match found {
                Ok(found) => imported
                    .images
                    .push(self.import_oci(tar, &found, &references)?),
                Err(reason @ (ImportError::NoPlatform | ImportError::NoImage)) => {
                    let names = names_of(&references).into_iter();
                    let lines = names.map(|name| format!("{name}: {reason}"));
                    imported.skipped.extend(lines);
                    last = Some(reason);
                }
                Err(error) => return Err(error),
            }
        }
        match last {
            Some(reason) if imported.images.is_empty() => Err(reason),
            _ => Ok(imported),
        }
    }

    /// `manifests`: of an archive that is an OCI layout, too.
    fn import_docker(
        &self,
        tar: &Tar,
        manifests: &[Descriptor],
    ) -> Result<Vec<NamedImage>, ImportError> {
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
    ) -> Result<NamedImage, ImportError> {
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
    ) -> Result<NamedImage, ImportError> {
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
        let id = self.commit(&NewImage {
            config: &bytes,
            references,
            manifest_digests,
            pinned: true,
        })?;
        Ok(NamedImage {
            id,
            names: names_of(references),
        })
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
        if plain.is_compressed() {
            let unpacked = tempfile::tempfile_in(temporary)?;
            unpack(plain, &mut &unpacked, || room::check(&unpacked))?;
            file = unpacked;
        }
        file.seek(SeekFrom::Start(0))?;
        let length = file.metadata()?.len();
        let mut entries = HashMap::new();
        let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
        let (metered, allowance) = Metered::new(BufReader::new(file.try_clone()?));
        let mut archive = tar::Archive::new(metered);
        let mut contents = archive.entries_with_seek()?;
        loop {
            allowance.set(MAX_HEADER_BYTES);
            let Some(entry) = contents.next() else { break };
            if entries.len().saturating_add(links.len()) >= MAX_ARCHIVE_ENTRIES {
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
                    let place = (entry.raw_file_position(), entry.size());
                    if place.0.saturating_add(place.1) > length {
                        let message = format!("it ends within {}", name.display());
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                    }
                    entries.insert(name, place);
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
        if !descriptor.is_for_us() {
            return Err(ImportError::NoPlatform);
        }
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
                .find(Descriptor::is_for_us)
                .filter(|_| digests.len() <= MAX_INDEX_DEPTH)
                .ok_or(ImportError::NoPlatform)?;
        }
    }

    /// Refuses what is no image. One that is for other machines, as only its configuration says, is taken where it has a name: whoever
    /// gave it that may have an emulator for it.
    fn fits(&self, found: Found, is_nameless: bool) -> Result<Found, ImportError> {
        let config = &found.manifest.config;
        let kind = config.media_type.as_str();
        if !kind.is_empty() && !CONFIG_TYPES.contains(&kind) {
            return Err(ImportError::NoImage);
        }
        let platform: Platform = self.json(&blob(&config.digest)?)?;
        if platform.is_unknown() {
            return Err(ImportError::NoImage);
        }
        if is_nameless && !platform.is_ours() {
            return Err(ImportError::NoPlatform);
        }
        Ok(found)
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
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

fn names_of(references: &[Reference]) -> Vec<String> {
    references.iter().map(ToString::to_string).collect()
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
