//! What is asked of a pod by whoever counts pods: of whole ones and of summaries.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use crate::{owners::Owned, pods};

/// A lower cost goes first; the default is 0.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(crate) trait View: Owned {
    fn phase(&self) -> &str;
    fn is_ready(&self) -> bool;
    /// Since when a ready pod is ready; `None` when it is not.
    fn ready_since(&self) -> Option<Timestamp>;
    /// Empty as long as it is on none.
    fn node_name(&self) -> &str;
    /// Of the container that was started again most often.
    fn restarts(&self) -> i32;
    fn deletion_cost(&self) -> i32;
    fn created(&self) -> Option<Timestamp>;

    /// Its containers have stopped for good.
    fn is_terminal(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    /// It counts towards its controller's replicas: neither ended nor being deleted.
    fn is_active(&self) -> bool {
        !self.is_terminal() && !self.is_going()
    }

    /// When a ready pod counts as available, having been ready for `min_ready_seconds`; `None` when it is not ready.
    fn available_at(&self, min_ready_seconds: i32) -> Option<Timestamp> {
        if !self.is_ready() {
            return None;
        }
        if min_ready_seconds <= 0 {
            return Some(Timestamp::MIN);
        }
        let since = self.ready_since()?;
        let wait = SignedDuration::from_secs(min_ready_seconds.into());
        // A time that whoever writes a status may set: beyond the end of all times it is never available.
        since.checked_add(wait).ok()
    }
}

impl View for Pod {
    fn phase(&self) -> &str {
        pods::phase(self)
    }

    fn is_ready(&self) -> bool {
        pods::is_ready(self)
    }

    fn ready_since(&self) -> Option<Timestamp> {
        let ready = pods::condition(self, "Ready").filter(|c| c.status == "True")?;
        ready.last_transition_time.as_ref().map(|t| t.0)
    }

    fn node_name(&self) -> &str {
        pods::node_name(self)
    }

    fn restarts(&self) -> i32 {
        let statuses = self.status.as_ref();
        let statuses = statuses.and_then(|status| status.container_statuses.as_ref());
        let restarts = statuses.into_iter().flatten().map(|s| s.restart_count);
        restarts.max().unwrap_or(0)
    }

    fn deletion_cost(&self) -> i32 {
        let annotations = self.metadata.annotations.as_ref();
        let cost = annotations.and_then(|a| a.get(DELETION_COST));
        cost.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn created(&self) -> Option<Timestamp> {
        self.metadata.creation_timestamp.as_ref().map(|t| t.0)
    }
}
