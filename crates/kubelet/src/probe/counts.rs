//! How probes have ended, for `/metrics/probes`: upstream's `prober_probe_total`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use super::{Kind, Outcome};
use crate::{
    context,
    stats::{Text, Type},
};

const NAME: &str = "prober_probe_total";
const HELP: &str =
    "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.";
/// Upstream's words for an [`Outcome`].
const RESULTS: [&str; 3] = ["failed", "successful", "unknown"];

/// A probe of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Probed {
    uid: String,
    container: String,
    kind: &'static str,
    namespace: String,
    pod: String,
}

/// The counters of the pods that are on the node.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<Probed, [u64; RESULTS.len()]>>);

impl Counts {
    /// Takes note of an end.
    pub(crate) fn count(&self, pod: &Pod, container: &str, kind: Kind, outcome: &Outcome) {
        let probed = Probed {
            uid: context::uid(pod).to_owned(),
            container: container.to_owned(),
            kind: kind.title(),
            namespace: context::namespace(pod).to_owned(),
            pod: context::name(pod).to_owned(),
        };
        let mut all = self.0.lock();
        let [failed, successful, unknown] = all.entry(probed).or_default();
        match outcome {
            Outcome::Success | Outcome::Warning(_) => *successful += 1,
            Outcome::Failure(_) => *failed += 1,
            Outcome::Error(_) => *unknown += 1,
        }
    }

    /// The pod is gone: so are its series.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().retain(|probed, _| probed.uid != uid);
    }

    /// The document. Results that have not come about have no series.
    pub(crate) fn text(&self) -> String {
        let mut text = Text::default();
        text.family(NAME, HELP, Type::Counter);
        for (probed, counts) in &*self.0.lock() {
            for (result, count) in RESULTS.iter().zip(counts).filter(|(_, count)| **count > 0) {
                let labels = [
                    ("container", probed.container.as_str()),
                    ("namespace", &probed.namespace),
                    ("pod", &probed.pod),
                    ("pod_uid", &probed.uid),
                    ("probe_type", probed.kind),
                    ("result", result),
                ];
                text.sample(NAME, &labels, *count as f64, 0);
            }
        }
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    #[test]
    fn ends_are_counted_until_the_pod_is_gone() {
        let counts = Counts::default();
        let pod = testing::pod(json!({ "containers": [] }));
        for outcome in [
            Outcome::Success,
            Outcome::Success,
            Outcome::Failure("no".to_owned()),
        ] {
            counts.count(&pod, "c", Kind::Readiness, &outcome);
        }
        let text = counts.text();
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let labels = |result| {
            format!(
                "prober_probe_total{{container=\"c\",namespace=\"shop\",pod=\"web\",pod_uid=\"u1\",\
                 probe_type=\"Readiness\",result=\"{result}\"}}"
            )
        };
        let wanted = [
            format!("{} 1", labels("failed")),
            format!("{} 2", labels("successful")),
        ];
        assert_eq!(series, wanted);
        counts.forget("u1");
        assert_eq!(counts.text().lines().count(), 2);
    }
}
