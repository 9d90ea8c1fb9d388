//! The kernel's table of mounts.

use std::{
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// A line of the kernel's table of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub point: PathBuf,
    /// Whether mounts below it propagate to its peers.
    pub shared: bool,
}

/// All mounts of this process in the order they were made.
///
/// # Errors
/// The table cannot be read.
pub fn table() -> io::Result<Vec<Mount>> {
    table_of("/proc/self/mountinfo")
}

/// As [`table`], of the process or thread whose table is at `path`.
///
/// # Errors
/// The table cannot be read.
pub fn table_of(path: &str) -> io::Result<Vec<Mount>> {
    let text = fs::read_to_string(path)?;
    Ok(text.lines().filter_map(parse).collect())
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - ext3 /dev/root rw`: between options and dash there are any number of tags.
fn parse(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let point = unescape(fields.nth(4)?);
    let mut tags = fields.skip(1).take_while(|tag| *tag != "-");
    let shared = tags.any(|tag| tag.starts_with("shared:"));
    Some(Mount { point, shared })
}

/// Undoes the kernel's octal escapes (`\040` is a space).
#[must_use]
pub fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\')
            .then(|| text.get(at + 1..at + 4))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// The mount that a canonical path is on. Of several at one place the last is what is seen.
#[must_use]
pub fn mount_of<'m>(mounts: &'m [Mount], path: &Path) -> Option<&'m Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.as_os_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_are_read() {
        for (line, point, shared) in [
            ("27 1 8:1 / / rw - ext4 /dev/a rw", "/", false),
            (
                "36 35 98:0 / /a\\040b rw master:2 shared:1 - ext3 /dev/root shared:9",
                "/a b",
                true,
            ),
            (
                "36 35 98:0 / /m rw master:2 - ext3 shared:3 rw",
                "/m",
                false,
            ),
        ] {
            let point = PathBuf::from(point);
            assert_eq!(parse(line), Some(Mount { point, shared }), "{line}");
        }
        assert_eq!(parse("1 2"), None);
    }
}
