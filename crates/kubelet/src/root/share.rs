//! Mount propagation for the root. Drivers mount volumes in containers; that these mounts get to the node, and from there to other
//! pods, the mount that the root is on has to be shared. Where systemd has started the machine every mount is. Elsewhere the root
//! becomes a shared mount of its own: what is mounted outside of it is left as it is.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use knarr_host::mounts::{self, Mount};
use nix::mount::{MsFlags, mount};
use rustix::fs::{CWD, Mode, OFlags, openat};

const NOTHING: Option<&str> = None;

/// Makes `root` a part of a shared mount, with all that is mounted below it. Blocks.
pub(super) fn share(root: &Path) -> io::Result<()> {
    share_among(&fs::canonicalize(root)?, &mounts::table()?)
}

fn share_among(root: &Path, mounts: &[Mount]) -> io::Result<()> {
    match plan(root, mounts) {
        Plan::Nothing => return Ok(()),
        Plan::Share => {}
        Plan::Bind(below) => bind(root, &below)?,
    }
    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    mount(NOTHING, root, NOTHING, shared, NOTHING)?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    /// It is a mount already.
    Share,
    /// It is to be one, with these below it.
    Bind(Vec<PathBuf>),
}

fn plan(root: &Path, mounts: &[Mount]) -> Plan {
    match mounts::mount_of(mounts, root) {
        Some(on) if on.shared => Plan::Nothing,
        Some(on) if on.point == root => Plan::Share,
        _ => {
            let mut below: Vec<PathBuf> = Vec::new();
            for mount in mounts.iter().filter(|mount| mount.point.starts_with(root)) {
                if !below.iter().any(|outer| mount.point.starts_with(outer)) {
                    below.push(mount.point.clone());
                }
            }
            Plan::Bind(below)
        }
    }
}

/// Puts the root onto itself, and what is mounted below it onto that: running containers have it from there.
fn bind(root: &Path, below: &[PathBuf]) -> io::Result<()> {
    let open = |path: &PathBuf| -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(CWD, path, flags, Mode::empty())?)
    };
    // The bind hides them.
    let opened: Vec<OwnedFd> = below.iter().map(open).collect::<io::Result<_>>()?;
    mount(Some(root), root, NOTHING, MsFlags::MS_BIND, NOTHING)?;
    for (fd, path) in opened.iter().zip(below) {
        let hidden = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        mount(Some(&hidden), path, NOTHING, MsFlags::MS_MOVE, NOTHING)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(all: &[(&str, bool)]) -> Vec<Mount> {
        let of = |(point, shared): &(&str, bool)| Mount {
            point: PathBuf::from(point),
            shared: *shared,
        };
        all.iter().map(of).collect()
    }

    #[test]
    fn only_what_is_not_shared_is_bound() {
        let bind = |below: &[&str]| Plan::Bind(below.iter().map(PathBuf::from).collect());
        for (table, wanted) in [
            (vec![("/", true)], Plan::Nothing),
            (vec![("/", false), ("/data", true)], Plan::Nothing),
            (vec![("/", true), ("/data/k", false)], Plan::Share),
            // One over the other.
            (
                vec![("/", false), ("/data/k", false), ("/data/k", true)],
                Plan::Nothing,
            ),
            (vec![("/", false), ("/data/kk", true)], bind(&[])),
            (
                vec![
                    ("/", false),
                    ("/data/k/pods/a", false),
                    ("/data/k/pods/a/b", false),
                    ("/data/k/pods/ab", true),
                ],
                bind(&["/data/k/pods/a", "/data/k/pods/ab"]),
            ),
        ] {
            let plan = plan(Path::new("/data/k"), &mounts(&table));
            assert_eq!(plan, wanted, "{table:?}");
        }
    }

    /// In a mount namespace of its own, whose mounts are private; needs root.
    #[test]
    fn a_private_root_becomes_shared_with_what_is_on_it() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: mounting needs root");
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("kubelet");
        let inner = root.join("pods/u1");
        fs::create_dir_all(&inner).unwrap();
        let work = std::thread::spawn(move || {
            nix::sched::unshare(
                nix::sched::CloneFlags::CLONE_NEWNS | nix::sched::CloneFlags::CLONE_FS,
            )
            .unwrap();
            let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            mount(NOTHING, "/", NOTHING, private, NOTHING).unwrap();
            crate::volume::mount::tmpfs(&inner, None).unwrap();
            fs::write(inner.join("file"), "kept").unwrap();
            for _ in 0..2 {
                let table = || mounts::table_of("/proc/thread-self/mountinfo").unwrap();
                share_among(&root, &table()).unwrap();
                let own = |mount: &&Mount| mount.point.starts_with(&root);
                let table = table();
                let own: Vec<&Mount> = table.iter().filter(own).collect();
                assert_eq!(own.len(), 2, "{own:?}");
                assert!(own.iter().all(|mount| mount.shared), "{own:?}");
                assert_eq!(fs::read_to_string(inner.join("file")).unwrap(), "kept");
            }
        });
        work.join().unwrap();
    }
}
