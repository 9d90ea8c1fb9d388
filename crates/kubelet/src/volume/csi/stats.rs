//! How much of volumes is used, by what their drivers say. A driver may take its time, or all of it: figures are asked for in the
//! background, when somebody wants to know and those at hand are old.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use knarr_csi::v1::{NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, volume_usage::Unit};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{Csi, DRIVER_PATIENCE, Key, Published};

/// How old figures may be: upstream's `volumeStatsAggPeriod`.
const OLDEST: Duration = Duration::from_secs(60);
/// How long somebody who wants figures waits for them where there are none yet.
const PATIENCE: Duration = Duration::from_millis(500);

/// Of one volume; what the driver does not say is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Seconds since 1970.
    pub at: i64,
    pub capacity: Option<u64>,
    pub available: Option<u64>,
    pub used: Option<u64>,
    pub inodes: Option<u64>,
    pub inodes_free: Option<u64>,
    pub inodes_used: Option<u64>,
}

/// Figures of a pod's volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeStats {
    pub uid: String,
    /// The pod's name for the volume.
    pub volume: String,
    /// Namespace and name.
    pub claim: Option<(String, String)>,
    pub usage: Usage,
}

#[derive(Debug, Default)]
struct Entry {
    usage: Option<Usage>,
    /// When it was last asked for.
    asked: Option<Instant>,
    is_asked: bool,
}

/// Figures at hand.
#[derive(Clone, Default)]
pub(crate) struct Stats {
    all: Arc<Mutex<HashMap<Key, Entry>>>,
    /// Rung when more are there.
    came: Arc<Notify>,
}

impl Stats {
    pub(super) fn forget(&self, key: &Key) {
        self.all.lock().remove(key);
    }

    /// Whether the volume is to be asked for now.
    fn is_due(&self, key: &Key) -> bool {
        let mut all = self.all.lock();
        let entry = all.entry(key.clone()).or_default();
        let is_old = entry.asked.is_none_or(|at| at.elapsed() >= OLDEST);
        let due = is_old && !entry.is_asked;
        entry.is_asked |= due;
        due
    }

    fn put(&self, key: &Key, usage: Option<Usage>) {
        if let Some(entry) = self.all.lock().get_mut(key) {
            entry.is_asked = false;
            entry.asked = Some(Instant::now());
            entry.usage = usage.or(entry.usage);
        }
        self.came.notify_waiters();
    }

    /// Whether all of those have been asked for once.
    fn are_there(&self, keys: &[Key]) -> bool {
        let all = self.all.lock();
        let asked = |key| {
            all.get(key)
                .is_none_or(|entry: &Entry| entry.asked.is_some())
        };
        keys.iter().all(asked)
    }

    fn get(&self, key: &Key) -> Option<Usage> {
        self.all.lock().get(key)?.usage
    }
}

impl Csi {
    /// Figures of all volumes whose drivers have any.
    pub(crate) async fn stats(self: &Arc<Self>) -> Vec<VolumeStats> {
        let published: Vec<(Key, Published)> = {
            let all = self.published.lock();
            let having = all.iter().filter(|(_, published)| published.has_stats);
            having
                .map(|(key, one)| (key.clone(), one.clone()))
                .collect()
        };
        for (key, one) in &published {
            if self.stats.is_due(key) {
                let (csi, key, one) = (self.clone(), key.clone(), one.clone());
                knarr_tasks::spawn("figures of a volume", async move {
                    let usage = csi.ask(&one).await;
                    csi.stats.put(&key, usage);
                });
            }
        }
        let keys: Vec<Key> = published.iter().map(|(key, _)| key.clone()).collect();
        let all_there = async {
            loop {
                let mut came = std::pin::pin!(self.stats.came.notified());
                came.as_mut().enable();
                if self.stats.are_there(&keys) {
                    return;
                }
                came.await;
            }
        };
        // Those that are late are told of the next time.
        let _ = tokio::time::timeout(PATIENCE, all_there).await;
        let told = published.into_iter().filter_map(|(key, one)| {
            let usage = self.stats.get(&key)?;
            Some(VolumeStats {
                uid: key.0,
                volume: one.volume,
                claim: one.claim,
                usage,
            })
        });
        told.collect()
    }

    async fn ask(&self, published: &Published) -> Option<Usage> {
        let handle = &published.handle;
        let driver = self.driver(&handle.driver, DRIVER_PATIENCE).await.ok()?;
        let staging = published.staging.as_ref();
        let request = NodeGetVolumeStatsRequest {
            volume_id: handle.id.clone(),
            volume_path: driver.path(&published.path),
            staging_target_path: staging.map(|path| driver.path(path)).unwrap_or_default(),
        };
        match driver.node.stats(request).await {
            Ok(answer) => Some(usage(&answer, Timestamp::now().as_second())),
            Err(error) => {
                let (driver, volume) = (&handle.driver, &handle.id);
                tracing::debug!(driver, volume, %error, "a driver does not tell how much of a volume is used");
                None
            }
        }
    }
}

/// What an answer says; amounts below nothing are none.
fn usage(answer: &NodeGetVolumeStatsResponse, at: i64) -> Usage {
    let mut told = Usage {
        at,
        ..Usage::default()
    };
    let amount = |value: i64| u64::try_from(value).ok();
    for usage in &answer.usage {
        match usage.unit() {
            Unit::Bytes => {
                told.capacity = amount(usage.total);
                told.available = amount(usage.available);
                told.used = amount(usage.used);
            }
            Unit::Inodes => {
                told.inodes = amount(usage.total);
                told.inodes_free = amount(usage.available);
                told.inodes_used = amount(usage.used);
            }
            Unit::Unknown => {}
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use knarr_csi::v1::VolumeUsage;

    use super::*;

    #[test]
    fn amounts_are_told_by_their_units() {
        let one = |unit: Unit, total, used, available| VolumeUsage {
            unit: unit.into(),
            total,
            used,
            available,
        };
        let answer = NodeGetVolumeStatsResponse {
            usage: vec![
                one(Unit::Bytes, 10, 4, 6),
                one(Unit::Inodes, 3, 1, -1),
                one(Unit::Unknown, 7, 7, 7),
            ],
            volume_condition: None,
        };
        let wanted = Usage {
            at: 5,
            capacity: Some(10),
            available: Some(6),
            used: Some(4),
            inodes: Some(3),
            inodes_free: None,
            inodes_used: Some(1),
        };
        assert_eq!(usage(&answer, 5), wanted);
    }
}
