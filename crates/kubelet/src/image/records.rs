//! Which images the kubelet has pulled, and who could: an image that one pod pulled with credentials is there for another only once
//! that has shown that it may have it. As upstream's `pkg/kubelet/images/pullmanager` ; with its default policy
//! (`NeverVerifyPreloadedImages`) images that came otherwise are everybody's.
//!
//! A pull is noted before it begins, and what came of it afterwards, both so that a power failure does not undo it: an image of
//! which only the beginning is known has been shown to nobody. One file an image and one a pull; all of it is in memory as well.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use knarr_cri::{reference::Reference, v1};
use parking_lot::{Mutex, MutexGuard};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Ready,
    credentials::{self, Credentials, Source},
};
use crate::disk;

/// Hashes of credentials are nobody's business.
const DIRECTORY_MODE: u32 = 0o700;
/// Secrets of one image under one name. Whose secret is not among them any more has the image pulled once more.
const MAX_SOURCES: usize = 100;
/// Names of one image.
const MAX_NAMES: usize = 100;
/// From so many on, records are looked through for images that are gone.
const MANY: usize = 256;

/// Who has shown that they may have an image under one of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Access {
    /// It was pulled without credentials of a pod.
    everybody: bool,
    /// The oldest first.
    sources: Vec<Source>,
}

/// Whose credentials are looked at (`imagePullCredentialsVerificationPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verification {
    /// Nobody's: what is there is everybody's.
    Never,
    /// Of images that the kubelet pulled.
    OfPulled,
    /// Of all images.
    Always,
}

impl Verification {
    /// By upstream's word for it.
    pub(super) fn of(policy: &str) -> Self {
        match policy {
            "NeverVerify" => Self::Never,
            "AlwaysVerify" => Self::Always,
            _ => Self::OfPulled,
        }
    }
}

/// An image that the kubelet pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    id: String,
    /// By repository.
    names: BTreeMap<String, Access>,
}

/// A pull that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    /// As [`Reference::key`] has it.
    reference: String,
}

#[derive(Debug, Default)]
struct State {
    /// By id.
    records: HashMap<String, Record>,
    /// How many pulls of a reference are under way.
    pulling: HashMap<String, usize>,
    /// References of pulls whose end nobody saw.
    unfinished: HashSet<String>,
    /// When to look for images that are gone.
    prune_at: usize,
}

/// All of a node.
#[derive(Debug)]
pub(super) struct Records {
    pulled: PathBuf,
    pulling: PathBuf,
    verification: Verification,
    state: Mutex<State>,
}

/// A pull that is under way. One that is dropped without its end, since nobody waits for it any more, may still bring its image.
pub(super) struct Pulling<'a> {
    records: &'a Records,
    reference: Reference,
    ended: bool,
}

impl Records {
    /// Reads what is below `directory`. What cannot be read is as if it had not been pulled, and removed.
    pub(super) fn load(directory: PathBuf, verification: Verification) -> Self {
        let (pulled, pulling) = (directory.join("pulled"), directory.join("pulling"));
        let (records, intents) =
            disk::waiting(|| (read_all::<Record>(&pulled), read_all::<Intent>(&pulling)));
        let by_id = |record: Record| (record.id.clone(), record);
        let state = State {
            records: records.into_iter().map(by_id).collect(),
            unfinished: intents.into_iter().map(|intent| intent.reference).collect(),
            ..State::default()
        };
        Self {
            pulled,
            pulling,
            verification,
            state: Mutex::new(state),
        }
    }

    /// Somebody may be writing.
    fn lock(&self) -> MutexGuard<'_, State> {
        let free = self.state.try_lock();
        free.unwrap_or_else(|| disk::waiting(|| self.state.lock()))
    }

    /// Whether who has these credentials may have an image that is there.
    pub(super) fn allow(&self, image: &str, ready: &Ready, own: &[Credentials]) -> bool {
        let Ok(reference) = Reference::parse(image) else {
            return false;
        };
        if self.verification == Verification::Never {
            return true;
        }
        let mut state = self.lock();
        let Some(record) = state.records.get(&ready.id) else {
            if self.verification == Verification::Always {
                return false;
            }
            // Somebody who has this node brought it: a pull that nobody saw end cannot have.
            if ready.preloaded {
                return true;
            }
            let key = reference.key();
            let mut known = ready.references.iter().chain([&key]);
            return !known.any(|name| state.is_under_way(name));
        };
        let name = reference.name();
        let Some(access) = record.names.get(&name) else {
            // Pulled under another name, it is still what somebody brought under this one.
            return ready.preloaded && self.verification == Verification::OfPulled;
        };
        if access.everybody {
            return true;
        }
        let known = own.iter().map(|own| &own.source).find_map(|own| {
            let mut known = access.sources.iter();
            let known = known.find(|known| known.hash == own.hash || known.is_same_secret(own))?;
            Some((own, known == own))
        });
        match known {
            Some((_, true)) => true,
            // The same in another secret, or another in the same: both are known from now on.
            Some((source, false)) => {
                let full = access.sources.len() >= MAX_SOURCES;
                if !full {
                    self.note(&mut state, &ready.id, name, Some(source.clone()));
                }
                true
            }
            None => false,
        }
    }

    /// Notes that an image is about to be pulled.
    pub(super) fn begin(&self, image: &str) -> io::Result<Pulling<'_>> {
        let reference = Reference::parse(image).map_err(io::Error::other)?;
        let key = reference.key();
        let mut state = self.lock();
        if !state.is_under_way(&key) {
            let intent = Intent {
                reference: key.clone(),
            };
            write(&self.pulling, &key, &intent)?;
        }
        *state.pulling.entry(key).or_default() += 1;
        Ok(Pulling {
            records: self,
            reference,
            ended: false,
        })
    }

    /// `None`: everybody could.
    fn note(&self, state: &mut State, id: &str, name: String, source: Option<Source>) -> bool {
        let record = state.records.entry(id.to_owned());
        let record = record.or_insert_with(|| Record {
            id: id.to_owned(),
            names: BTreeMap::new(),
        });
        if record.names.len() >= MAX_NAMES && !record.names.contains_key(&name) {
            record.names.pop_first();
        }
        record.names.entry(name).or_default().add(source);
        let written = write(&self.pulled, id, record);
        written
            .inspect_err(|error| tracing::error!(%error, image = id, "cannot record a pull"))
            .is_ok()
    }

    /// Whether there may be many of images that are gone.
    pub(super) fn are_many(&self) -> bool {
        let state = self.lock();
        state.records.len().saturating_add(state.unfinished.len()) >= state.prune_at.max(MANY)
    }

    /// Forgets what is not about one of these images.
    pub(super) fn retain(&self, images: &[v1::Image]) {
        let ids: HashSet<&str> = images.iter().map(|image| image.id.as_str()).collect();
        let names = images
            .iter()
            .flat_map(|image| image.repo_tags.iter().chain(&image.repo_digests));
        let names: HashSet<&str> = names.map(String::as_str).collect();
        let mut state = self.lock();
        let State {
            records,
            unfinished,
            pulling,
            ..
        } = &mut *state;
        records.retain(|id, _| {
            let stays = ids.contains(id.as_str());
            if !stays {
                remove(&self.pulled, id);
            }
            stays
        });
        unfinished.retain(|name| {
            let stays = names.contains(name.as_str()) || pulling.contains_key(name);
            if !stays {
                remove(&self.pulling, name);
            }
            stays
        });
        let left = records.len().saturating_add(unfinished.len());
        state.prune_at = left.saturating_mul(2);
    }
}

impl State {
    fn is_under_way(&self, reference: &str) -> bool {
        self.pulling.contains_key(reference) || self.unfinished.contains(reference)
    }
}

impl Access {
    fn add(&mut self, source: Option<Source>) {
        match source {
            _ if self.everybody => {}
            None => {
                *self = Self {
                    everybody: true,
                    sources: Vec::new(),
                }
            }
            Some(source) => {
                self.sources.retain(|known| !known.is_same_secret(&source));
                if self.sources.len() >= MAX_SOURCES {
                    self.sources.remove(0);
                }
                self.sources.push(source);
            }
        }
    }
}

impl Pulling<'_> {
    /// The image is there, by the credentials of this source, or by none.
    pub(super) fn succeeded(mut self, ready: &Ready, source: Option<Source>) {
        let (records, name) = (self.records, self.reference.name());
        let mut state = records.lock();
        // What is not written is not known after a start either; the beginning then says that it was pulled.
        if records.note(&mut state, &ready.id, name, source) {
            state.unfinished.remove(&self.reference.key());
            drop(state);
            self.ended = true;
        }
    }

    /// Nothing came of it.
    pub(super) fn failed(mut self) {
        self.ended = true;
    }
}

impl Drop for Pulling<'_> {
    fn drop(&mut self) {
        let key = self.reference.key();
        let mut state = self.records.lock();
        if let Some(count) = state.pulling.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.pulling.remove(&key);
            }
        }
        if !self.ended {
            state.unfinished.insert(key);
        } else if !state.is_under_way(&key) {
            remove(&self.records.pulling, &key);
        }
    }
}

/// Any name may be a part of an image's.
fn file(directory: &Path, name: &str) -> PathBuf {
    let digest = digest(&SHA256, name.as_bytes());
    directory.join(format!("{}.json", credentials::hex(digest.as_ref())))
}

fn write(directory: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    disk::waiting(|| {
        let mut make = fs::DirBuilder::new();
        make.recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)?;
        knarr_host::write_durably(&file(directory, name), &bytes)
    })
}

fn remove(directory: &Path, name: &str) {
    let path = file(directory, name);
    match disk::waiting(|| fs::remove_file(&path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "cannot remove the record of a pull");
        }
        _ => {}
    }
}

fn read_all<T: DeserializeOwned>(directory: &Path) -> Vec<T> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        match read {
            Ok(value) => found.push(value),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "removing an unreadable record of a pull");
                let _gone_or_read_again = fs::remove_file(&path);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
