//! Rotated files: how they are named, and which are kept.
//!
//! `audit.log` becomes `audit-2026-11-30T21-12-05.000.log` beside it, as upstream's names it, in UTC; compressed ones end in `.gz`. They
//! are compressed on a thread of its own: the log goes on meanwhile, and what a crash has left is compressed after the next rotation.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use parking_lot::Mutex;

const FORMAT: &str = "%Y-%m-%dT%H-%M-%S.%3f";
/// Ends the names of compressed files.
const COMPRESSED: &str = ".gz";
const SECONDS_OF_DAY: i64 = 24 * 60 * 60;

/// When to rotate, and what to keep.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// 0: never.
    pub max_bytes: u64,
    /// 0: without end.
    pub max_age_days: u32,
    /// 0: all.
    pub max_backups: usize,
    pub compress: bool,
    /// One thread compresses.
    pub compressing: Arc<Mutex<()>>,
}

impl Rotation {
    /// Gives the file a name of its own, and removes those that are too old or too many. One that cannot be removed is told to the
    /// log and tried again with the next.
    pub fn rotate(&self, path: &Path, now: Timestamp) -> io::Result<()> {
        let backup = backup(path, now);
        match fs::rename(path, &backup) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for surplus in self.surplus(existing(path)?, now) {
            if let Err(error) = fs::remove_file(&surplus) {
                let path = surplus.display();
                tracing::warn!(%path, %error, "cannot remove an old audit log");
            }
        }
        if self.compress {
            let (path, compressing) = (path.to_owned(), self.compressing.clone());
            std::thread::Builder::new()
                .name("audit-log".to_owned())
                .spawn(move || {
                    let _one = compressing.lock();
                    if let Err(error) = compress_all(&path) {
                        let path = path.display();
                        tracing::warn!(%path, %error, "cannot compress an old audit log");
                    }
                })?;
        }
        Ok(())
    }

    /// Those to remove, of all rotated files with their times.
    fn surplus(&self, mut files: Vec<(Timestamp, PathBuf)>, now: Timestamp) -> Vec<PathBuf> {
        files.sort();
        files.reverse();
        let age = i64::from(self.max_age_days).saturating_mul(SECONDS_OF_DAY);
        let oldest = now.as_second().saturating_sub(age);
        let files = files.into_iter().enumerate();
        let surplus = files.filter(|(at, (time, _))| {
            let too_many = self.max_backups > 0 && *at >= self.max_backups;
            let too_old = self.max_age_days > 0 && time.as_second() < oldest;
            too_many || too_old
        });
        surplus.map(|(_, (_, path))| path).collect()
    }
}

/// Compresses the rotated files that are not.
fn compress_all(path: &Path) -> io::Result<()> {
    for (_, file) in existing(path)? {
        let name = file.to_string_lossy();
        if name.ends_with(COMPRESSED) {
            continue;
        }
        let done = PathBuf::from(format!("{name}{COMPRESSED}"));
        let unfinished = PathBuf::from(format!("{name}{COMPRESSED}.tmp"));
        let mut from = File::open(&file)?;
        let mut to = GzEncoder::new(super::create(&unfinished)?, Compression::default());
        io::copy(&mut from, &mut to)?;
        to.finish()?.sync_data()?;
        fs::rename(&unfinished, &done)?;
        fs::remove_file(&file)?;
    }
    Ok(())
}

/// A name and its extension, around which the time is put.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map(|part| part.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let extension = match text(path.extension()) {
        extension if extension.is_empty() => extension,
        extension => format!(".{extension}"),
    };
    (format!("{}-", text(path.file_stem())), extension)
}

fn backup(path: &Path, now: Timestamp) -> PathBuf {
    let (prefix, extension) = parts(path);
    let time = now.to_zoned(TimeZone::UTC).strftime(FORMAT);
    path.with_file_name(format!("{prefix}{time}{extension}"))
}

/// Rotated files of a log, with the times in their names.
fn existing(path: &Path) -> io::Result<Vec<(Timestamp, PathBuf)>> {
    let (prefix, extension) = parts(path);
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let time = name.to_str().and_then(|name| {
            let name = name.strip_suffix(COMPRESSED).unwrap_or(name);
            let time = name.strip_prefix(&prefix)?.strip_suffix(&extension)?;
            let time = DateTime::strptime(FORMAT, time).ok()?;
            Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
        });
        found.extend(time.map(|time| (time, entry.path())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_name_has_its_time() {
        let now = at("2026-11-30T21:12:05.007Z");
        for (path, wanted) in [
            (
                "/var/log/audit.log",
                "/var/log/audit-2026-11-30T21-12-05.007.log",
            ),
            ("audit", "audit-2026-11-30T21-12-05.007"),
        ] {
            assert_eq!(backup(Path::new(path), now), Path::new(wanted));
        }
    }

    #[test]
    fn the_old_and_the_many_go() {
        let files = || {
            let days = ["2026-11-01", "2026-11-03", "2026-11-02"];
            let file = |day: &str| (at(&format!("{day}T00:00:00Z")), PathBuf::from(day));
            days.map(file).to_vec()
        };
        let now = at("2026-11-04T00:00:00Z");
        for (max_age_days, max_backups, wanted) in [
            (0, 0, &[][..]),
            (0, 1, &["2026-11-02", "2026-11-01"]),
            (2, 0, &["2026-11-01"]),
            (1, 2, &["2026-11-02", "2026-11-01"]),
        ] {
            let rotation = Rotation {
                max_bytes: 1,
                max_age_days,
                max_backups,
                compress: false,
                compressing: Arc::default(),
            };
            let surplus = rotation.surplus(files(), now);
            let wanted: Vec<PathBuf> = wanted.iter().map(PathBuf::from).collect();
            assert_eq!(surplus, wanted, "{max_age_days} days, {max_backups} files");
        }
    }

    #[test]
    fn rotated_files_are_compressed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let name = "audit-2026-11-30T21-12-05.007.log";
        fs::write(directory.path().join(name), "lines").expect("a file");
        compress_all(&path).expect("compressed");
        let names = || {
            let entries = fs::read_dir(directory.path())
                .expect("a directory")
                .flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(), [format!("{name}.gz")]);
        let file = File::open(directory.path().join(format!("{name}.gz"))).expect("a file");
        let text = io::read_to_string(flate2::read::GzDecoder::new(file)).expect("gzip");
        assert_eq!(text, "lines");
        compress_all(&path).expect("nothing to do");
        assert_eq!(existing(&path).expect("a directory").len(), 1);
    }

    #[test]
    fn only_its_own_are_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        for name in [
            "audit.log",
            "audit-2026-11-30T21-12-05.007.log",
            "audit-2026-11-30T21-12-05.007.txt",
            "audit-yesterday.log",
            "other-2026-11-30T21-12-05.007.log",
        ] {
            fs::write(directory.path().join(name), "").expect("a file");
        }
        let found = existing(&path).expect("a directory");
        let wanted = directory.path().join("audit-2026-11-30T21-12-05.007.log");
        assert_eq!(found, [(at("2026-11-30T21:12:05.007Z"), wanted)]);
    }
}
