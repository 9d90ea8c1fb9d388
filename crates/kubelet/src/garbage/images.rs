//! Which images may go, and when: no calls, no files.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use knarr_cri::v1;
use tokio::time::Instant;

use crate::configuration::Settings;

/// When images have to go, and when they may not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// Percent of the disk in use from which on images go, and down to which.
    pub high: u64,
    pub low: u64,
    pub least_age: Duration,
    /// Unused for longer; zero for never.
    pub most_age: Duration,
}

impl Policy {
    pub(super) fn of(own: &Settings) -> Self {
        let percent = |number: i32| u64::try_from(number).unwrap_or(100);
        Self {
            high: percent(own.image_gc_high_threshold_percent),
            low: percent(own.image_gc_low_threshold_percent),
            least_age: own.image_minimum_gc_age,
            most_age: own.image_maximum_gc_age,
        }
    }

    /// Whether it has no image go, ever.
    pub(super) fn is_never(&self) -> bool {
        self.high >= 100 && self.most_age.is_zero()
    }

    /// How much of a disk is used, in percent, and how many bytes are to be freed, if it is too much.
    pub(super) fn excess(&self, capacity: u64, available: u64) -> Option<(u64, u64)> {
        let available = available.min(capacity);
        let part = |of: u64, whole: u64| {
            let percent = u128::from(of) * 100 / u128::from(whole.max(1));
            u64::try_from(percent).unwrap_or(100)
        };
        let used = 100_u64.saturating_sub(part(available, capacity));
        let free = u128::from(capacity) * u128::from(100_u64.saturating_sub(self.low)) / 100;
        let free = u64::try_from(free).unwrap_or(u64::MAX);
        (used >= self.high).then(|| (used, free.saturating_sub(available)))
    }

    /// Whether an image that nobody uses may go. One that has just come may be about to be used.
    pub(super) fn may_go(&self, image: &Image, now: Instant) -> bool {
        now.saturating_duration_since(image.detected) >= self.least_age
    }

    /// Whether it has been unused for too long.
    pub(super) fn is_too_old(&self, image: &Image, now: Instant) -> bool {
        let since = image.used.unwrap_or(image.detected);
        !self.most_age.is_zero() && now.saturating_duration_since(since) > self.most_age
    }
}

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub id: String,
    pub size: u64,
    /// When it was first seen, and when it was last seen in use.
    pub detected: Instant,
    pub used: Option<Instant>,
}

/// All images since the kubelet's start, by id.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<String, Image>);

impl Known {
    /// Takes note of what is there and what of it is used, by any of its names. Returns what is neither used nor pinned, the least
    /// recently used first, and of those that never were, the first seen.
    pub(super) fn notice(
        &mut self,
        listed: &[v1::Image],
        used: &HashSet<String>,
        now: Instant,
    ) -> Vec<Image> {
        let ids: HashSet<&str> = listed.iter().map(|image| image.id.as_str()).collect();
        self.0.retain(|id, _| ids.contains(id.as_str()));
        let mut unused = Vec::new();
        for image in listed {
            let known = self.0.entry(image.id.clone()).or_insert_with(|| Image {
                id: image.id.clone(),
                size: image.size,
                detected: now,
                used: None,
            });
            known.size = image.size;
            let names = image.repo_tags.iter().chain(&image.repo_digests);
            let mut names = names.chain([&image.id]);
            if names.any(|name| used.contains(name)) {
                known.used = Some(now);
            } else if !image.pinned {
                unused.push(known.clone());
            }
        }
        unused.sort_by(|a, b| {
            let key = |image: &Image| (image.used, image.detected);
            key(a).cmp(&key(b)).then_with(|| a.id.cmp(&b.id))
        });
        unused
    }

    pub(super) fn forget(&mut self, id: &str) {
        self.0.remove(id);
    }
}

/// What containers were made of, whatever the runtime calls it.
pub(super) fn of_containers(containers: &[v1::Container]) -> HashSet<String> {
    let names = containers.iter().flat_map(|container| {
        let image = container.image.as_ref().map(|image| image.image.clone());
        [
            Some(container.image_ref.clone()),
            Some(container.image_id.clone()),
            image,
        ]
    });
    names.flatten().filter(|name| !name.is_empty()).collect()
}

/// Images that are volumes of containers.
pub(super) fn of_mounts(containers: &[v1::ContainerStatus]) -> impl Iterator<Item = String> {
    let mounts = containers.iter().flat_map(|container| &container.mounts);
    mounts.filter_map(|mount| Some(mount.image.as_ref()?.image.clone()))
}

/// A number of bytes for people, as upstream writes it.
pub(super) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}
