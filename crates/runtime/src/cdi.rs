//! CDI, the Container Device Interface: what a vendor's specification file says of a device is done to the containers that have it.
//!
//! The kubelet names devices (`vendor.com/class=name`); their drivers have written what that means into files in [`DIRECTORIES`]:
//! variables, device nodes, mounts, groups. As `tags.cncf.io/container-device-interface` of version 1.0. What a file asks that
//! cannot be done here, such as hooks, keeps its containers from being made: a device that is there by half is worse.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::spec;

/// Where files are looked for. Of two that know a device the one in the later directory says what it is.
pub(crate) const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files that are read of a directory.
const FILES_MAX: usize = 1_024;

/// Why devices cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("unresolvable CDI devices {}", .0.join(", "))]
    Unresolvable(Vec<String>),
    #[error("CDI device {device}: {what} are not supported by this runtime")]
    Unsupported { device: String, what: &'static str },
    #[error("CDI device {device}: {path}: {source}")]
    Node {
        device: String,
        path: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A file: devices of one kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    kind: String,
    #[serde(default)]
    devices: Vec<Device>,
    /// For whoever has any of the devices.
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// What is done to a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Mount>,
    #[serde(rename = "additionalGids")]
    additional_gids: Vec<u32>,
    hooks: Vec<Value>,
    net_devices: Vec<Value>,
    intel_rdt: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    path: String,
    host_path: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<u64>,
    minor: Option<u64>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mount {
    host_path: String,
    container_path: String,
    #[serde(rename = "type")]
    kind: String,
    options: Vec<String>,
}

/// What the devices of a container do to it, in their order, each with the device that does it.
#[derive(Debug, Default)]
pub(crate) struct Injection(Vec<(String, Edits)>);

/// Looks devices up. Blocks.
///
/// # Errors
/// Those that no file knows, or that two files of a directory do.
pub(crate) fn resolve(directories: &[PathBuf], names: &[String]) -> Result<Injection, Error> {
    if names.is_empty() {
        return Ok(Injection::default());
    }
    let known = read(directories);
    let mut injection = Injection::default();
    let (mut kinds, mut devices) = (BTreeSet::new(), BTreeSet::new());
    let mut missing = Vec::new();
    for name in names {
        let Some(Some(found)) = known.get(name) else {
            missing.push(name.clone());
            continue;
        };
        if !devices.insert(name) {
            continue;
        }
        if kinds.insert(&found.file) {
            injection.0.push((name.clone(), found.common.clone()));
        }
        injection.0.push((name.clone(), found.own.clone()));
    }
    match missing.is_empty() {
        true => Ok(injection),
        false => Err(Error::Unresolvable(missing)),
    }
}

/// A device that a file knows.
struct Found {
    file: PathBuf,
    common: Edits,
    own: Edits,
}

/// Devices by their full names; `None` for those of which two files of a directory speak.
fn read(directories: &[PathBuf]) -> BTreeMap<String, Option<Found>> {
    let mut known = BTreeMap::new();
    for directory in directories {
        let mut here: BTreeMap<String, Option<Found>> = BTreeMap::new();
        for path in files(directory) {
            let file = match parse(&path) {
                Ok(file) => file,
                Err(error) => {
                    tracing::warn!(file = %path.display(), error, "a CDI file cannot be read");
                    continue;
                }
            };
            for device in file.devices {
                let name = format!("{}={}", file.kind, device.name);
                let found = Found {
                    file: path.clone(),
                    common: file.container_edits.clone(),
                    own: device.container_edits,
                };
                let twice = here.contains_key(&name);
                here.insert(name, (!twice).then_some(found));
            }
        }
        known.extend(here);
    }
    known
}

/// The files of a directory, by name.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_file = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("json" | "yaml"))
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_file).take(FILES_MAX).collect();
    paths.sort();
    paths
}

fn parse(path: &Path) -> Result<File, String> {
    let text = || -> io::Result<String> {
        let mut text = String::new();
        // Drivers write here, and whatever lies here does not block.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        file.take(FILE_BYTES_MAX.saturating_add(1))
            .read_to_string(&mut text)?;
        Ok(text)
    };
    let text = text().map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    // JSON is YAML.
    serde_saphyr::from_str(&text).map_err(|error| error.to_string())
}

impl Injection {
    /// Does to an OCI configuration what the devices say.
    ///
    /// # Errors
    /// What cannot be done; the configuration is not to be used then.
    pub(crate) fn apply(&self, oci: &mut Value) -> Result<(), Error> {
        for (device, edits) in &self.0 {
            let unsupported = [
                ("hooks", !edits.hooks.is_empty()),
                ("network devices", !edits.net_devices.is_empty()),
                ("RDT classes", edits.intel_rdt.is_some()),
            ];
            if let Some((what, _)) = unsupported.into_iter().find(|(_, asked)| *asked) {
                return Err(Error::Unsupported {
                    device: device.clone(),
                    what,
                });
            }
            add_variables(oci, &edits.env);
            for node in &edits.device_nodes {
                add_node(oci, node).map_err(|source| Error::Node {
                    device: device.clone(),
                    path: node.path.clone(),
                    source,
                })?;
            }
            for mount in &edits.mounts {
                add_mount(oci, mount);
            }
            for gid in edits.additional_gids.iter().filter(|gid| **gid != 0) {
                edit(&mut oci["process"]["user"], "additionalGids", |groups| {
                    put(groups, json!(gid), |other| *other == json!(gid));
                });
            }
        }
        Ok(())
    }
}

/// Changes a list in an object; both are made where they are not there.
fn edit(object: &mut Value, key: &str, change: impl FnOnce(&mut Vec<Value>)) {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let mut list = match object[key].take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    change(&mut list);
    object[key] = Value::Array(list);
}

/// Puts an entry in the place of the one that is like it, or at the end.
fn put(list: &mut Vec<Value>, entry: Value, is_like: impl Fn(&Value) -> bool) {
    list.retain(|other| !is_like(other));
    list.push(entry);
}

fn add_variables(oci: &mut Value, variables: &[String]) {
    for variable in variables {
        let name = variable.split('=').next().unwrap_or_default();
        let prefix = format!("{name}=");
        let is_like = |other: &Value| {
            let other = other.as_str();
            other.is_some_and(|other| other.starts_with(&prefix))
        };
        edit(&mut oci["process"], "env", |all| {
            put(all, json!(variable), is_like)
        });
    }
}

fn add_node(oci: &mut Value, node: &Node) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let on_host = node.host_path.as_ref().unwrap_or(&node.path);
    let (kind, major, minor) = match (node.kind.as_deref(), node.major, node.minor) {
        (Some("p"), ..) => return Err("pipes are not supported by this runtime".into()),
        (Some(kind), Some(major), Some(minor)) => (kind.to_owned(), major, minor),
        (kind, ..) => {
            let found = spec::device(on_host)?;
            if kind.is_some_and(|kind| kind != found.kind) {
                return Err("the host's device is of another type".into());
            }
            (found.kind.to_owned(), found.major, found.minor)
        }
    };
    let mut entry = json!({"path": node.path, "type": kind, "major": major, "minor": minor});
    let user = &oci["process"]["user"];
    let (uid, gid) = (user["uid"].clone(), user["gid"].clone());
    // As the reference implementation: whoever runs the container owns its devices, unless the file says who does.
    entry["uid"] = node.uid.map_or(uid, |uid| json!(uid));
    entry["gid"] = node.gid.map_or(gid, |gid| json!(gid));
    if let Some(mode) = node
        .file_mode
        .or_else(|| spec::device(on_host).ok().map(|d| d.mode))
    {
        entry["fileMode"] = json!(mode);
    }
    let is_like = |other: &Value| other["path"] == json!(node.path);
    edit(&mut oci["linux"], "devices", |all| put(all, entry, is_like));
    let access = node.permissions.as_deref().unwrap_or("rwm");
    let rule =
        json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access});
    edit(&mut oci["linux"]["resources"], "devices", |all| {
        all.push(rule)
    });
    Ok(())
}

fn add_mount(oci: &mut Value, mount: &Mount) {
    let mut options = mount.options.clone();
    let is_bind = matches!(mount.kind.as_str(), "" | "bind");
    if is_bind
        && !options
            .iter()
            .any(|option| option == "bind" || option == "rbind")
    {
        options.insert(0, "rbind".to_owned());
    }
    let kind = if is_bind { "bind" } else { &mount.kind };
    let entry = json!({
        "destination": mount.container_path, "source": mount.host_path,
        "type": kind, "options": options,
    });
    let destination = json!(mount.container_path);
    edit(oci, "mounts", |all| {
        put(all, entry, |other| other["destination"] == destination)
    });
}

#[cfg(test)]
mod tests;
