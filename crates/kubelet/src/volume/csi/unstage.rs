//! Unstaging what nobody uses any more, ever less often where that fails. What is staged is read from disk: an earlier kubelet may
//! have left it.

use std::{collections::HashMap, fs, sync::Arc, time::Duration};

use knarr_csi::v1::NodeUnstageVolumeRequest;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Csi, DRIVER_PATIENCE,
    drivers::Capability,
    places,
    places::{Device, Handle},
};
use crate::volume::blocking;

/// First pause before a volume that could not be unstaged is tried again; it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest such pause, as upstream's.
const RETRY_LONGEST: Duration = Duration::from_secs(122);

/// A volume that is staged: with a file system, or the PersistentVolume's name where it is a device.
type Staged = (Handle, Option<String>);

/// What is to be done, and what has failed.
#[derive(Default)]
struct Queue {
    /// Failures, and when to try again. While it is tried there is no time.
    known: HashMap<Staged, (u32, Option<Instant>)>,
}

impl Queue {
    /// Those of `unused` whose time has come; the others' times are kept, and those of what has gone are not.
    fn due(&mut self, unused: Vec<Staged>, now: Instant) -> Vec<Staged> {
        self.known
            .retain(|staged, (_, at)| at.is_none() || unused.contains(staged));
        let mut due = Vec::new();
        for staged in unused {
            let entry = self.known.entry(staged.clone()).or_insert((0, Some(now)));
            if entry.1.is_some_and(|at| at <= now) {
                entry.1 = None;
                due.push(staged);
            }
        }
        due
    }

    fn ended(&mut self, staged: &Staged, ok: bool, now: Instant) {
        let Some(entry) = self.known.get_mut(staged) else {
            return;
        };
        if ok {
            self.known.remove(staged);
            return;
        }
        let pause = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(entry.0));
        *entry = (
            entry.0.saturating_add(1),
            Some(now + pause.min(RETRY_LONGEST)),
        );
    }

    fn next(&self) -> Option<Instant> {
        self.known.values().filter_map(|(_, at)| *at).min()
    }
}

pub(super) async fn run(csi: Arc<Csi>, token: CancellationToken) {
    let mut queue = Queue::default();
    let mut work = JoinSet::new();
    let all = async {
        loop {
            for staged in queue.due(csi.unused().await, Instant::now()) {
                let csi = csi.clone();
                work.spawn(async move {
                    let done = csi.unstage(&staged).await;
                    (staged, done)
                });
            }
            let next = queue.next();
            let timer = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = csi.uses.left() => {}
                () = timer => {}
                Some(done) = work.join_next() => {
                    // Of a panic others have told.
                    let Ok((staged, done)) = done else { continue };
                    if let Err(error) = &done {
                        let (driver, volume) = (&staged.0.driver, &staged.0.id);
                        tracing::warn!(driver, volume, error, "cannot unstage a volume, trying again");
                    }
                    queue.ended(&staged, done.is_ok(), Instant::now());
                }
            }
        }
    };
    token.run_until_cancelled(all).await;
}

impl Csi {
    /// What is staged and used by nobody. What is used by nobody and not staged is forgotten.
    async fn unused(&self) -> Vec<Staged> {
        let places = self.places.clone();
        let all = match blocking(move || places.all_staged()).await {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(error, "cannot tell which volumes of CSI drivers are staged");
                return Vec::new();
            }
        };
        for handle in self.uses.unused() {
            if !all.iter().any(|(staged, _)| *staged == handle) {
                self.uses.forget(&handle);
            }
        }
        let unused = all
            .into_iter()
            .filter(|(handle, _)| !self.uses.is_used(handle));
        unused.collect()
    }

    async fn unstage(&self, (handle, device): &Staged) -> Result<(), String> {
        let _turn = self.turns.take(handle).await;
        // Somebody may have come while others had their turn.
        if self.uses.is_used(handle) {
            return Ok(());
        }
        let driver = self.driver(&handle.driver, DRIVER_PATIENCE).await?;
        let capabilities = driver.capabilities().await;
        let capabilities = capabilities.map_err(|error| error.to_string())?;
        let device = device.as_ref().map(|name| self.places.device(name));
        let staging = match &device {
            Some(device) => device.staging.clone(),
            None => self.places.staging(handle),
        };
        if capabilities.has(Capability::StageUnstageVolume) {
            let request = NodeUnstageVolumeRequest {
                volume_id: handle.id.clone(),
                staging_target_path: driver.path(&staging),
            };
            let done = driver.node.unstage(request).await;
            done.map_err(|error| error.to_string())?;
        }
        self.staged.lock().remove(handle);
        self.stuck.lock().remove(handle);
        blocking(move || match device {
            Some(device) => remove_device(&device),
            None => places::remove(&staging),
        })
        .await?;
        self.uses.forget(handle);
        Ok(())
    }
}

/// Removes the places of a device that is published to nobody.
fn remove_device(device: &Device) -> std::io::Result<()> {
    for place in [&device.publish, &device.staging] {
        if place.exists() {
            knarr_host::remove(place)?;
        }
    }
    places::present(fs::remove_dir(device.dir.join("dev")))?;
    knarr_host::remove(&device.dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_ever_less_often() {
        let staged = |id: &str| {
            let handle = Handle {
                driver: "d".to_owned(),
                id: id.to_owned(),
            };
            (handle, None)
        };
        let (a, b) = (staged("a"), staged("b"));
        let both = || vec![a.clone(), b.clone()];
        let mut queue = Queue::default();
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(queue.due(both(), begun), both());
        // Both are under way.
        assert_eq!(queue.due(both(), after(500)), []);
        queue.ended(&a, true, begun);
        queue.ended(&b, false, begun);
        assert_eq!(queue.next(), Some(after(1)));
        assert_eq!(queue.due(vec![b.clone()], begun), []);
        let again = queue.due(vec![b.clone()], after(1));
        assert_eq!(again, std::slice::from_ref(&b));
        queue.ended(&b, false, after(1));
        assert_eq!(queue.next(), Some(after(3)));
        // Somebody uses it again: what has failed does not count any more.
        assert_eq!(queue.due(Vec::new(), after(2)), []);
        assert_eq!(queue.next(), None);
    }
}
