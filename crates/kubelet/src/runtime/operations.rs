//! What has been asked of the runtime: `kubelet_runtime_operations_*`, as upstream's `metrics.go` has them.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;

use crate::stats::{Histogram, Text, Type};

/// Upstream's buckets, seconds: from 5 ms on, each 2.5 times the one before.
const BUCKETS: [f64; 14] = [
    0.005,
    0.0125,
    0.031_25,
    0.078_125,
    0.195_312_5,
    0.488_281_25,
    1.220_703_125,
    3.051_757_812_5,
    7.629_394_531_25,
    19.073_486_328_125,
    47.683_715_820_312_5,
    119.209_289_550_781_25,
    298.023_223_876_953_1,
    745.058_059_692_382_8,
];

/// Of one call.
#[derive(Debug)]
struct Count {
    errors: u64,
    took: Histogram<14>,
}

/// Of all calls since the start, by the name of the call: there are as many as CRI has.
#[derive(Debug, Default)]
pub(crate) struct Operations(Mutex<BTreeMap<&'static str, Count>>);

impl Operations {
    pub(super) fn count(&self, name: &'static str, took: Duration, ok: bool) {
        let mut all = self.0.lock();
        let count = all.entry(name).or_insert_with(|| Count {
            errors: 0,
            took: Histogram::new(BUCKETS),
        });
        count.took.observe(took.as_secs_f64());
        count.errors += u64::from(!ok);
    }

    /// Writes the families.
    pub(crate) fn write(&self, text: &mut Text) {
        let all = self.0.lock();
        // Upstream has one word of it.
        let named = |name: &str| name.replace("pod_sandbox", "podsandbox");
        let name = "kubelet_runtime_operations_total";
        let help = "[BETA] Cumulative number of runtime operations by operation type.";
        text.family(name, help, Type::Counter);
        for (call, count) in &*all {
            let labels = [("operation_type", &*named(call))];
            text.sample(name, &labels, count.took.count() as f64, 0);
        }
        let name = "kubelet_runtime_operations_errors_total";
        let help = "[BETA] Cumulative number of runtime operation errors by operation type.";
        text.family(name, help, Type::Counter);
        for (call, count) in all.iter().filter(|(_, count)| count.errors > 0) {
            let labels = [("operation_type", &*named(call))];
            text.sample(name, &labels, count.errors as f64, 0);
        }
        let name = "kubelet_runtime_operations_duration_seconds";
        let help =
            "[BETA] Duration in seconds of runtime operations. Broken down by operation type.";
        text.family(name, help, Type::Histogram);
        for (call, count) in &*all {
            text.histogram(name, &[("operation_type", &*named(call))], &count.took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_in_upstreams_names() {
        let operations = Operations::default();
        operations.count("run_pod_sandbox", Duration::from_millis(4), true);
        operations.count("run_pod_sandbox", Duration::from_millis(40), false);
        let mut text = Text::default();
        operations.write(&mut text);
        let text = text.finish();
        for line in [
            "kubelet_runtime_operations_total{operation_type=\"run_podsandbox\"} 2",
            "kubelet_runtime_operations_errors_total{operation_type=\"run_podsandbox\"} 1",
            "kubelet_runtime_operations_duration_seconds_bucket{operation_type=\"run_podsandbox\",le=\"0.005\"} 1",
            "kubelet_runtime_operations_duration_seconds_bucket{operation_type=\"run_podsandbox\",le=\"+Inf\"} 2",
            "kubelet_runtime_operations_duration_seconds_count{operation_type=\"run_podsandbox\"} 2",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
