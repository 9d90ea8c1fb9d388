//! Trees of control groups: directories that a container may have made, with files that are the kernel's.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A group and those below it, each before those below it. What is gone meanwhile, or too deep to have a path, is left out.
#[must_use]
pub fn groups(top: &Path) -> Vec<PathBuf> {
    let mut found = vec![top.to_owned()];
    let mut looked_at = 0;
    while let Some(group) = found.get(looked_at) {
        looked_at += 1;
        let below: Vec<PathBuf> = fs::read_dir(group)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        found.extend(below);
    }
    found
}

/// Removes a group with those below it; what is not there is removed.
///
/// # Errors
/// Those of the kernel: a process is in one of them.
pub fn remove_groups(top: &Path) -> io::Result<()> {
    for group in groups(top).iter().rev() {
        match fs::remove_dir(group) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_removed_from_the_deepest_on() -> io::Result<()> {
        let home = tempfile::tempdir()?;
        let top = home.path().join("top");
        let deep: PathBuf = std::iter::repeat_n("d", 1_000).collect();
        fs::create_dir_all(top.join(&deep))?;
        fs::create_dir(top.join("other"))?;
        assert_eq!(groups(&top).len(), 1_002);
        remove_groups(&top)?;
        assert!(!top.exists());
        remove_groups(&top)
    }
}
