//! Undoing what was published for a pod, by what lies on disk: nobody needs to know the pod.

use std::{fs, io, time::Duration};

use knarr_csi::v1::NodeUnpublishVolumeRequest;

use super::{Csi, places, places::Found};
use crate::volume::{blocking, mount};

/// How long a driver that is not there is waited for; then its absence is told, and it is waited for again.
const DRIVER_PATIENCE: Duration = Duration::from_secs(20);

impl Csi {
    /// Unpublishes all volumes of the pod. Each is tried, whatever becomes of the others.
    ///
    /// # Errors
    /// What is left, and why.
    pub(crate) async fn teardown(&self, uid: &str) -> Result<(), String> {
        let (places, own) = (self.places.clone(), uid.to_owned());
        let found = blocking(move || {
            let found = places.of_pod(&own)?;
            if !found.is_empty() {
                // They hold volumes that drivers unmount.
                mount::unmount_below(&places.sub_paths(&own))?;
            }
            Ok(found)
        })
        .await?;
        let work = found.iter().map(|found| self.undo(found));
        let failed: Vec<String> = futures::future::join_all(work)
            .await
            .into_iter()
            .filter_map(Result::err)
            .collect();
        if !failed.is_empty() {
            return Err(failed.join("; "));
        }
        self.uses.leave(uid);
        Ok(())
    }

    async fn undo(&self, found: &Found) -> Result<(), String> {
        let name = &found.name;
        self.unpublish(found)
            .await
            .map_err(|why| match found.is_device {
                true => format!("UnmapVolume.UnmapPodDevice failed for volume \"{name}\" : {why}"),
                false => format!("UnmountVolume.TearDown failed for volume \"{name}\" : {why}"),
            })
    }

    async fn unpublish(&self, found: &Found) -> Result<(), String> {
        let handle = found.data.handle();
        let _turn = self.turns.take(&handle).await;
        let target = match found.is_device {
            true => self.places.device(&found.name).publish.join(&found.uid),
            false => found.place.join("mount"),
        };
        let driver = self.driver(&handle.driver, DRIVER_PATIENCE).await;
        let driver = driver.map_err(|why| {
            format!("kubernetes.io/csi: Unmounter.TearDownAt failed to get CSI client: {why}")
        })?;
        let request = NodeUnpublishVolumeRequest {
            volume_id: handle.id.clone(),
            target_path: driver.path(&target),
        };
        let done = driver.node.unpublish(request).await;
        done.map_err(|error| format!("kubernetes.io/csi: Unmounter.TearDownAt failed: {error}"))?;
        let (place, is_device) = (found.place.clone(), found.is_device);
        blocking(move || match is_device {
            true => {
                remove_published(&target)?;
                places::present(fs::remove_file(place))
            }
            false => places::remove(&target),
        })
        .await
        .map_err(|why| {
            format!("kubernetes.io/csi: Unmounter.TearDownAt failed to clean mount dir: {why}")
        })?;
        let key = (found.uid.clone(), found.name.clone());
        self.published.lock().remove(&key);
        self.stats.forget(&key);
        Ok(())
    }
}

/// Removes where a device was published, which its driver should have done.
fn remove_published(target: &std::path::Path) -> io::Result<()> {
    if mount::is_mounted(target)? {
        let message = format!("{} is still mounted", target.display());
        return Err(io::Error::other(message));
    }
    places::present(fs::remove_file(target))
}
