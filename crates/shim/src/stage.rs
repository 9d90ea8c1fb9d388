//! What a container mounts, put where the pod's own users can reach it.
//!
//! libcontainer opens the sources of mounts, the root file system and joined namespaces as the root of the container's users.
//! Where those are not the host's, that root is nobody on the host: directories above are closed to it, and so is `/proc` of the
//! host's processes. So the one-shot child opens all of it before, as the host's root, gives mounts the owners that the container
//! sees (libcontainer knows no such mounts), and attaches each below one directory in a mount namespace of its own, which goes
//! with the child. libcontainer is given a configuration that names those.
//!
//! Rejected: directories that everybody may pass, as containerd has them (a volume on the host may be anywhere), and mounts
//! in the host's table (they would have to be found and undone after a crash).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use knarr_shim::protocol::StartSpec;
use knarr_shim::tree;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{SFlag, fstat};
use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use crate::users;

/// Where it is put: a directory that every host has, that everybody may pass, and that no container's start needs for itself.
const STAGE: &str = "/dev/pts";
const STAGE_OPTIONS: &str = "mode=755,size=64k";

/// Puts what the container mounts where its users reach it, if they are not the host's, and writes the configuration that names it
/// into `directory`; the directory whose `config.json` libcontainer is to use. For a process that does nothing else any more.
pub fn prepare(spec: &StartSpec, directory: &Path, mut oci: Spec) -> Result<PathBuf, String> {
    let Some(path) = users::namespace(&oci).and_then(|own| own.path().clone()) else {
        return Ok(spec.bundle.clone());
    };
    // They are mounted, and libcontainer would make them only later.
    for group in spec.cgroup_procs.iter().filter_map(|procs| procs.parent()) {
        fs::create_dir_all(group).map_err(|error| format!("make {}: {error}", group.display()))?;
    }
    let own = File::open(&path).map_err(|error| format!("open {}: {error}", path.display()))?;
    own_mount_table().map_err(|error| format!("make a mount namespace: {error}"))?;
    // All of them before the first is attached, which may cover where another is.
    let mut trees = vec![rootfs(&mut oci)?];
    for mount in oci.mounts_mut().iter_mut().flatten() {
        if mount.typ().as_deref() == Some("bind") {
            let staged = one(mount, trees.len(), &own);
            trees.push(staged.map_err(|error| {
                let (from, to) = (mount.source(), mount.destination());
                let from = from.as_deref().unwrap_or(Path::new(""));
                format!("mount {} at {}: {error}", from.display(), to.display())
            })?);
        }
    }
    attach(&trees).map_err(|error| format!("attach the container's mounts: {error}"))?;
    name_namespaces(&mut oci)?;
    let file = directory.join("config.json");
    oci.save(&file)
        .map_err(|error| format!("write {}: {error}", file.display()))?;
    Ok(directory.to_owned())
}

/// Nothing that is mounted from here on reaches the host, but what the host mounts arrives.
fn own_mount_table() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
}

fn name(index: usize) -> PathBuf {
    Path::new(STAGE).join(index.to_string())
}

/// The first one.
fn rootfs(oci: &mut Spec) -> Result<OwnedFd, String> {
    let root = oci.root_mut().as_mut().ok_or("there is no root")?;
    let tree = tree::copy(root.path(), true)
        .map_err(|error| format!("copy {}: {error}", root.path().display()))?;
    root.set_path(name(0));
    Ok(tree)
}

fn one(mount: &mut Mount, index: usize, users: &File) -> io::Result<OwnedFd> {
    let source = mount.source().as_ref();
    let source = source.ok_or_else(|| io::Error::other("there is no source"))?;
    let mut options = mount.options().iter().flatten();
    let tree = tree::copy(source, options.any(|option| option == "rbind"))?;
    let mappings = mount.uid_mappings().as_ref();
    if mappings.is_some_and(|mappings| !mappings.is_empty()) {
        tree::map_owners(&tree, users.as_fd()).map_err(|error| {
            let why = "its file system may not be able to have mapped owners on this kernel";
            io::Error::new(error.kind(), format!("map its owners: {error} ({why})"))
        })?;
    }
    mount.set_source(Some(name(index)));
    mount.set_uid_mappings(None);
    mount.set_gid_mappings(None);
    Ok(tree)
}

fn attach(trees: &[OwnedFd]) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let kind = Some("tmpfs");
    mount(kind, STAGE, kind, flags, Some(OsStr::new(STAGE_OPTIONS)))?;
    for (index, one) in trees.iter().enumerate() {
        let target = name(index);
        let kind = SFlag::from_bits_truncate(fstat(one.as_raw_fd())?.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFDIR {
            fs::create_dir(&target)?;
        } else {
            File::create_new(&target)?;
        }
        tree::attach(one, &target)?;
    }
    Ok(())
}

/// By descriptors of this process, which its children have too: those of other processes are closed to the container's users.
fn name_namespaces(oci: &mut Spec) -> Result<(), String> {
    let linux = oci.linux_mut().as_mut().ok_or("there is no Linux part")?;
    for namespace in linux.namespaces_mut().iter_mut().flatten() {
        // It is joined first, while libcontainer still has the host's rights.
        let path = match namespace.path() {
            Some(path) if namespace.typ() != LinuxNamespaceType::User => path,
            _ => continue,
        };
        let file = File::open(path).map_err(|error| format!("open {}: {error}", path.display()))?;
        // Until the program is executed.
        let kept = file.into_raw_fd();
        namespace.set_path(Some(PathBuf::from(format!("/proc/self/fd/{kept}"))));
    }
    Ok(())
}
