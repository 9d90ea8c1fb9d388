//! Manifests in a directory, or in one file: one pod a file, hidden files aside. Read when something changes and every
//! `fileCheckFrequency`, for what no event tells of (a file behind a link).

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::{Deliver, MAX_MANIFEST_BYTES, Origin, manifest};
use crate::watch::Watch;

/// Between two looks for a directory that is not there.
const MISSING_PERIOD: Duration = Duration::from_secs(1);
/// Most files that are read; those whose names come later are not.
const MAX_FILES: usize = 256;

/// Reads for ever, and everything once a `period`.
pub(super) async fn run(path: PathBuf, node: &str, period: Duration, deliver: Deliver) {
    let mut reader = Reader::new(path.clone(), node);
    let mut watched = None;
    let mut due = Instant::now();
    loop {
        // Before it is read, so that nothing is missed.
        if watched.is_none() {
            watched = watch(&path).ok();
        }
        let whole = watched.is_none() || Instant::now() >= due;
        if whole {
            due = Instant::now() + period;
        }
        let reading = tokio::task::spawn_blocking(move || {
            let found = reader.read(whole);
            (reader, found)
        });
        let Ok((again, found)) = reading.await else {
            return;
        };
        reader = again;
        if let Some(found) = found {
            deliver(found);
        }
        match &watched {
            Some(watch) if watch.changed(due).await.is_err() => watched = None,
            Some(_) => {}
            None => tokio::time::sleep(MISSING_PERIOD).await,
        }
    }
}

/// Of the directory, or of the one that the file is in: a file is replaced by renaming as often as it is written.
fn watch(path: &Path) -> io::Result<Watch> {
    match std::fs::metadata(path)?.is_dir() {
        true => Watch::new(path),
        false => Watch::new(path.parent().unwrap_or(Path::new("/"))),
    }
}

/// What a file has.
struct Manifest {
    digest: ring::digest::Digest,
    pod: Result<Pod, String>,
}

/// Remembers what it has read: an unchanged file is not parsed again, and what is wrong with it told once.
struct Reader {
    path: PathBuf,
    node: String,
    known: HashMap<PathBuf, Manifest>,
    told: Option<String>,
}

impl Reader {
    fn new(path: PathBuf, node: &str) -> Self {
        Self {
            path,
            node: node.to_owned(),
            known: HashMap::new(),
            told: None,
        }
    }

    /// All pods, `None` when that cannot be told. Between two reads of the `whole`, a file that is broken is one that is being
    /// written: its last pod stays. Blocks.
    fn read(&mut self, whole: bool) -> Option<Vec<Pod>> {
        let files = match self.files() {
            Ok(files) => files,
            Err(error) => {
                self.tell(format!("cannot read static pods: {error}"));
                return (error.kind() == io::ErrorKind::NotFound).then(Vec::new);
            }
        };
        match files.len() > MAX_FILES {
            true => self.tell(format!(
                "more than {MAX_FILES} manifests of static pods: the last ones are not read"
            )),
            false => self.told = None,
        }
        let mut known = HashMap::new();
        for path in files.into_iter().take(MAX_FILES) {
            let before = self.known.remove(&path);
            if let Some(manifest) = self.manifest(&path, before, whole) {
                known.insert(path, manifest);
            }
        }
        self.known = known;
        let mut pods: Vec<(&PathBuf, &Pod)> = Vec::new();
        for (path, manifest) in &self.known {
            pods.extend(manifest.pod.as_ref().ok().map(|pod| (path, pod)));
        }
        pods.sort_by_key(|(path, _)| *path);
        Some(pods.into_iter().map(|(_, pod)| pod.clone()).collect())
    }

    fn tell(&mut self, what: String) {
        if self.told.as_ref() != Some(&what) {
            tracing::warn!(path = %self.path.display(), "{what}");
            self.told = Some(what);
        }
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        if !std::fs::metadata(&self.path)?.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with('.') {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    /// `None` for what is no file, has gone meanwhile, or has just been made and has no text yet.
    fn manifest(&self, path: &Path, before: Option<Manifest>, whole: bool) -> Option<Manifest> {
        let (text, unread) = match read(path) {
            Ok(text) => (text?, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, &text);
        let same = |before: &Manifest| before.digest.as_ref() == digest.as_ref();
        let pod = match unread {
            Some(error) => Err(error),
            None if before.as_ref().is_some_and(same) => return before,
            None => manifest::pod(&text, &Origin::File(path.to_owned()), &self.node),
        };
        match (&pod, before) {
            (Err(_), Some(before)) if !whole => return Some(before),
            (Err(_), None) if !whole && text.is_empty() => return None,
            (Err(error), Some(before)) if before.pod.as_ref().err() == Some(error) => {}
            (Err(error), _) => {
                tracing::warn!(path = %path.display(), error, "a manifest is no static pod");
            }
            (Ok(_), _) => {}
        }
        Some(Manifest { digest, pod })
    }
}

/// The text of a regular file, `None` for what is none. Whatever lies in the directory, it does not block.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut text)?;
    match text.len() as u64 > MAX_MANIFEST_BYTES {
        true => Err(io::Error::other(format!(
            "it is larger than {MAX_MANIFEST_BYTES} bytes"
        ))),
        false => Ok(Some(text)),
    }
}

#[cfg(test)]
mod tests;
