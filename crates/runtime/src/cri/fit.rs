//! Lists that fit a message, whatever pods and images are called.
//!
//! Clients take messages up to a limit, and a list that is longer leaves them with nothing: a kubelet that has just started would
//! manage no pod any more. How long a list is follows from what others write, such as a pod's annotations or an image's names.
//! Where all of it is too much, items that have more than their share lose what nobody looks for in a list: who asks for the
//! status of one gets it whole.
//!
//! Rejected: a higher limit, since each pod of a node may have megabytes, and other clients have upstream's.

use std::collections::HashMap;

use knarr_cri::MAX_MESSAGE_BYTES;
use knarr_cri::v1::{Container, ContainerStats, Image, PodSandbox, PodSandboxStats};
use prost::Message;

/// Longest list: what frames it fits as well.
const MAX_LIST_BYTES: usize = MAX_MESSAGE_BYTES / 2;
/// What kubelets tell pods and containers in a list by. Their values are short.
const KEPT: [&str; 7] = [
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.pod.uid",
    "io.kubernetes.container.name",
    "io.kubernetes.container.hash",
    "knarr.io/kubelet",
    "knarr.io/sandbox",
];
/// Longest name of a user that is told whole.
const MAX_USER_CHARS: usize = 256;
/// What a string takes beside its bytes, at most: its field's number and its length.
const STRING_BYTES: usize = 6;

/// What lists have.
pub trait Item: Message {
    /// Leaves out what makes it longer than `share` bytes.
    fn trim(&mut self, share: usize);
}

/// The same items, trimmed where they would not fit otherwise.
pub fn fit<T: Item>(mut items: Vec<T>) -> Vec<T> {
    let sizes = items.iter().map(Message::encoded_len);
    if sizes.fold(0, usize::saturating_add) <= MAX_LIST_BYTES {
        return items;
    }
    let share = MAX_LIST_BYTES / items.len().max(1);
    for item in &mut items {
        if item.encoded_len() > share {
            item.trim(share);
        }
    }
    items
}

fn keep(map: &mut HashMap<String, String>) {
    map.retain(|key, _| KEPT.contains(&key.as_str()));
}

/// Keeps the first names that fit, and one in any case.
fn keep_names(names: &mut Vec<String>, within: usize) {
    let mut used = 0_usize;
    let fitting = names.iter().take_while(|name| {
        used = used.saturating_add(name.len()).saturating_add(STRING_BYTES);
        used <= within
    });
    let count = fitting.count().max(1);
    names.truncate(count);
}

impl Item for PodSandbox {
    fn trim(&mut self, _: usize) {
        keep(&mut self.labels);
        keep(&mut self.annotations);
    }
}

impl Item for Container {
    fn trim(&mut self, _: usize) {
        keep(&mut self.labels);
        keep(&mut self.annotations);
        if let Some(image) = &mut self.image {
            image.annotations.clear();
        }
    }
}

impl Item for ContainerStats {
    fn trim(&mut self, _: usize) {
        if let Some(attributes) = &mut self.attributes {
            keep(&mut attributes.labels);
            keep(&mut attributes.annotations);
        }
    }
}

impl Item for PodSandboxStats {
    fn trim(&mut self, share: usize) {
        if let Some(attributes) = &mut self.attributes {
            keep(&mut attributes.labels);
            keep(&mut attributes.annotations);
        }
        let containers = self
            .linux
            .iter_mut()
            .flat_map(|linux| &mut linux.containers);
        containers.for_each(|container| container.trim(share));
    }
}

impl Item for Image {
    fn trim(&mut self, share: usize) {
        // Never to nothing: no name of a user would stand for one that is known.
        if let Some((end, _)) = self.username.char_indices().nth(MAX_USER_CHARS) {
            self.username.truncate(end);
        }
        let (tags, digests) = (
            std::mem::take(&mut self.repo_tags),
            std::mem::take(&mut self.repo_digests),
        );
        let room = share.saturating_sub(self.encoded_len()) / 2;
        (self.repo_tags, self.repo_digests) = (tags, digests);
        keep_names(&mut self.repo_tags, room);
        keep_names(&mut self.repo_digests, room);
    }
}

#[cfg(test)]
mod tests;
