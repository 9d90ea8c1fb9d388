//! Which volumes pods of this node use, or are about to: what the Node's status reports as in use is not detached, and what nobody
//! uses is unstaged.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::places::Handle;

#[derive(Debug, Default)]
struct Use {
    /// Uids of pods.
    pods: HashSet<String>,
    /// The volume is attached to nodes, and is not to be detached from this one meanwhile.
    attachable: bool,
}

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Uses {
    all: Arc<Mutex<HashMap<Handle, Use>>>,
    /// Rung when what is in use has changed.
    changed: Arc<Notify>,
    /// Rung when somebody has left.
    left: Arc<Notify>,
}

impl Uses {
    /// The pod uses the volume from now on.
    pub(super) fn enter(&self, handle: &Handle, uid: &str, attachable: bool) {
        let mut all = self.all.lock();
        let entry = all.entry(handle.clone()).or_default();
        let reported = entry.attachable;
        entry.attachable |= attachable;
        entry.pods.insert(uid.to_owned());
        if reported != entry.attachable {
            self.changed.notify_one();
        }
    }

    /// The pod uses nothing any more.
    pub(super) fn leave(&self, uid: &str) {
        let mut left = false;
        for entry in self.all.lock().values_mut() {
            left |= entry.pods.remove(uid);
        }
        if left {
            self.left.notify_one();
        }
    }

    /// The volume is on this node, whoever uses it: it was found there.
    pub(super) fn found(&self, handle: &Handle) {
        let mut all = self.all.lock();
        all.entry(handle.clone()).or_default().attachable = true;
        self.changed.notify_one();
    }

    /// Waits for somebody to leave.
    pub(super) async fn left(&self) {
        self.left.notified().await;
    }

    pub(super) fn is_used(&self, handle: &Handle) -> bool {
        let all = self.all.lock();
        all.get(handle).is_some_and(|entry| !entry.pods.is_empty())
    }

    /// Volumes that nobody uses.
    pub(super) fn unused(&self) -> Vec<Handle> {
        let all = self.all.lock();
        let unused = all.iter().filter(|(_, entry)| entry.pods.is_empty());
        unused.map(|(handle, _)| handle.clone()).collect()
    }

    /// Nothing of the volume is left on this node, unless somebody uses it by now.
    pub(super) fn forget(&self, handle: &Handle) {
        let mut all = self.all.lock();
        if all.get(handle).is_some_and(|entry| entry.pods.is_empty()) {
            all.remove(handle);
            self.changed.notify_one();
        }
    }

    /// Names for the Node's status, in order.
    pub(super) fn reported(&self) -> Vec<String> {
        let all = self.all.lock();
        let attachable = all.iter().filter(|(_, entry)| entry.attachable);
        let mut names: Vec<String> = attachable.map(|(handle, _)| handle.unique_name()).collect();
        names.sort();
        names
    }

    /// Waits for another answer of [`Self::reported`].
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_in_use_until_nothing_is_left_of_them() {
        let handle = |id: &str| Handle {
            driver: "d".to_owned(),
            id: id.to_owned(),
        };
        let uses = Uses::default();
        let (a, b) = (handle("a"), handle("b"));
        uses.enter(&b, "u1", true);
        uses.enter(&a, "u1", true);
        uses.enter(&a, "u2", true);
        uses.enter(&handle("local"), "u1", false);
        let both = ["kubernetes.io/csi/d^a", "kubernetes.io/csi/d^b"];
        assert_eq!(uses.reported(), both);
        uses.leave("u1");
        assert!(uses.is_used(&a) && !uses.is_used(&b));
        // It is still staged.
        assert_eq!(uses.reported(), both);
        uses.forget(&a);
        uses.forget(&b);
        assert_eq!(uses.reported(), ["kubernetes.io/csi/d^a"]);
        assert_eq!(uses.unused(), [handle("local")]);
        uses.found(&b);
        assert_eq!(uses.reported(), both);
    }
}
