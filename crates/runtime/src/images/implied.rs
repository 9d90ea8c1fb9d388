//! Directories that a layer's archive does not list, but has files in. They are no change of the directory: it keeps the
//! attributes that a lower layer gives it. An overlay, though, shows those of the topmost layer that has it, so a container
//! gets such a directory in its own writable layer, with the right ones.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use knarr_host::Directory;
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, Uid, fchown};
use serde::{Deserialize, Serialize};

use crate::users::Users;

const PERMISSIONS: u32 = 0o7777;
/// What an archive's missing directories are made with.
pub const IMPLIED_MODE: u32 = 0o755;

/// A directory as the layers of an image together have it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct KeptDirectory {
    /// Relative to the root.
    pub path: PathBuf,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// One layer: where it is, and the directories that it implies.
type Layer = (PathBuf, Vec<String>);

/// What the topmost layer of a directory only implies and a lower one has, with what is above it, parents first. Layers come
/// lowest first.
pub fn kept_directories(layers: &[Layer]) -> io::Result<Vec<KeptDirectory>> {
    let mut opened = Vec::new();
    for (path, implied) in layers.iter().rev() {
        opened.push((
            Directory::open(path)?,
            implied.iter().map(Path::new).collect(),
        ));
    }
    let all: BTreeSet<&Path> = opened
        .iter()
        .flat_map(|(_, implied): &(_, BTreeSet<&Path>)| implied.iter().copied())
        .collect();
    let mut wanted = BTreeSet::new();
    for path in all {
        if let (true, Some(_)) = look(&opened, path)? {
            wanted.extend(path.ancestors().filter(|p| !p.as_os_str().is_empty()));
        }
    }
    let mut kept = Vec::new();
    for path in wanted {
        let (_, found) = look(&opened, path)?;
        let found = found.unwrap_or_else(|| KeptDirectory {
            path: path.to_owned(),
            mode: IMPLIED_MODE,
            uid: 0,
            gid: 0,
        });
        kept.push(found);
    }
    Ok(kept)
}

/// Whether the topmost layer that has the directory only implies it, and the directory as the topmost layer has it that
/// does more.
fn look(
    layers: &[(Directory, BTreeSet<&Path>)],
    path: &Path,
) -> io::Result<(bool, Option<KeptDirectory>)> {
    let mut only_implied = false;
    for (layer, implied) in layers {
        let directory = match layer.child(path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            // A file, a link or a whiteout: whatever is below is hidden.
            Err(_) => break,
        };
        if implied.contains(path) {
            only_implied = true;
            continue;
        }
        let stat = fstat(raw(&directory))?;
        let found = KeptDirectory {
            path: path.to_owned(),
            mode: stat.st_mode & PERMISSIONS,
            uid: stat.st_uid,
            gid: stat.st_gid,
        };
        return Ok((only_implied, Some(found)));
    }
    Ok((only_implied, None))
}

/// Makes them in a container's writable layer. Whoever has no id among users that are not the host's is their root there.
pub fn make(upper: &Path, kept: &[KeptDirectory], users: Option<&Users>) -> io::Result<()> {
    if kept.is_empty() {
        return Ok(());
    }
    let top = Directory::open(upper)?;
    for directory in kept {
        top.make_directories(&directory.path, IMPLIED_MODE)?;
        let made = top.child(&directory.path)?;
        let own = (directory.uid, directory.gid);
        let (uid, gid) = users.map_or(own, |users| {
            users.on_host(own.0, own.1).unwrap_or_else(|| users.root())
        });
        fchown(
            raw(&made),
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
        )?;
        // After the owner, which clears set-id bits.
        fchmod(raw(&made), Mode::from_bits_truncate(directory.mode))?;
    }
    Ok(())
}

fn raw(directory: &Directory) -> i32 {
    use std::os::fd::AsFd;
    directory.as_fd().as_raw_fd()
}

#[cfg(test)]
mod tests;
