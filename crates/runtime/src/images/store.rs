//! The store: records and layers on disk, an index in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::extract;
use super::hashed::Hashed;
use super::holds::{Held, Holds};
use super::implied::{self, KeptDirectory};
use super::reference::{Reference, is_digest, is_hex64};
use crate::{files, id};

/// Largest image configuration accepted, bytes.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Most that follows a layer's last entry: archives are filled up to whole records.
const MAX_PADDING_BYTES: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("image store: {0}")]
    Io(#[from] io::Error),
    #[error("unpack layer: {0}")]
    Extract(#[from] extract::ExtractError),
    #[error("layer has digest {actual}, not {wanted}")]
    LayerDigest { wanted: String, actual: String },
    #[error("image configuration has digest {actual}, not {wanted}")]
    ConfigDigest { wanted: String, actual: String },
    #[error("image configuration: {0}")]
    Config(serde_json::Error),
    #[error("image configuration has a diff id that is no sha256 digest: {0:?}")]
    DiffId(String),
    #[error("more than {MAX_PADDING_BYTES} bytes follow the archive's end")]
    Padding,
    #[error("layer {0} is missing")]
    MissingLayer(String),
}

/// The part of an image's configuration that containers need. Field names are those of the OCI image specification.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ImageConfig {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub config: Option<ProcessConfig>,
    #[serde(default)]
    pub rootfs: RootFs,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProcessConfig {
    pub user: String,
    pub env: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub working_dir: String,
    pub stop_signal: Option<String>,
    pub labels: Option<BTreeMap<String, String>>,
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct RootFs {
    #[serde(default)]
    pub diff_ids: Vec<String>,
}

/// An image in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:<digest of the configuration>`.
    pub id: String,
    /// `name:tag`, normalized.
    pub tags: BTreeSet<String>,
    /// `name@digest of the manifest`, normalized.
    pub digests: BTreeSet<String>,
    /// Bytes of the unpacked layers.
    pub size: u64,
    pub config: ImageConfig,
    /// Directories whose attributes are those of a lower layer than the topmost that has them.
    #[serde(default)]
    pub kept: Vec<KeptDirectory>,
    /// Nobody removes it to make room: it came from an archive, and may be nowhere else.
    #[serde(default)]
    pub pinned: bool,
}

/// What [`ImageStore::commit`] takes.
pub struct NewImage<'a> {
    /// The configuration's bytes, whose digest is the image's id.
    pub config: &'a [u8],
    pub references: &'a [Reference],
    /// Digests of the manifest it came by, and of indexes that led there.
    pub manifest_digests: &'a [String],
    /// Whether it is to be kept when there is no room; one that was stays so.
    pub pinned: bool,
}

/// All images.
pub struct ImageStore {
    root: PathBuf,
    index: Mutex<HashMap<String, Image>>,
    /// Layers that are whole, but may not be on the disk yet: their records are written with the first image that has
    /// them. By name; taken after the index's lock.
    unrecorded: Mutex<HashMap<String, LayerRecord>>,
    /// Layers of images to come. Looked at under the index's lock.
    holds: Holds,
}

/// Beside an unpacked layer that is on the disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    pub(super) size: u64,
    /// Directories that its archive only implies.
    #[serde(default)]
    implied: Vec<String>,
}

impl ImageStore {
    /// Opens or makes the store. What an interrupted import or a power failure left is removed.
    pub fn open(root: PathBuf) -> Result<Self, StoreError> {
        for directory in ["records", "configs", "layers", "tmp"] {
            files::make_dir(&root.join(directory))?;
        }
        files::remove(&root.join("tmp"))?;
        files::make_dir(&root.join("tmp"))?;
        let mut index = HashMap::new();
        for entry in fs::read_dir(root.join("records"))? {
            let path = entry?.path();
            match files::read_json::<Image>(&path) {
                Ok(Some(image)) if path.extension().is_some_and(|end| end == "json") => {
                    index.insert(image.id.clone(), image);
                }
                Ok(_) => files::remove(&path)?,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "removing the unreadable record of an image");
                    files::remove(&path)?;
                }
            }
        }
        let store = Self {
            root,
            index: Mutex::new(index),
            unrecorded: Mutex::default(),
            holds: Holds::default(),
        };
        store.drop_partial_images()?;
        store.sweep_layers()?;
        Ok(store)
    }

    /// Where the images are, for file system figures.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory for temporary files, emptied at each start.
    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub fn list(&self) -> Vec<Image> {
        let mut images: Vec<Image> = self.index.lock().values().cloned().collect();
        images.sort_by(|a, b| a.id.cmp(&b.id));
        images
    }

    /// By id (with or without `sha256:`, whole or a unique prefix) or by reference.
    pub fn find(&self, text: &str) -> Option<Image> {
        let index = self.index.lock();
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if is_hex64(digits) {
            return index.get(&format!("sha256:{digits}")).cloned();
        }
        if let Ok(reference) = Reference::parse(text) {
            let key = reference.key();
            let found = index
                .values()
                .find(|image| image.tags.contains(&key) || image.digests.contains(&key));
            if let Some(image) = found {
                return Some(image.clone());
            }
        }
        if digits.len() < 8 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut matching = index
            .values()
            .filter(|image| image.id["sha256:".len()..].starts_with(digits));
        matching
            .next()
            .filter(|_| matching.next().is_none())
            .cloned()
    }

    pub fn has_layer(&self, diff_id: &str) -> bool {
        matches!(self.recorded_layer(diff_id), Ok(Some(_)))
    }

    pub(super) fn recorded_layer(&self, diff_id: &str) -> Result<Option<LayerRecord>, StoreError> {
        let fresh = self.unrecorded.lock().get(layer_name(diff_id)?).cloned();
        match fresh {
            Some(record) => Ok(Some(record)),
            // A power failure may bring a record back that was removed, but not its layer.
            None if !self.layer(diff_id)?.is_dir() => Ok(None),
            None => Ok(files::read_json(&self.layer_record(diff_id)?)?),
        }
    }

    /// Images that lack a layer: a record reached the disk and that of a layer did not.
    fn drop_partial_images(&self) -> Result<(), StoreError> {
        let mut index = self.index.lock();
        let partial: Vec<String> = index
            .values()
            .filter(|image| {
                let mut layers = image.config.rootfs.diff_ids.iter();
                layers.any(|diff_id| !self.has_layer(diff_id))
            })
            .map(|image| image.id.clone())
            .collect();
        for id in partial {
            tracing::warn!(image = id, "removing an image that lacks a layer");
            files::remove(&self.record(&id))?;
            index.remove(&id);
        }
        Ok(())
    }

    /// Unpacks an uncompressed tar as the layer `diff_id`, whose digest is checked. Blocking, and safe to be called for
    /// one layer twice at the same time.
    pub fn unpack_layer(&self, diff_id: &str, tar: impl Read) -> Result<(), StoreError> {
        let target = self.layer(diff_id)?;
        if self.has_layer(diff_id) {
            return Ok(());
        }
        let temporary = self.temporary().join(id::new());
        files::make_dir(&temporary)?;
        let mut hashed = Hashed::new(tar);
        let outcome = extract::layer(&mut hashed, &temporary)
            .map_err(StoreError::from)
            .and_then(|unpacked| {
                // The digest covers the padding after the archive's end too.
                let mut padding = hashed.by_ref().take(MAX_PADDING_BYTES + 1);
                if io::copy(&mut padding, &mut io::sink())? > MAX_PADDING_BYTES {
                    return Err(StoreError::Padding);
                }
                let actual = hashed.digest();
                if actual == diff_id {
                    Ok(unpacked)
                } else {
                    Err(StoreError::LayerDigest {
                        wanted: diff_id.to_owned(),
                        actual,
                    })
                }
            });
        let unpacked = match outcome {
            Ok(unpacked) => unpacked,
            Err(error) => {
                files::remove(&temporary)?;
                return Err(error);
            }
        };
        let _serialized = self.index.lock();
        if self.has_layer(diff_id) {
            files::remove(&temporary)?;
            return Ok(());
        }
        // Left by a crash before its record.
        files::remove(&target)?;
        fs::rename(&temporary, &target)?;
        let record = LayerRecord {
            size: unpacked.size,
            implied: unpacked.implied,
        };
        let mut unrecorded = self.unrecorded.lock();
        unrecorded.insert(layer_name(diff_id)?.to_owned(), record);
        Ok(())
    }

    /// Adds an image whose layers are unpacked, or gives a known one further names. A reference that pointed to another
    /// image moves. Returns the image's id. Layers are on the disk before their records are, and everything is when this
    /// returns. Blocking, for as long as the disk takes.
    pub fn commit(&self, new: &NewImage<'_>) -> Result<String, StoreError> {
        let digits = id::hex(&Sha256::digest(new.config));
        let config: ImageConfig = serde_json::from_slice(new.config).map_err(StoreError::Config)?;
        let (mut size, mut layers, mut fresh) = (0_u64, Vec::new(), false);
        for diff_id in &config.rootfs.diff_ids {
            let record = self
                .recorded_layer(diff_id)?
                .ok_or_else(|| StoreError::MissingLayer(diff_id.clone()))?;
            size = size.saturating_add(record.size);
            layers.push((self.layer(diff_id)?, record.implied));
            fresh |= self.unrecorded.lock().contains_key(layer_name(diff_id)?);
        }
        // At once for all of them, and with no lock held, since it may take long.
        if fresh {
            knarr_host::sync_file_system(&self.root)?;
        }
        let image = Image {
            id: format!("sha256:{digits}"),
            tags: BTreeSet::new(),
            digests: BTreeSet::new(),
            size,
            kept: implied::kept_directories(&layers)?,
            config,
            pinned: new.pinned,
        };
        let id = image.id.clone();
        for path in self.enter(image, new)? {
            fs::File::open(&path)?.sync_all()?;
        }
        for directory in ["layers", "configs", "records"] {
            knarr_host::sync_directory(&self.root.join(directory))?;
        }
        Ok(id)
    }

    /// Writes the records and the index; which files were written.
    fn enter(&self, new: Image, from: &NewImage<'_>) -> Result<Vec<PathBuf>, StoreError> {
        let mut index = self.index.lock();
        let mut written = Vec::new();
        for diff_id in &new.config.rootfs.diff_ids {
            // It may have been swept meanwhile.
            let record = self
                .recorded_layer(diff_id)?
                .ok_or_else(|| StoreError::MissingLayer(diff_id.clone()))?;
            let mut unrecorded = self.unrecorded.lock();
            if unrecorded.remove(layer_name(diff_id)?).is_some() {
                let path = self.layer_record(diff_id)?;
                files::write_json(&path, &record)?;
                written.push(path);
            }
        }
        let config = self.root.join("configs").join(&new.id["sha256:".len()..]);
        files::write_atomically(&config, from.config)?;
        written.push(config);
        let mut image = index.get(&new.id).cloned().unwrap_or(new);
        image.pinned |= from.pinned;
        for reference in from.references {
            if let Some(tag) = &reference.tag {
                image.tags.insert(format!("{}:{tag}", reference.name()));
            }
            let own = reference.digest.as_ref().map(std::slice::from_ref);
            for digest in own.unwrap_or(from.manifest_digests) {
                let name = format!("{}@{digest}", reference.name());
                image.digests.insert(name);
            }
        }
        for other in index.values_mut().filter(|other| other.id != image.id) {
            let before = other.tags.len();
            other.tags.retain(|tag| !image.tags.contains(tag));
            if other.tags.len() != before {
                // Who brought another under all of its names does not need it any more.
                other.pinned &= !other.tags.is_empty();
                let path = self.record(&other.id);
                files::write_json(&path, other)?;
                written.push(path);
            }
        }
        let path = self.record(&image.id);
        files::write_json(&path, &image)?;
        written.push(path);
        index.insert(image.id.clone(), image);
        Ok(written)
    }

    /// Removes an image with all its names; an unknown one is removed. Layers that `in_use` images or other images need
    /// stay.
    pub fn remove(&self, text: &str) -> Result<(), StoreError> {
        let Some(image) = self.find(text) else {
            return Ok(());
        };
        {
            let mut index = self.index.lock();
            index.remove(&image.id);
            files::remove(&self.record(&image.id))?;
            files::remove(&self.root.join("configs").join(&image.id["sha256:".len()..]))?;
        }
        self.sweep_layers()
    }

    /// Directories of an image's layers, lowest first.
    pub fn layers(&self, image: &Image) -> Result<Vec<PathBuf>, StoreError> {
        image
            .config
            .rootfs
            .diff_ids
            .iter()
            .map(|diff_id| {
                if self.has_layer(diff_id) {
                    self.layer(diff_id)
                } else {
                    Err(StoreError::MissingLayer(diff_id.clone()))
                }
            })
            .collect()
    }

    fn layer(&self, diff_id: &str) -> Result<PathBuf, StoreError> {
        Ok(self.root.join("layers").join(layer_name(diff_id)?))
    }

    /// Exists once the layer is whole.
    fn layer_record(&self, diff_id: &str) -> Result<PathBuf, StoreError> {
        Ok(self
            .root
            .join("layers")
            .join(format!("{}.json", layer_name(diff_id)?)))
    }

    fn record(&self, image_id: &str) -> PathBuf {
        self.root
            .join("records")
            .join(format!("{}.json", &image_id["sha256:".len()..]))
    }

    /// Keeps layers from being swept, whether they are there yet or not, for an image that is about to have them.
    pub fn hold(&self, diff_ids: &[String]) -> Result<Held<'_>, StoreError> {
        let names: Vec<String> = diff_ids
            .iter()
            .map(|diff_id| layer_name(diff_id).map(str::to_owned))
            .collect::<Result<_, _>>()?;
        let _serialized = self.index.lock();
        Ok(self.holds.take(names))
    }

    /// Removes layers that no image names and nobody holds. A mounted snapshot keeps its lower directories' inodes alive
    /// only as long as they are linked, so an image that a container uses is not removed in the first place (the CRI
    /// service sees to it).
    pub fn sweep_layers(&self) -> Result<(), StoreError> {
        // What takes time is done with no lock held: others only have to find the names gone.
        for path in self.set_aside()? {
            files::remove(&path)?;
        }
        Ok(())
    }

    /// Takes layers that nobody wants out of the store; where they are now.
    fn set_aside(&self) -> Result<Vec<PathBuf>, StoreError> {
        let index = self.index.lock();
        let held = self.holds.names();
        let wanted: BTreeSet<&str> = index
            .values()
            .flat_map(|image| &image.config.rootfs.diff_ids)
            .filter_map(|diff_id| layer_name(diff_id).ok())
            .chain(held.iter().map(String::as_str))
            .collect();
        let mut aside = Vec::new();
        for entry in fs::read_dir(self.root.join("layers"))? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let stem = name.split('.').next().unwrap_or(name);
            if !wanted.contains(stem) {
                self.unrecorded.lock().remove(stem);
                // The record first: a layer without one is not whole.
                files::remove(&self.root.join("layers").join(format!("{stem}.json")))?;
                let path = self.temporary().join(id::new());
                match fs::rename(entry.path(), &path) {
                    Ok(()) => aside.push(path),
                    // The record, which has just gone.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(aside)
    }
}

/// A layer's directory: enough of the digest to be unique, short for overlayfs's options.
fn layer_name(diff_id: &str) -> Result<&str, StoreError> {
    if !is_digest(diff_id) {
        return Err(StoreError::DiffId(diff_id.to_owned()));
    }
    const NAME_BYTES: usize = 32;
    Ok(&diff_id["sha256:".len()..][..NAME_BYTES])
}

#[cfg(test)]
mod tests;
