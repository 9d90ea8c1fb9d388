//! Files that are either old or new after a crash, never in between, and that others cannot read.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use ring::rand::{SecureRandom, SystemRandom};

use super::{ENCRYPTION_KEY_BYTES, Error};

/// For what only its owner may read.
pub const PRIVATE: u32 = 0o600;
/// For what everybody may read.
pub const PUBLIC: u32 = 0o644;

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io {
        action,
        path: path.into(),
        source,
    }
}

/// Makes a directory that only its owner may enter, or restricts an existing one.
///
/// # Errors
/// [`Error::Io`], here as below.
pub fn private_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("create", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(io_error("restrict", path))
}

/// What must survive a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced before it gets its name: it cannot be made again.
    Synced,
    /// Made again at the next start where it is missing or damaged, so that no start waits for the disk.
    Remade,
}

/// Writes beside the target and renames over it. The directory entry itself is durable after [`sync_dir`].
pub fn write(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = (|| {
        // A leftover could have other permissions or be a link.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        if durability == Durability::Synced {
            file.sync_data()?;
        }
        fs::rename(&temporary, path)
    })();
    written.map_err(|source| {
        let _ = fs::remove_file(&temporary);
        Error::Io {
            action: "write",
            path: path.into(),
            source,
        }
    })
}

/// Makes renames in a directory durable.
pub fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("sync", path))
}

/// Content, or `None` when there is no such file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Reads the raw key, or makes one. Losing it would lose every Secret, so a damaged file is an error.
pub(super) fn encryption_key(path: &Path) -> Result<[u8; ENCRYPTION_KEY_BYTES], Error> {
    match read_encryption_key(path)? {
        Some(key) => Ok(key),
        None => make_encryption_key(path),
    }
}

/// Reads the raw key; `None` where there is no such file.
pub(super) fn read_encryption_key(
    path: &Path,
) -> Result<Option<[u8; ENCRYPTION_KEY_BYTES]>, Error> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let key = bytes.try_into().map_err(|bytes: Vec<u8>| Error::Damaged {
        path: path.into(),
        reason: format!("{} bytes instead of {ENCRYPTION_KEY_BYTES}", bytes.len()),
    });
    key.map(Some)
}

/// Makes a raw key, in the place of whatever is there.
pub(super) fn make_encryption_key(path: &Path) -> Result<[u8; ENCRYPTION_KEY_BYTES], Error> {
    let mut key = [0; ENCRYPTION_KEY_BYTES];
    SystemRandom::new().fill(&mut key).map_err(|_| Error::Io {
        action: "read randomness for",
        path: path.into(),
        source: io::Error::other("no entropy"),
    })?;
    write(path, &key, PRIVATE, Durability::Synced)?;
    Ok(key)
}
