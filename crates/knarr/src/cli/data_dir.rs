//! `--data-dir`, as every command takes it.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use clap::builder::{PathBufValueParser, TypedValueParser};

/// Links one after the other, as the kernel follows them.
const MAX_LINKS: u8 = 40;

/// Takes the directory where it really is. The kernel lists mounts, and others ask for files, by paths without links: by another name the
/// cluster would not know its own.
pub fn parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| real(&path))
}

/// An absolute path without links. What is not there yet stays to be made, also where a link leads to it.
fn real(path: &Path) -> io::Result<PathBuf> {
    follow(&std::path::absolute(path)?, MAX_LINKS)
}

fn follow(path: &Path, links: u8) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Who may not look there is told so where the directory is used.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(path.to_owned());
        }
        found => return found,
    }
    let Some(parent) = path.parent() else {
        return Ok(path.to_owned());
    };
    if let Ok(target) = fs::read_link(path) {
        let links = links
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("too many links lead to one another"))?;
        return follow(&parent.join(target), links);
    }
    let name = path.file_name();
    let name = name.map_or_else(|| OsString::from(".."), OsString::from);
    Ok(follow(parent, links)?.join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn links_are_followed_also_to_what_is_not_there_yet() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir(dir.join("disk")).unwrap();
        symlink("disk", dir.join("there")).unwrap();
        symlink("disk/data", dir.join("not-yet")).unwrap();
        symlink(dir.join("not-yet"), dir.join("twice")).unwrap();
        for (given, wanted) in [
            ("disk", "disk"),
            ("there", "disk"),
            ("there/nodes/a", "disk/nodes/a"),
            ("not-yet", "disk/data"),
            ("twice", "disk/data"),
            ("new", "new"),
        ] {
            assert_eq!(real(&dir.join(given)).unwrap(), dir.join(wanted), "{given}");
        }
        symlink("round", dir.join("round")).unwrap();
        assert!(real(&dir.join("round")).is_err());
    }

    #[test]
    fn commands_know_the_directory_by_one_name() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir(dir.join("disk")).unwrap();
        symlink("disk", dir.join("link")).unwrap();
        let link = dir.join("link").display().to_string();
        let of = |arguments: &[&str]| {
            let all = ["knarr"].iter().chain(arguments).copied();
            match Cli::parse_from(all.chain(["--data-dir", &link])).command {
                Command::Up(flags) => flags.data_dir,
                Command::Down(flags) => flags.data_dir,
                Command::Status(flags) => flags.data_dir,
                Command::Image(command) => command.data_dir,
                Command::Agent(flags) => flags.data_dir,
                _ => unreachable!("none of these"),
            }
        };
        let agent = ["agent", "--server", "https://127.0.0.1:6443"];
        for command in [
            &["up"][..],
            &["down"],
            &["status"],
            &["image", "ls"],
            &agent,
        ] {
            assert_eq!(of(command), dir.join("disk"), "{command:?}");
        }
    }
}
