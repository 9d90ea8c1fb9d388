//! Which of the host's ids this kubelet's pods may have, where others of the machine have theirs from the same range.
//!
//! Kubelets of one machine share its ids, whatever networks and directories they have for themselves: nodes of one cluster and those
//! of others. Each claims a block, in a directory that all of them see and that is as old as the last boot, one file a claim; one at
//! a time looks and claims, which a lock sees to. A claim holds for as long as its kubelet runs, which has the file locked, and as
//! pods have ids of it, since containers outlive kubelets. The kubelet keeps its block in its own directory, too: it has the same one
//! after a boot.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use knarr_host::write_durably;
use serde::{Deserialize, Serialize};

use super::{FILE, PODS, Range};

/// Where kubelets claim: gone with a boot, as are the processes that have the ids.
pub(crate) const REGISTRY: &str = "/run/knarr/users";
/// In the kubelet's own directory.
const OWN: &str = "users.json";
const LOCK: &str = "lock";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// Longest wait for others that claim at the same time, and how often it is looked whether they have.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(20);
/// Blocks have ids for so many times the pods that there may be at the same time: those of one that has gone are not given out at once.
const SPARE: u32 = 2;

/// Who claims what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// The kubelet's own directory, by its absolute path: who claims.
    pub owner: &'a Path,
    /// What all share.
    pub all: Range,
    pub ids_per_pod: u32,
    /// Most pods that the kubelet runs.
    pub pods: u32,
}

/// What was claimed.
#[derive(Debug)]
pub(super) struct Claimed {
    pub range: Range,
    /// Locked for as long as this lives.
    pub file: File,
    /// It is not what the kubelet had before the machine was booted: nothing has its former ids any more, and others may get them.
    pub moved: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct Claim {
    owner: PathBuf,
    #[serde(flatten)]
    range: Range,
}

#[derive(Debug, Deserialize, Serialize)]
struct Own {
    #[serde(flatten)]
    range: Range,
    /// When it was claimed last.
    boot: String,
}

/// Claims a block, the same one as before if it can be had. Blocks up to [`LOCK_TIMEOUT`].
///
/// # Errors
/// What the file system says; all ids are others'.
pub(super) fn claim(registry: &Path, wish: Wish<'_>) -> Result<Claimed, String> {
    let boot = fs::read_to_string(BOOT).unwrap_or_default();
    let own = wish.owner.join(OWN);
    // One that cannot be read is one that is not there.
    let before: Option<Own> = fs::read(&own)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let failed = |error: io::Error| format!("claim ids in {}: {error}", registry.display());
    fs::create_dir_all(registry).map_err(failed)?;
    let _lock = lock(registry).map_err(failed)?;
    let (others, former) = look(registry, wish.owner).map_err(failed)?;
    let is_free = |range: &Range| !others.iter().any(|other| other.range.overlaps(range));
    let same = before
        .as_ref()
        .map(|before| before.range)
        .filter(|range| wish.all.holds(range) && range.length >= wish.needed());
    let range = same.filter(is_free).or_else(|| {
        wish.lengths()
            .find_map(|length| wish.blocks(length).find(is_free))
    });
    let Some(range) = range else {
        let list: Vec<String> = others
            .iter()
            .map(|o| o.owner.display().to_string())
            .collect();
        return Err(format!(
            "no {} ids are left for pods: other kubelets of this machine have them ({})",
            wish.needed(),
            list.join(", ")
        ));
    };
    let claim = Claim {
        owner: wish.owner.to_owned(),
        range,
    };
    let file = put(registry, &claim).map_err(failed)?;
    let place = registry.join(range.first.to_string());
    for former in former.iter().filter(|former| **former != place) {
        fs::remove_file(former).map_err(failed)?;
    }
    let moved = before.is_some_and(|before| before.range != range && before.boot != boot);
    let kept = Own { range, boot };
    let bytes = serde_json::to_vec(&kept).map_err(|error| error.to_string())?;
    write_durably(&own, &bytes).map_err(|error| format!("{}: {error}", own.display()))?;
    Ok(Claimed { range, file, moved })
}

impl Wish<'_> {
    fn needed(&self) -> u32 {
        self.pods.saturating_mul(self.ids_per_pod)
    }

    /// How many ids are tried to be had, the most first. Where there are few, one kubelet has all of them.
    fn lengths(&self) -> impl Iterator<Item = u32> {
        let needed = self.needed();
        let usual = needed
            .checked_mul(SPARE)
            .and_then(u32::checked_next_power_of_two);
        let usual = usual.and_then(|usual| usual.checked_next_multiple_of(self.ids_per_pod));
        let usual = usual.unwrap_or(needed);
        let few = self.all.length / 2 < usual;
        let lengths = match few {
            true => [self.all.length, needed],
            false => [usual, needed],
        };
        lengths.into_iter().filter(move |length| *length >= needed)
    }

    /// Blocks of that length, from one on that depends on who claims, so that a kubelet finds the same one. The first block is the last
    /// that is tried: kubelets that do not claim begin there.
    fn blocks(&self, length: u32) -> impl Iterator<Item = Range> {
        let all = self.all;
        let count = all.length.checked_div(length).unwrap_or_default();
        let others = count.saturating_sub(1);
        let start = hash(self.owner)
            .checked_rem(u64::from(others))
            .unwrap_or_default();
        let order = (0..others).map(move |step| 1 + (start + u64::from(step)) % u64::from(others));
        order.chain([0]).filter_map(move |index| {
            let offset = u32::try_from(index).ok()?.checked_mul(length)?;
            let range = Range {
                first: all.first.checked_add(offset)?,
                length,
            };
            all.holds(&range).then_some(range)
        })
    }
}

impl Range {
    fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.length)
    }

    fn overlaps(&self, other: &Self) -> bool {
        u64::from(self.first) < other.end() && u64::from(other.first) < self.end()
    }

    pub(super) fn holds(&self, other: &Self) -> bool {
        self.first <= other.first && other.end() <= self.end()
    }
}

/// What others have, and where claims of `own` are. Claims that do not hold any more go.
fn look(registry: &Path, own: &Path) -> io::Result<(Vec<Claim>, Vec<PathBuf>)> {
    let (mut others, mut former) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(registry)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        let file = File::open(&path)?;
        match serde_json::from_reader::<_, Claim>(&file) {
            Ok(claim) if claim.owner == own => former.push(path),
            Ok(claim) if is_locked(&file)? || has_ids(&claim.owner) => others.push(claim),
            // One that is torn was never claimed.
            _ => fs::remove_file(&path)?,
        }
    }
    Ok((others, former))
}

fn is_locked(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether pods of the kubelet with this directory have ids.
fn has_ids(owner: &Path) -> bool {
    let pods = fs::read_dir(owner.join(PODS)).into_iter().flatten();
    pods.flatten().any(|pod| pod.path().join(FILE).exists())
}

/// Puts a claim in its place, locked.
fn put(registry: &Path, claim: &Claim) -> io::Result<File> {
    let name = claim.range.first.to_string();
    let temporary = registry.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.try_lock().map_err(io::Error::from)?;
    file.write_all(&serde_json::to_vec(claim)?)?;
    fs::rename(&temporary, registry.join(name))?;
    Ok(file)
}

/// Nobody else has it until what is returned is dropped, or this process has ended.
fn lock(registry: &Path) -> io::Result<File> {
    let file = File::create(registry.join(LOCK))?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                let why = "another kubelet has been claiming for too long";
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
        }
    }
}

/// FNV-1a: stable across builds, unlike the standard library's hasher.
fn hash(owner: &Path) -> u64 {
    let bytes = owner.as_os_str().as_encoded_bytes().iter();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
