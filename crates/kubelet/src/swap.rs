//! What of the node's swap containers get: none, or with `LimitedSwap` a share of it as large as that of the node's memory that they
//! ask for. Upstream's `kuberuntime_container_linux.go`.

use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_cri::v1::LinuxContainerResources;

use crate::{
    configuration::Settings,
    eviction,
    resources::{self, Qos, Resizable},
    stats,
};

/// In the control group of a container, on version 2.
const FILE: &str = "memory.swap.max";

/// Swap that the node has had since the kubelet's start. Where there is none, there is nothing to limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swap {
    capacity: u64,
    /// Control groups are of version 2: on version 1 nobody gets a share.
    unified: bool,
    limited: bool,
}

impl Swap {
    /// `None` where the node has no swap.
    pub(crate) fn detect(settings: &Settings, unified: bool) -> Option<Self> {
        let capacity = stats::swap_capacity();
        (capacity > 0).then(|| Self {
            capacity,
            unified,
            limited: settings.memory_swap.swap_behavior == "LimitedSwap",
        })
    }

    /// Limits a container's swap.
    pub(crate) fn limit(
        &self,
        pod: &Pod,
        container: &Container,
        node_memory: i64,
        given: &mut LinuxContainerResources,
    ) {
        if !self.unified {
            // Memory and swap together. Without a limit of memory there is none.
            given.memory_swap_limit_in_bytes = given.memory_limit_in_bytes;
            return;
        }
        let share = self.share(pod, container, node_memory);
        given.unified.insert(FILE.to_owned(), share.to_string());
    }

    /// Bytes.
    fn share(&self, pod: &Pod, container: &Container, node_memory: i64) -> u64 {
        let own = Resizable::of(container.resources.as_ref());
        let request = match own.memory_request {
            0 => own.memory_limit,
            request => request,
        };
        let none = !self.limited
            || eviction::is_critical(pod)
            || resources::qos(pod) != Qos::Burstable
            || request == 0
            || request == own.memory_limit
            || request > node_memory;
        if none {
            return 0;
        }
        let share = u128::from(request.unsigned_abs()) * u128::from(self.capacity);
        let share = share.checked_div(u128::from(node_memory.unsigned_abs()));
        share
            .and_then(|share| u64::try_from(share).ok())
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    const GIB: i64 = 1 << 30;

    fn given(swap: Swap, resources: &Value, priority: i32) -> LinuxContainerResources {
        let container = json!({ "name": "a", "resources": resources });
        let pod = testing::pod(json!({ "containers": [container], "priority": priority }));
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let mut given = resources::container(&pod, container, 8 * GIB);
        swap.limit(&pod, container, 8 * GIB, &mut given);
        given
    }

    #[test]
    fn burstable_containers_get_their_share() {
        let swap = Swap {
            capacity: 4 << 30,
            unified: true,
            limited: true,
        };
        let asks = |request: &str, limit: Option<&str>| json!({ "requests": { "memory": request }, "limits": { "memory": limit.unwrap_or("4Gi") } });
        for (resources, priority, limited, expected) in [
            (asks("1Gi", None), 0, true, "536870912"),
            (asks("1Gi", None), 0, false, "0"),
            (asks("1Gi", None), 2_000_000_000, true, "0"),
            (asks("1Gi", Some("1Gi")), 0, true, "0"),
            (json!({ "requests": { "cpu": "1" } }), 0, true, "0"),
            (json!({}), 0, true, "0"),
        ] {
            let given = given(Swap { limited, ..swap }, &resources, priority);
            assert_eq!(given.unified[FILE], expected, "{resources}");
        }
        let old = Swap {
            unified: false,
            ..swap
        };
        let given = given(old, &asks("1Gi", None), 0);
        assert_eq!(given.memory_swap_limit_in_bytes, 4 * GIB);
        assert!(given.unified.is_empty());
    }
}
