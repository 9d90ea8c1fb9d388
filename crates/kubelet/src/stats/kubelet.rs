//! `/metrics`: what the kubelet does, in the names of upstream's `pkg/kubelet/metrics/metrics.go` that dashboards read.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use knarr_client::requests::Requests;
use knarr_cri::v1::ContainerState;

use super::text::{Text, Type};
use crate::{
    config::ClientCertificate,
    context::{self, Shared},
    observed::View,
    pods,
    sources::SOURCE,
    volume,
};

/// Of a container's state, upstream's words.
const STATES: [(ContainerState, &str); 4] = [
    (ContainerState::ContainerCreated, "created"),
    (ContainerState::ContainerExited, "exited"),
    (ContainerState::ContainerRunning, "running"),
    (ContainerState::ContainerUnknown, "unknown"),
];

/// The document.
pub(crate) fn kubelet(ctx: &Shared) -> String {
    let mut text = Text::default();
    let uids = ctx.observed.uids();
    let views: Vec<Arc<View>> = uids.iter().map(|uid| ctx.observed.view(uid)).collect();
    of_runtime(&mut text, &views);
    of_pods(&mut text, ctx);
    ctx.runtime.operations().write(&mut text);
    ctx.observed.write_relists(&mut text);
    ctx.stats.starts.write(&mut text);
    ctx.stats.durations.write(&mut text);
    if let Some(requests) = &ctx.config.requests {
        of_requests(&mut text, requests);
    }
    if let Some(certificate) = &ctx.config.client_certificate {
        of_certificate(
            &mut text,
            certificate.as_ref(),
            Timestamp::now().as_second(),
        );
    }
    let [evictions, preemptions] = ctx.evictions.counts();
    for (name, help, label, counts) in [
        (
            "kubelet_evictions",
            "[BETA] Cumulative number of pod evictions by eviction signal",
            "eviction_signal",
            evictions,
        ),
        (
            "kubelet_preemptions",
            "[BETA] Cumulative number of pod preemptions by preemption resource",
            "preemption_signal",
            preemptions,
        ),
        (
            "kubelet_image_garbage_collected_total",
            "[BETA] Total number of images garbage collected by the kubelet, whether through disk usage or image age.",
            "reason",
            ctx.garbage
                .removed()
                .into_iter()
                .map(|(reason, count)| (reason.to_owned(), count))
                .collect(),
        ),
    ] {
        text.family(name, help, Type::Counter);
        for (value, count) in counts {
            text.sample(name, &[(label, value.as_str())], count as f64, 0);
        }
    }
    text.finish()
}

fn gauge(text: &mut Text, name: &str, help: &str, samples: &[(&[(&str, &str)], usize)]) {
    text.family(name, help, Type::Gauge);
    for (labels, value) in samples {
        text.sample(name, labels, *value as f64, 0);
    }
}

/// The label `host` is absent: a client goes from one server to the other.
fn of_requests(text: &mut Text, requests: &Requests) {
    let name = "rest_client_requests_total";
    let help = "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host.";
    text.family(name, help, Type::Counter);
    for (code, method, count) in requests.counts() {
        let labels = [("code", code.as_str()), ("method", method)];
        text.sample(name, &labels, count as f64, 0);
    }
}

/// `now` is in seconds since 1970.
fn of_certificate(text: &mut Text, certificate: &dyn ClientCertificate, now: i64) {
    let name = "kubelet_certificate_manager_client_expiration_renew_errors";
    let help = "[ALPHA] Counter of certificate renewal errors.";
    text.family(name, help, Type::Counter);
    text.sample(name, &[], certificate.renewal_failures() as f64, 0);
    let name = "kubelet_certificate_manager_client_ttl_seconds";
    let help = "[ALPHA] Gauge of the TTL (time-to-live) of the Kubelet's client certificate. The value is in seconds until certificate expiry (negative if already expired). If client certificate is invalid or unused, the value will be +INF.";
    text.family(name, help, Type::Gauge);
    let left = certificate.not_after().saturating_sub(now);
    text.sample(name, &[], left as f64, 0);
}

/// What the runtime has.
fn of_runtime(text: &mut Text, views: &[Arc<View>]) {
    let ready = |view: &&Arc<View>| view.running().next().is_some();
    let running = views.iter().filter(ready).count();
    let help = "[BETA] Number of pods that have a running pod sandbox";
    gauge(text, "kubelet_running_pods", help, &[(&[], running)]);
    let name = "kubelet_running_containers";
    text.family(
        name,
        "[BETA] Number of containers currently running",
        Type::Gauge,
    );
    for (state, word) in STATES {
        let containers = views.iter().flat_map(|view| &view.containers);
        let count = containers.filter(|one| one.state() == state).count();
        text.sample(name, &[("container_state", word)], count as f64, 0);
    }
}

/// What is wanted of the node.
fn of_pods(text: &mut Text, ctx: &Shared) {
    let all = pods::list(ctx);
    let is_static = |pod: &Arc<Pod>| {
        let annotations = pod.metadata.annotations.as_ref();
        annotations.is_some_and(|all| all.contains_key(SOURCE))
    };
    let (own, of_api): (Vec<_>, Vec<_>) = all.iter().partition(|pod| is_static(pod));
    let active = |pods: &[&Arc<Pod>]| pods.iter().filter(|pod| !has_ended(pod)).count();
    let help = "[ALPHA] The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.";
    let (of_static, of_others) = ([("static", "true")], [("static", "")]);
    let wanted: [(&[(&str, &str)], usize); 2] =
        [(&of_static, own.len()), (&of_others, of_api.len())];
    gauge(text, "kubelet_desired_pods", help, &wanted);
    let help = "[ALPHA] The number of pods the kubelet considers active and which are being considered when admitting new pods. static is true if the pod is not from the apiserver.";
    let running: [(&[(&str, &str)], usize); 2] =
        [(&of_static, active(&own)), (&of_others, active(&of_api))];
    gauge(text, "kubelet_active_pods", help, &running);
    let help = "[ALPHA] The number of mirror pods the kubelet will try to create (one per admitted static pod)";
    gauge(text, "kubelet_mirror_pods", help, &[(&[], active(&own))]);
    let help = "[ALPHA] The node's name. The count is always 1.";
    let node = [("node", ctx.config.node_name.as_str())];
    gauge(text, "kubelet_node_name", help, &[(&node, 1)]);
    volumes(text, ctx, &all);
}

/// Volumes that pods have, and those that are there: a container runs only when its pod's are.
fn volumes(text: &mut Text, ctx: &Shared, pods: &[Arc<Pod>]) {
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !has_ended(pod)) {
        let spec = pod.spec.as_ref();
        let mounted = !ctx.observed.view(context::uid(pod)).containers.is_empty();
        for volume in spec
            .into_iter()
            .flat_map(|spec| spec.volumes.iter().flatten())
        {
            let plugin = volume::plugin_of(volume);
            let desired = (plugin.clone(), "desired_state_of_world");
            *counts.entry(desired).or_default() += 1;
            if mounted {
                let actual = (plugin, "actual_state_of_world");
                *counts.entry(actual).or_default() += 1;
            }
        }
    }
    let name = "volume_manager_total_volumes";
    text.family(
        name,
        "[ALPHA] Number of volumes in Volume Manager",
        Type::Gauge,
    );
    for ((plugin, state), count) in counts {
        let labels = [("plugin_name", plugin.as_str()), ("state", state)];
        text.sample(name, &labels, count as f64, 0);
    }
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Ends(i64);

    impl ClientCertificate for Ends {
        fn not_after(&self) -> i64 {
            self.0
        }

        fn renewal_failures(&self) -> u64 {
            3
        }
    }

    #[test]
    fn a_certificates_end_is_told_before_and_after_it() {
        for (end, left) in [(150, "50"), (90, "-10")] {
            let mut text = Text::default();
            of_certificate(&mut text, &Ends(end), 100);
            let text = text.finish();
            for line in [
                format!("kubelet_certificate_manager_client_ttl_seconds {left}"),
                "kubelet_certificate_manager_client_expiration_renew_errors 3".to_owned(),
            ] {
                assert!(text.lines().any(|one| one == line), "{line}\n{text}");
            }
        }
    }
}
