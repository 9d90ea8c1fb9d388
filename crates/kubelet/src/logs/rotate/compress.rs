//! Logs that were put aside are compressed, as upstream does, but for the newest: who follows a log may not have read it to its end.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use knarr_host::Directory;

const COMPRESSED: &str = ".gz";
/// Of a file that is being made; after a crash it is made again.
const UNFINISHED: &str = ".tmp";
/// As the runtime makes logs.
const MODE: u32 = 0o640;

fn ends_with(name: &OsStr, end: &str) -> bool {
    name.to_string_lossy().ends_with(end)
}

fn with(name: &OsStr, end: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(end);
    name
}

/// Removes what a crash left: unfinished files, and files that have been compressed. Returns the others. Blocks.
pub(super) fn tidy(directory: &Directory, aside: Vec<OsString>) -> io::Result<Vec<OsString>> {
    let mut left = Vec::new();
    for name in &aside {
        if ends_with(name, UNFINISHED) || aside.contains(&with(name, COMPRESSED)) {
            directory.remove(Path::new(name))?;
        } else {
            left.push(name.clone());
        }
    }
    Ok(left)
}

/// Compresses those that are not yet. What was compressed has its name and `.gz`. Blocks.
pub(super) fn all(directory: &Directory, aside: &[OsString]) -> io::Result<()> {
    for name in aside.iter().filter(|name| !ends_with(name, COMPRESSED)) {
        one(directory, name)?;
    }
    Ok(())
}

fn one(directory: &Directory, name: &OsStr) -> io::Result<()> {
    let (unfinished, whole) = (with(name, UNFINISHED), with(name, COMPRESSED));
    directory.remove(Path::new(&unfinished))?;
    let mut from = directory.open_file(Path::new(name))?;
    let to = directory.open_for_appending(Path::new(&unfinished), MODE)?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?;
    directory.rename(Path::new(&unfinished), Path::new(&whole))?;
    directory.remove(Path::new(name))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read};

    use flate2::read::GzDecoder;

    use super::*;

    fn names(home: &Path) -> Vec<String> {
        let entries = fs::read_dir(home).unwrap().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_crash_left_goes_and_the_rest_is_compressed() -> io::Result<()> {
        let home = tempfile::tempdir()?;
        for name in ["0.log.1", "0.log.1.gz", "0.log.2.tmp", "0.log.2", "0.log.3"] {
            fs::write(home.path().join(name), format!("line of {name}\n"))?;
        }
        let directory = Directory::open(home.path())?;
        let aside = names(home.path()).into_iter().map(OsString::from).collect();
        let left = tidy(&directory, aside)?;
        assert_eq!(left, ["0.log.1.gz", "0.log.2", "0.log.3"]);
        all(&directory, &left)?;
        assert_eq!(
            names(home.path()),
            ["0.log.1.gz", "0.log.2.gz", "0.log.3.gz"]
        );
        let mut text = String::new();
        let file = fs::File::open(home.path().join("0.log.2.gz"))?;
        GzDecoder::new(file).read_to_string(&mut text)?;
        assert_eq!(text, "line of 0.log.2\n");
        Ok(())
    }
}
