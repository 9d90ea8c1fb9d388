//! What the node has left.

use std::{os::unix::fs::MetadataExt, path::Path};

use super::thresholds::Signal;
use crate::stats::{self, Disk};

/// How much there is of something, and how much of that is left: bytes, inodes or pids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub capacity: u64,
    pub available: u64,
}

/// What there is of each; nothing where the host does not tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures(pub Vec<(Signal, Left)>);

impl Figures {
    /// Reads files: blocking. `images` is where the runtime keeps them, `pods` the group of all pods.
    pub(super) fn read(
        data_dir: &Path,
        images: Option<&Path>,
        pods: &knarr_host::usage::Group,
    ) -> Self {
        let mut all = Self::default();
        all.put(Signal::Memory, stats::memory_available());
        all.put(Signal::Pids, pids());
        // A group without a limit has what the machine has.
        let of_pods = pods.memory().and_then(|memory| {
            let limit = memory.limit?;
            Some((limit, limit.saturating_sub(memory.working_set)))
        });
        all.put(Signal::AllocatableMemory, of_pods);
        all.put_disk(
            stats::disk(data_dir),
            (Signal::NodeFs, Signal::NodeFsInodes),
        );
        all.put_disk(
            stats::disk(images.unwrap_or(data_dir)),
            (Signal::ImageFs, Signal::ImageFsInodes),
        );
        all
    }

    pub(super) fn left(&self, signal: Signal) -> Option<Left> {
        let mut all = self.0.iter();
        all.find(|(of, _)| *of == signal).map(|(_, left)| *left)
    }

    fn put(&mut self, signal: Signal, figures: Option<(u64, u64)>) {
        let left = figures.map(|(capacity, available)| Left {
            capacity,
            available,
        });
        self.0.extend(left.map(|left| (signal, left)));
    }

    fn put_disk(&mut self, disk: Option<Disk>, (bytes, inodes): (Signal, Signal)) {
        self.put(bytes, disk.map(|disk| (disk.capacity, disk.available)));
        // Some file systems make inodes as they need them, and say that there are none.
        let counted = disk.filter(|disk| disk.inodes > 0);
        self.put(inodes, counted.map(|disk| (disk.inodes, disk.inodes_free)));
    }
}

fn pids() -> Option<(u64, u64)> {
    let (most, now) = stats::processes();
    let (most, now) = (most?, now?);
    let available = most.saturating_sub(now).max(0);
    Some((u64::try_from(most).ok()?, u64::try_from(available).ok()?))
}

/// Whether images are on another file system than the kubelet's own files.
pub(super) fn is_dedicated(data_dir: &Path, images: Option<&Path>) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    match (device(data_dir), images.and_then(device)) {
        (Some(own), Some(images)) => own != images,
        _ => false,
    }
}
