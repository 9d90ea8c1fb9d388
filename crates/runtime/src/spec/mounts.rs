//! Mounts: the file systems every container has, the sandbox's files, and what CRI asks for.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use knarr_cri::v1::{self, MountPropagation, NamespaceMode};
use serde_json::{Value, json};

use super::{Input, SpecError, host};
use crate::cgroup::{self, Hierarchies};
use crate::image_volume::Sources;
use crate::users::{Ids, Users};

/// What CRI may ask of a mount beyond its own fields.
pub const MOUNT_OPTIONS: [&str; 3] = ["noexec", "nodev", "nosuid"];

const CGROUP: &str = "/sys/fs/cgroup";

pub struct Mounts {
    pub mounts: Vec<Value>,
    /// The root's own propagation, where a mount needs one.
    pub propagation: Option<&'static str>,
}

pub fn generate(input: &Input<'_>) -> Result<Mounts, SpecError> {
    let mut wanted: Vec<&v1::Mount> = Vec::new();
    for mount in &input.config.mounts {
        if !is_left_out(mount, input.privileged())? {
            wanted.push(mount);
        }
    }
    let asked: Vec<&str> = wanted
        .iter()
        .map(|mount| mount.container_path.trim_end_matches('/'))
        .collect();
    // What is asked for replaces what would be there.
    let stays = |mount: &Value| {
        let destination = destination(mount);
        let hierarchy = destination.starts_with(CGROUP) && asked.contains(&CGROUP);
        !hierarchy && !asked.contains(&destination)
    };
    let mut mounts = base(input);
    mounts.extend(control_groups(cgroup::host(), input.cgroup, access(input)));
    mounts.retain(stays);
    if input.users.is_some() {
        mounts.extend(devices(input)?);
    }
    let mut files = sandbox_files(input);
    files.extend(input.declared.iter().map(|volume| {
        json!({
            "destination": volume.destination, "type": "bind", "source": volume.source,
            "options": ["rbind", "rprivate", "rw"],
        })
    }));
    files.retain(stays);
    for mount in wanted {
        files.push(bind(mount, input.volumes, input.users)?);
    }
    // A mount below another comes after it, whoever asked for either: a volume at `/etc` hides no `/etc/resolv.conf`.
    files.sort_by_key(|mount| Path::new(destination(mount)).components().count());
    mounts.extend(files);
    Ok(Mounts {
        mounts,
        propagation: root_propagation(&input.config.mounts),
    })
}

fn destination(mount: &Value) -> &str {
    mount["destination"].as_str().unwrap_or_default()
}

/// As OCI has them: those of users, and of groups.
pub fn mappings(users: &Users) -> (Value, Value) {
    let list = |mapping: &knarr_shim::IdMapping| {
        json!([{
            "containerID": mapping.container_id, "hostID": mapping.host_id, "size": mapping.length,
        }])
    };
    (list(&users.ids.uids), list(&users.ids.gids))
}

/// Devices that libcontainer gives every container, whoever its users are. What is mounted there before it would open, and a
/// terminal that is not the opener's cannot be.
const GIVEN: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

/// The host's device nodes, for containers that can make none.
fn devices(input: &Input<'_>) -> Result<Vec<Value>, SpecError> {
    let node = |source: &str, destination: &str| {
        json!({
            "destination": destination, "type": "bind", "source": source,
            "options": ["bind", "rprivate", "nosuid", "noexec"],
        })
    };
    let mut nodes = Vec::new();
    if input.privileged() {
        nodes.extend(host::devices().iter().map(|(path, _)| node(path, path)));
    }
    for device in &input.config.devices {
        // That it is one.
        host::device(&device.host_path)?;
        nodes.push(node(&device.host_path, &device.container_path));
    }
    nodes.retain(|node| !GIVEN.iter().any(|given| node["destination"] == *given));
    Ok(nodes)
}

/// Whether the host's devices are asked for by a container that has them. libcontainer makes a container's links and devices in
/// whatever is mounted at `/dev`: in the host's own directory they would be made, or removed, for everybody.
fn is_left_out(mount: &v1::Mount, privileged: bool) -> Result<bool, SpecError> {
    if mount.container_path.trim_end_matches('/') != "/dev" {
        return Ok(false);
    }
    if !privileged || mount.host_path.trim_end_matches('/') != "/dev" {
        return Err(SpecError::Unsupported(
            "a mount at /dev is supported of the host's /dev in privileged containers only"
                .to_owned(),
        ));
    }
    tracing::info!(
        "a container gets the host's devices as they are at its start, and not /dev itself"
    );
    Ok(true)
}

/// The widest propagation that a mount asks for, by OCI's names for the root, which have no `r` in front.
fn root_propagation(mounts: &[v1::Mount]) -> Option<&'static str> {
    let asked = |wanted| mounts.iter().any(|mount| mount.propagation() == wanted);
    if asked(MountPropagation::PropagationBidirectional) {
        return Some("shared");
    }
    asked(MountPropagation::PropagationHostToContainer).then_some("slave")
}

fn access(input: &Input<'_>) -> &'static str {
    if input.privileged() { "rw" } else { "ro" }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn base(input: &Input<'_>) -> Vec<Value> {
    let access = access(input);
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", access],
        ),
    ]
}

/// The container's own cgroup as the root of every hierarchy.
///
/// Of version 1 by binds: what libcontainer makes of a mount of type `cgroup` can be written to whatever its options say,
/// has the whole of a named hierarchy, and cannot be made at all in a joined process namespace (it looks a process id of
/// that namespace up in the host's `/proc`). Controllers that the host has together get a bind each beside the common one,
/// where others make links.
fn control_groups(host: &Hierarchies, cgroup: &Path, access: &str) -> Vec<Value> {
    let options = ["nosuid", "noexec", "nodev", "relatime", access];
    let Hierarchies::Legacy(hierarchies) = host else {
        return vec![mount(CGROUP, "cgroup", "cgroup", &options)];
    };
    let mut binds: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for (controller, hierarchy) in hierarchies {
        let Some(source) = host.directory(controller, cgroup) else {
            continue;
        };
        let together = hierarchy.file_name().map(Path::new);
        for name in [Some(Path::new(controller)), together]
            .into_iter()
            .flatten()
        {
            binds.insert(Path::new(CGROUP).join(name), source.clone());
        }
    }
    let tmpfs = ["nosuid", "noexec", "nodev", "mode=755", "size=64k"];
    let mut mounts = vec![mount(CGROUP, "tmpfs", "tmpfs", &tmpfs)];
    mounts.extend(binds.into_iter().map(|(destination, source)| {
        json!({
            "destination": destination, "type": "bind", "source": source,
            "options": ["bind", "rprivate", "nosuid", "noexec", "nodev", "relatime", access],
        })
    }));
    mounts
}

fn sandbox_files(input: &Input<'_>) -> Vec<Value> {
    let namespaces = super::sandbox_namespaces(input.sandbox);
    let host_ipc = namespaces.ipc() == NamespaceMode::Node;
    let shm = if host_ipc {
        Path::new("/dev/shm").to_path_buf()
    } else {
        input.sandbox_dir.join("shm")
    };
    let readonly = input
        .security()
        .is_some_and(|security| security.readonly_rootfs);
    let access = if readonly { "ro" } else { "rw" };
    let file = |destination: &str, source: &Path| {
        json!({
            "destination": destination, "type": "bind", "source": source,
            "options": ["rbind", "rprivate", access],
        })
    };
    let mut mounts = vec![json!({
        "destination": "/dev/shm", "type": "bind", "source": shm,
        "options": ["rbind", "rprivate", "nosuid", "noexec", "nodev", "rw"],
    })];
    for (destination, name) in [
        ("/etc/hostname", "hostname"),
        ("/etc/resolv.conf", "resolv.conf"),
    ] {
        let source = input.sandbox_dir.join(name);
        if source.exists() {
            mounts.push(file(destination, &source));
        }
    }
    mounts
}

fn bind(mount: &v1::Mount, volumes: &Sources, users: Option<&Users>) -> Result<Value, SpecError> {
    if !Ids::are_those_of(users.map(|users| &users.ids), mount) {
        return Err(SpecError::Unsupported(format!(
            "mount {}: owners are mapped as the pod's users are, or not at all",
            mount.container_path
        )));
    }
    check_recursive_read_only(mount)?;
    let source = match &mount.image {
        Some(image) => image_source(mount, image, volumes)?,
        None => host_source(mount)?,
    };
    if mount.propagation() == MountPropagation::PropagationBidirectional {
        check_shared(&source)?;
    }
    let propagation = match mount.propagation() {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => "rshared",
    };
    let access = if mount.recursive_read_only {
        "rro"
    } else if mount.readonly {
        "ro"
    } else {
        "rw"
    };
    let destination = match mount.container_path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    let mut options = vec!["rbind", propagation, access];
    for option in &mount.mount_options {
        let known = MOUNT_OPTIONS.iter().find(|known| *known == option);
        options.push(known.ok_or_else(|| SpecError::MountOption {
            path: mount.container_path.clone(),
            option: option.clone(),
        })?);
    }
    let mut bind = json!({
        "destination": destination, "type": "bind", "source": source, "options": options,
    });
    // An image's layers have mapped owners already.
    let mapped = users.filter(|_| !mount.uid_mappings.is_empty() && mount.image.is_none());
    if let Some(users) = mapped {
        let (uids, gids) = mappings(users);
        bind["uidMappings"] = uids;
        bind["gidMappings"] = gids;
    }
    Ok(bind)
}

fn host_source(mount: &v1::Mount) -> Result<PathBuf, SpecError> {
    let source = Path::new(&mount.host_path);
    let wrong = |source| SpecError::Mount {
        path: mount.host_path.clone(),
        source,
    };
    // As docker and containerd: a missing source becomes a directory.
    match fs::canonicalize(source) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(source).map_err(wrong)?;
            fs::canonicalize(source).map_err(wrong)
        }
        other => other.map_err(wrong),
    }
}

/// What is mounted below the path in the container reaches the host only through a shared mount.
fn check_shared(source: &Path) -> Result<(), SpecError> {
    let path = || source.display().to_string();
    let table = knarr_host::mounts::table().map_err(|error| SpecError::Mount {
        path: path(),
        source: error,
    })?;
    match knarr_host::mounts::mount_of(&table, source) {
        Some(on) if !on.shared => Err(SpecError::Propagation {
            path: path(),
            on: on.point.display().to_string(),
        }),
        _ => Ok(()),
    }
}

fn image_source(
    mount: &v1::Mount,
    image: &v1::ImageSpec,
    volumes: &Sources,
) -> Result<PathBuf, SpecError> {
    let wanted = (image.image_ref.clone(), mount.image_sub_path.clone());
    let found = volumes.get(&wanted).cloned();
    found.ok_or_else(|| SpecError::Mount {
        path: image.image.clone(),
        source: io::ErrorKind::NotFound.into(),
    })
}

/// CRI wants such a mount refused that is writable, or where a writable one could appear later.
fn check_recursive_read_only(mount: &v1::Mount) -> Result<(), SpecError> {
    let needs = match mount.propagation() {
        _ if !mount.recursive_read_only => return Ok(()),
        _ if !mount.readonly => "readonly",
        MountPropagation::PropagationPrivate => return Ok(()),
        MountPropagation::PropagationHostToContainer
        | MountPropagation::PropagationBidirectional => "private propagation",
    };
    Err(SpecError::RecursiveReadOnly {
        path: mount.container_path.clone(),
        needs,
    })
}

#[cfg(test)]
mod tests;
