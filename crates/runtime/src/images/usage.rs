//! What images take of the disk.

use std::collections::BTreeSet;

use super::ImageStore;

impl ImageStore {
    /// Bytes of the layers of all images; one that several of them have counts once. Blocking.
    pub fn used_bytes(&self) -> u64 {
        let images = self.list();
        let layers: BTreeSet<&String> = images
            .iter()
            .flat_map(|image| &image.config.rootfs.diff_ids)
            .collect();
        // One that cannot be read is not counted: its image was removed meanwhile.
        let sizes = layers.into_iter().filter_map(|diff_id| {
            let record = self.recorded_layer(diff_id).ok().flatten();
            record.map(|record| record.size)
        });
        sizes.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests;
