//! Places to mount on that an image has as symbolic links to nothing: of whole systems `/etc/resolv.conf` is one, to a file that a
//! service would make. As runc does, what such a link leads to is made in the container's root file system, and mounted on;
//! libcontainer makes what is missing, but nothing behind a link.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use knarr_host::Directory;
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};
use serde_json::Value;

use crate::owners;
use crate::users::Users;

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;
/// Of what is made.
const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// Makes what the destinations of an OCI configuration's `mounts` lead to by links. A path that cannot be a place to mount on is
/// left to whoever mounts. It belongs to `users`, if they are not the host's.
pub fn make(rootfs: &Path, mounts: &[Value], users: Option<&Users>) -> io::Result<()> {
    let root = Directory::open(rootfs)?;
    for mount in mounts {
        let Some(destination) = mount["destination"].as_str() else {
            continue;
        };
        let source = mount["source"].as_str().unwrap_or_default();
        let is_file = mount["type"] == "bind" && !Path::new(source).is_dir();
        let made = make_one(&root, Path::new(destination), is_file)?;
        if let (Some(made), Some(users)) = (made, users) {
            owners::give(&root, &made, users)?;
        }
    }
    Ok(())
}

/// What was made, without links.
fn make_one(root: &Directory, destination: &Path, is_file: bool) -> io::Result<Option<PathBuf>> {
    let mut left = names(destination);
    // Without links, and there.
    let mut done = PathBuf::new();
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            done.pop();
            continue;
        }
        let parent = root.child(here(&done))?;
        match kind(&parent, &name)? {
            Some(SFlag::S_IFDIR) => done.push(name),
            Some(SFlag::S_IFLNK) => {
                links += 1;
                if links > MAX_LINKS {
                    return Ok(None);
                }
                let target = parent.read_link(Path::new(&name))?;
                if target.is_absolute() {
                    done.clear();
                }
                for name in names(&target).into_iter().rev() {
                    left.push_front(name);
                }
            }
            None if links > 0 => {
                left.push_front(name);
                return make_rest(root, done, left, is_file).map(Some);
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn make_rest(
    root: &Directory,
    mut path: PathBuf,
    left: VecDeque<OsString>,
    is_file: bool,
) -> io::Result<PathBuf> {
    // Nothing is there: what it says is where it leads.
    for name in left {
        if name == ".." {
            path.pop();
        } else {
            path.push(name);
        }
    }
    if !is_file {
        root.make_directories(&path, DIRECTORY_MODE)?;
        return Ok(path);
    }
    if let Some(parent) = path.parent() {
        root.make_directories(parent, DIRECTORY_MODE)?;
    }
    match root.create(&path, b"", FILE_MODE) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(path),
    }
}

/// Of what a directory has by this name; `None` where there is nothing.
fn kind(parent: &Directory, name: &OsString) -> io::Result<Option<SFlag>> {
    use std::os::fd::AsRawFd;
    let parent = Some(parent.as_fd().as_raw_fd());
    match fstatat(parent, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(
            SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT,
        )),
        Err(nix::errno::Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The names of a path, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    let named = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(named).collect()
}

fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    /// Links, the place to mount on, and what is made.
    type Case = (
        &'static [(&'static str, &'static str)],
        &'static str,
        Option<&'static str>,
    );

    fn check((links, destination, made): Case, is_file: bool) -> io::Result<()> {
        let outside = tempfile::tempdir()?;
        let root = outside.path().join("root");
        for (link, target) in links {
            let link = root.join(link);
            fs::create_dir_all(link.parent().unwrap())?;
            symlink(target, link)?;
        }
        fs::create_dir_all(root.join("etc"))?;
        let source = if is_file { "/dev/null" } else { "/" };
        let mounts = [json!({"destination": destination, "type": "bind", "source": source})];
        make(&root, &mounts, None)?;
        if let Some(made) = made {
            let made = root.join(made).symlink_metadata()?;
            assert_eq!((made.is_file(), made.is_dir()), (is_file, !is_file));
        } else {
            assert!(!root.join(destination.trim_start_matches('/')).exists());
        }
        assert_eq!(fs::read_dir(outside.path())?.count(), 1, "{destination}");
        // And once more.
        make(&root, &mounts, None)
    }

    #[test]
    fn what_a_link_leads_to_is_made_within_the_root() -> io::Result<()> {
        let cases: [Case; 8] = [
            (
                &[("etc/resolv.conf", "../run/systemd/stub.conf")],
                "/etc/resolv.conf",
                Some("run/systemd/stub.conf"),
            ),
            (&[("etc/a", "/run/a")], "/etc/a", Some("run/a")),
            (&[("etc/a", "../../../../run/a")], "/etc/a", Some("run/a")),
            (&[("etc/a", "b"), ("etc/b", "/c")], "/etc/a", Some("c")),
            (
                &[("var/run", "/run")],
                "/var/run/secrets/token",
                Some("run/secrets/token"),
            ),
            (&[("etc/a", "no/../../b")], "/etc/a", Some("b")),
            // These are left to whoever mounts.
            (&[("etc/a", "a")], "/etc/a", None),
            (&[], "/etc/a", None),
        ];
        for case in cases {
            check(case, true)?;
            check(case, false)?;
        }
        Ok(())
    }
}
