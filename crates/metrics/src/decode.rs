//! The text of a kubelet's `/metrics/resource`: Prometheus' format, of which five families are read.

use std::collections::BTreeMap;

use crate::points::{Batch, Pod, Point};

/// What a line says.
#[derive(Debug, PartialEq)]
struct Sample<'t> {
    name: &'t str,
    labels: BTreeMap<&'t str, String>,
    value: f64,
    /// Milliseconds since 1970.
    at: Option<i64>,
}

/// Takes what a node says into a batch. `now` is the time of samples that have none, nanoseconds since 1970. Lines that are no
/// samples, or of other families, are passed over.
///
/// As metrics-server: a node, or a pod with a container, of which only a part is known is left out.
pub(crate) fn decode(text: &str, node: &str, now: i64, batch: &mut Batch) {
    let mut whole = Point::default();
    let mut pods: BTreeMap<(String, String), Pod> = BTreeMap::new();
    for sample in text.lines().filter_map(sample) {
        let at = sample.at.map_or(now, |at| at.saturating_mul(1_000_000));
        match sample.name {
            "node_cpu_usage_seconds_total" => whole.measure_cpu(sample.value, at),
            "node_memory_working_set_bytes" => whole.measure_memory(sample.value, at),
            "container_cpu_usage_seconds_total" => {
                container(sample.labels, &mut pods).measure_cpu(sample.value, at)
            }
            "container_memory_working_set_bytes" => {
                container(sample.labels, &mut pods).measure_memory(sample.value, at)
            }
            "container_start_time_seconds" => {
                container(sample.labels, &mut pods).started = nanos(sample.value)
            }
            _ => {}
        }
    }
    if whole.is_complete() {
        batch.nodes.insert(node.to_owned(), whole);
    }
    pods.retain(|_, pod| pod.containers.values().all(Point::is_complete));
    batch.pods.extend(pods);
}

/// The point that a sample's labels name.
fn container<'p>(
    mut labels: BTreeMap<&str, String>,
    pods: &'p mut BTreeMap<(String, String), Pod>,
) -> &'p mut Point {
    let mut label = |name| labels.remove(name).unwrap_or_default();
    let (container, pod, namespace) = (label("container"), label("pod"), label("namespace"));
    let pod = pods.entry((namespace, pod)).or_default();
    pod.containers.entry(container).or_default()
}

impl Point {
    fn measure_cpu(&mut self, seconds: f64, at: i64) {
        self.cpu = u64::try_from(nanos(seconds)).unwrap_or(0);
        self.at = at;
    }

    fn measure_memory(&mut self, bytes: f64, at: i64) {
        // Saturates, and what is no number is 0.
        self.memory = bytes as u64;
        // Rates are of processor time: its moment counts.
        if self.cpu == 0 {
            self.at = at;
        }
    }

    fn is_complete(&self) -> bool {
        self.cpu > 0 && self.memory > 0 && self.at > 0
    }
}

fn nanos(seconds: f64) -> i64 {
    (seconds * 1e9) as i64
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with('#') {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let mut numbers = rest.split_ascii_whitespace();
    Some(Sample {
        name,
        labels,
        value: numbers.next()?.parse().ok()?,
        at: numbers.next().and_then(|at| at.parse().ok()),
    })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<&str, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = value(after)?;
        labels.insert(name.trim_start_matches(',').trim(), value);
        rest = after;
    }
}

/// A value up to its closing quote, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            char => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 10.5 1700000000123
node_memory_working_set_bytes 1.5e+09 1700000000124
container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"p\"} 2 1700000000001
container_memory_working_set_bytes{pod=\"p\",container=\"c\",namespace=\"n\"} 4096
container_start_time_seconds{container=\"c\",namespace=\"n\",pod=\"p\"} 1.699999e+09
container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"half\"} 2 1700000000001
pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 3
container_cpu_usage_seconds_total{container=\"c\",namespace=\"n
container_cpu_usage_seconds_total{container=\"c\"} many
";

    #[test]
    fn what_is_known_in_part_is_left_out() {
        let mut batch = Batch::default();
        decode(TEXT, "a", 5, &mut batch);
        let node = Point {
            at: 1_700_000_000_123_000_000,
            started: 0,
            cpu: 10_500_000_000,
            memory: 1_500_000_000,
        };
        assert_eq!(batch.nodes.get("a"), Some(&node));
        let pods: Vec<_> = batch.pods.keys().cloned().collect();
        assert_eq!(pods, [("n".to_owned(), "p".to_owned())]);
        let container = Point {
            at: 1_700_000_000_001_000_000,
            started: 1_699_999_000_000_000_000,
            cpu: 2_000_000_000,
            memory: 4_096,
        };
        let pod = batch.pods.values().next().expect("is there");
        assert_eq!(pod.containers.get("c"), Some(&container));
        let mut none = Batch::default();
        decode("node_cpu_usage_seconds_total 1\n", "a", 5, &mut none);
        assert!(none.nodes.is_empty());
    }

    #[test]
    fn labels_are_unescaped() {
        let parsed = sample("m{a=\"x\\\"y\\\\\\n\", b=\"\"} 1 2").expect("a sample");
        let wanted = BTreeMap::from([("a", "x\"y\\\n".to_owned()), ("b", String::new())]);
        assert_eq!(parsed.labels, wanted);
        assert_eq!((parsed.value, parsed.at), (1.0, Some(2)));
        for broken in ["", "m", "m{a=\"", "m{a", "{} 1 x y", "m{a=\"b\\"] {
            assert_eq!(sample(broken), None, "{broken:?}");
        }
    }
}
