//! Users and groups by an image's own `/etc/passwd` and `/etc/group`.

use std::path::Path;

use knarr_host::Directory;

/// Largest of the two files that is read, bytes.
const MAX_FILE_BYTES: usize = 1 << 20;

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups the image's `/etc/group` lists for the user.
    pub groups: Vec<u32>,
    /// As the image's `/etc/passwd` has it; empty of who is not in there.
    pub home: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("no users found: unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
}

/// The two files' contents; empty where the image has none.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    pub passwd: String,
    pub group: String,
}

impl Accounts {
    /// Reads them from a mounted root, never following a link out of it.
    pub fn read(rootfs: &Path) -> Self {
        let root = Directory::open(rootfs);
        let read = |name: &str| {
            let root = root.as_ref().ok()?;
            let bytes = root.read_head_in_root(Path::new(name), MAX_FILE_BYTES);
            Some(String::from_utf8_lossy(&bytes.ok()?).into_owned())
        };
        Self {
            passwd: read("etc/passwd").unwrap_or_default(),
            group: read("etc/group").unwrap_or_default(),
        }
    }

    /// Resolves `user`, `uid`, `user:group`, `uid:gid` or any mixture, as an image's configuration has it. Empty is root.
    pub fn resolve(&self, text: &str) -> Result<User, UserError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (text, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let number: Option<u32> = user.parse().ok();
        let entry = self
            .passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .filter(|fields| fields.len() >= 4)
            .find(|fields| {
                fields[0] == user || (number.is_some() && fields[2].parse().ok() == number)
            });
        let (name, uid, gid) = match (&entry, number) {
            (Some(fields), _) => (
                Some(fields[0]),
                fields[2].parse().unwrap_or(0),
                fields[3].parse().unwrap_or(0),
            ),
            (None, Some(uid)) => (None, uid, 0),
            (None, None) => return Err(UserError::NoUser(user.to_owned())),
        };
        let home = entry.as_ref().and_then(|fields| fields.get(5));
        let home = home.map(|home| (*home).to_owned()).unwrap_or_default();
        let gid = match group {
            Some(group) => self.group(group)?,
            None => gid,
        };
        Ok(User {
            uid,
            gid,
            groups: name.map(|name| self.groups_of(name)).unwrap_or_default(),
            home,
        })
    }

    /// A group's number, by name or number.
    fn group(&self, text: &str) -> Result<u32, UserError> {
        let by_name = self
            .group_lines()
            .find(|fields| fields[0] == text)
            .and_then(|fields| fields[2].parse().ok());
        by_name
            .or_else(|| text.parse().ok())
            .ok_or_else(|| UserError::NoGroup(text.to_owned()))
    }

    fn groups_of(&self, name: &str) -> Vec<u32> {
        self.group_lines()
            .filter(|fields| fields.len() >= 4 && fields[3].split(',').any(|member| member == name))
            .filter_map(|fields| fields[2].parse().ok())
            .collect()
    }

    fn group_lines(&self) -> impl Iterator<Item = Vec<&str>> {
        self.group
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .filter(|fields| fields.len() >= 3)
    }
}

#[cfg(test)]
mod tests;
