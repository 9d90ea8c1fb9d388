//! How much pods have in the volumes that the kubelet makes itself: `emptyDir`, and what is shown from the API. As upstream's `du`.
//!
//! Counting files takes time that a pod decides on: figures are good for a while, and a request counts for so long only. What it does
//! not come to keeps the figures that it had, and comes first the next time.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::node;
use crate::{
    config::Config,
    disk,
    volume::csi::{VolumeStats, VolumeUsage},
};

/// How old figures may be: upstream's `volumeStatsAggPeriod`.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// How long one request counts.
const COUNTS_FOR: Duration = Duration::from_secs(1);
/// The kinds that are the kubelet's own, as their directories are called.
const KINDS: [&str; 5] = [
    "empty-dir",
    "configmap",
    "secret",
    "downward-api",
    "projected",
];
/// Most volumes of a kind that a pod has.
const MAX_VOLUMES: usize = 1_000;

/// Figures at hand, by their volumes' places.
#[derive(Default)]
pub(crate) struct Volumes(Mutex<HashMap<PathBuf, (Instant, VolumeUsage)>>);

/// A volume, and where it is.
struct Place {
    uid: String,
    name: String,
    path: PathBuf,
}

impl Volumes {
    /// Figures of all volumes of these pods. Blocks.
    pub(super) fn of<'u>(
        &self,
        config: &Config,
        uids: impl Iterator<Item = &'u str>,
    ) -> Vec<VolumeStats> {
        let mut places: Vec<Place> = uids.flat_map(|uid| places(config, uid)).collect();
        let known: HashSet<&Path> = places.iter().map(|place| place.path.as_path()).collect();
        self.0
            .lock()
            .retain(|path, _| known.contains(path.as_path()));
        // Those that are oldest, or unknown, first.
        let age = |place: &Place| self.0.lock().get(&place.path).map(|(at, _)| *at);
        places.sort_by_cached_key(age);
        let begun = Instant::now();
        for place in &places {
            let old = age(place).is_none_or(|at| at.elapsed() >= GOOD_FOR);
            if !old || begun.elapsed() >= COUNTS_FOR {
                continue;
            }
            let usage = measure(&place.path);
            self.0
                .lock()
                .insert(place.path.clone(), (Instant::now(), usage));
        }
        let figures = self.0.lock();
        let told = places.into_iter().filter_map(|place| {
            let (_, usage) = figures.get(&place.path)?;
            Some(VolumeStats {
                uid: place.uid,
                volume: place.name,
                claim: None,
                usage: *usage,
            })
        });
        told.collect()
    }
}

/// The volumes of a pod that are there.
fn places(config: &Config, uid: &str) -> Vec<Place> {
    let base = config.pod_dir(uid).join("volumes");
    let of_kind = |kind: &str| {
        let directory = base.join(format!("kubernetes.io~{kind}"));
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let named = entries.take(MAX_VOLUMES).filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(Place {
                uid: uid.to_owned(),
                name,
                path: entry.path(),
            })
        });
        named.collect::<Vec<_>>()
    };
    KINDS.into_iter().flat_map(of_kind).collect()
}

fn measure(path: &Path) -> VolumeUsage {
    let (bytes, inodes) = disk::size(path);
    let disk = node::disk(path);
    VolumeUsage {
        at: node::now().div_euclid(1_000_000_000),
        capacity: disk.map(|disk| disk.capacity),
        available: disk.map(|disk| disk.available),
        used: Some(bytes),
        inodes: disk.map(|disk| disk.inodes),
        inodes_free: disk.map(|disk| disk.inodes_free),
        inodes_used: Some(inodes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn volumes_of_the_kubelets_own_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: dir.path().to_owned(),
            ..Config::default()
        };
        let volume = |kind: &str, name: &str| {
            let path = config
                .pod_dir("u1")
                .join("volumes")
                .join(format!("kubernetes.io~{kind}"))
                .join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let cache = volume("empty-dir", "cache");
        std::fs::write(cache.join("file"), vec![1; 100_000]).unwrap();
        volume("configmap", "settings");
        volume("csi", "pv-1");
        let own = Volumes::default();
        let mut told = own.of(&config, ["u1", "u2"].into_iter());
        told.sort_by(|a, b| a.volume.cmp(&b.volume));
        let names: Vec<&str> = told.iter().map(|one| one.volume.as_str()).collect();
        assert_eq!(names, ["cache", "settings"]);
        let usage = told[0].usage;
        assert!(
            usage.used >= Some(100_000) && usage.inodes_used >= Some(1),
            "{usage:?}"
        );
        assert!(
            usage.capacity > usage.available && usage.capacity.is_some(),
            "{usage:?}"
        );
        // They are good for a while, and forgotten with their volumes.
        std::fs::write(cache.join("more"), vec![1; 100_000]).unwrap();
        let again = own.of(&config, ["u1"].into_iter());
        let cached = again.iter().find(|one| one.volume == "cache").unwrap();
        assert_eq!(cached.usage, usage);
        assert_eq!(own.of(&config, [].into_iter()), []);
        assert!(own.0.lock().is_empty());
    }
}
