//! Where a driver's volumes are, and what is kept of them on disk: upstream's paths and its `vol_data.json`. What there is to undo is
//! found there, by a kubelet that was restarted and for pods that nobody remembers.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Of directories that the kubelet makes for drivers.
const MODE: u32 = 0o750;
/// Name of the plugin in directories of pods.
const ESCAPED_NAME: &str = "kubernetes.io~csi";
/// Holds what drivers have of devices, beside directories of drivers' names.
pub(super) const DEVICES: &str = "volumeDevices";
const DATA_FILE: &str = "vol_data.json";
/// Most bytes of a data file that are read.
const MAX_DATA_BYTES: usize = 64 << 10;

/// A volume as its driver knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Handle {
    pub driver: String,
    pub id: String,
}

impl Handle {
    /// As node statuses name it.
    pub(crate) fn unique_name(&self) -> String {
        format!("kubernetes.io/csi/{}^{}", self.driver, self.id)
    }

    /// Name of the VolumeAttachment that attaches it to a node.
    pub(super) fn attachment(&self, node: &str) -> String {
        format!("csi-{}", hash(&[&self.id, &self.driver, node]))
    }
}

/// How long a volume lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lifecycle {
    Persistent,
    Ephemeral,
}

impl Lifecycle {
    pub(super) fn name(self) -> &'static str {
        match self {
            Lifecycle::Persistent => "Persistent",
            Lifecycle::Ephemeral => "Ephemeral",
        }
    }
}

/// What is written beside a volume, under upstream's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Data {
    pub driver_name: String,
    pub volume_handle: String,
    /// Name of the PersistentVolume, or of the pod's volume.
    #[serde(
        default,
        rename = "specVolID",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    #[serde(
        default,
        rename = "attachmentID",
        skip_serializing_if = "String::is_empty"
    )]
    pub attachment: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_lifecycle_mode: Option<Lifecycle>,
}

impl Data {
    pub(super) fn handle(&self) -> Handle {
        Handle {
            driver: self.driver_name.clone(),
            id: self.volume_handle.clone(),
        }
    }
}

/// The handle of a volume that a pod describes itself.
pub(super) fn inline_handle(uid: &str, volume: &str) -> String {
    format!("csi-{}", hash(&[uid, volume]))
}

/// Of the parts one after the other, hexadecimal.
fn hash(parts: &[&str]) -> String {
    let sum = digest(&SHA256, parts.concat().as_bytes());
    sum.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Directories of one kubelet.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pods: PathBuf,
    plugin: PathBuf,
}

/// A volume with a file system at a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodVolume {
    /// Holds the data file.
    pub dir: PathBuf,
}

impl PodVolume {
    /// Where the driver publishes it.
    pub(super) fn target(&self) -> PathBuf {
        self.dir.join("mount")
    }
}

/// A volume that is a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// Holds the data directory.
    pub dir: PathBuf,
    /// Where the driver stages it.
    pub staging: PathBuf,
    /// Holds where the driver publishes it, by pods' uids.
    pub publish: PathBuf,
}

impl Device {
    pub(super) fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }
}

/// A volume of a pod that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub uid: String,
    /// Directory of the data file, of a volume with a file system; the device's link.
    pub place: PathBuf,
    pub name: String,
    pub is_device: bool,
    pub data: Data,
}

impl Places {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            pods: config.pods_dir(),
            plugin: config.plugins_dir().join("kubernetes.io/csi"),
        }
    }

    /// Of a pod's volume, which has this name for the kubelet: its PersistentVolume's, or its own.
    pub(super) fn pod_volume(&self, uid: &str, name: &str) -> PodVolume {
        let volumes = self.pods.join(uid).join("volumes");
        PodVolume {
            dir: volumes.join(ESCAPED_NAME).join(name),
        }
    }

    /// Binds of parts of a pod's volumes.
    pub(super) fn sub_paths(&self, uid: &str) -> PathBuf {
        self.pods.join(uid).join("volume-subpaths")
    }

    /// The link by which a pod has a device.
    pub(super) fn pod_device(&self, uid: &str, name: &str) -> PathBuf {
        let devices = self.pods.join(uid).join("volumeDevices");
        devices.join(ESCAPED_NAME).join(name)
    }

    /// Holds the data file of a volume that is staged for all its pods.
    pub(super) fn staged(&self, handle: &Handle) -> PathBuf {
        self.plugin.join(&handle.driver).join(hash(&[&handle.id]))
    }

    /// Where the driver stages a volume with a file system.
    pub(super) fn staging(&self, handle: &Handle) -> PathBuf {
        self.staged(handle).join("globalmount")
    }

    /// Of a volume that is a device, by its PersistentVolume's name.
    pub(super) fn device(&self, name: &str) -> Device {
        let devices = self.plugin.join(DEVICES);
        Device {
            staging: devices.join("staging").join(name),
            publish: devices.join("publish").join(name),
            dir: devices.join(name),
        }
    }

    /// The driver's volumes of one pod that are on disk. What is there without a data file was never a driver's business. Blocks.
    pub(super) fn of_pod(&self, uid: &str) -> io::Result<Vec<Found>> {
        let pod = self.pods.join(uid);
        let mut found = Vec::new();
        for (kind, is_device) in [("volumes", false), ("volumeDevices", true)] {
            for (name, place) in entries(&pod.join(kind).join(ESCAPED_NAME))? {
                let data = match is_device {
                    true => self.device(&name).data_dir(),
                    false => place.clone(),
                };
                if let Some(data) = load(&data)? {
                    found.push(Found {
                        uid: uid.to_owned(),
                        place,
                        name,
                        is_device,
                        data,
                    });
                }
            }
        }
        Ok(found)
    }

    /// The driver's volumes of all pods that are on disk. Blocks.
    pub(super) fn of_pods(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for (uid, _) in entries(&self.pods)? {
            found.extend(self.of_pod(&uid)?);
        }
        Ok(found)
    }

    /// Volumes that are, or may be, staged: with file systems, and the names of those that are devices. Blocks.
    pub(super) fn all_staged(&self) -> io::Result<Vec<(Handle, Option<String>)>> {
        let mut found = Vec::new();
        for (driver, dir) in entries(&self.plugin)? {
            if driver == DEVICES {
                for (name, device) in entries(&dir)? {
                    if let Some(data) = load(&device.join("data"))? {
                        found.push((data.handle(), Some(name)));
                    }
                }
                continue;
            }
            for (_, volume) in entries(&dir)? {
                if let Some(data) = load(&volume)? {
                    found.push((data.handle(), None));
                }
            }
        }
        Ok(found)
    }
}

/// Names and paths in a directory; none where there is none.
fn entries(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let read = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut found = Vec::new();
    for entry in read {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Makes a directory with those above it, for root and its group.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    super::super::directory(dir, MODE)
}

/// Writes a data file into a directory, which is made.
pub(super) fn save(dir: &Path, data: &Data) -> io::Result<()> {
    make(dir)?;
    let text = serde_json::to_vec(data).map_err(io::Error::other)?;
    knarr_host::write_durably(&dir.join(DATA_FILE), &text)
}

/// Reads a directory's data file, if it has one.
pub(super) fn load(dir: &Path) -> io::Result<Option<Data>> {
    let path = dir.join(DATA_FILE);
    let directory = match knarr_host::Directory::open(dir) {
        Err(error) if is_absent(&error) => return Ok(None),
        directory => directory?,
    };
    let text = match directory.read_head(Path::new(DATA_FILE), MAX_DATA_BYTES) {
        Err(error) if is_absent(&error) => return Ok(None),
        text => text?,
    };
    let damaged = |error| io::Error::other(format!("{} is damaged: {error}", path.display()));
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Removes a place of a driver's with its data file, unless something is mounted there or it holds anything: that is somebody's data.
pub(super) fn remove(place: &Path) -> io::Result<()> {
    if crate::volume::mount::is_mounted(place)? {
        let message = format!("{} is still mounted", place.display());
        return Err(io::Error::other(message));
    }
    let Some(dir) = place.parent() else {
        return Ok(());
    };
    // Drivers publish directories and files.
    present(fs::remove_dir(place).or_else(|error| match error.kind() {
        io::ErrorKind::NotADirectory => fs::remove_file(place),
        _ => Err(error),
    }))?;
    present(fs::remove_file(dir.join(DATA_FILE)))?;
    present(fs::remove_dir(dir))
}

/// What is not there is removed.
pub(super) fn present(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Contexts, attributes and secrets, as drivers are given them.
pub(super) type Strings = HashMap<String, String>;

#[cfg(test)]
mod tests;
