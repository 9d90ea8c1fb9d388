//! What is counted, under upstream's names and with its buckets, in Prometheus' text form.
//!
//! Counts outlast a scheduler: who leads again goes on with them. What is in queues is read from the scheduler that runs.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Shared;

/// More attempts than this are told as one value.
const ATTEMPTS_TOLD: u32 = 15;

/// When a pod came, and how often and since when it is tried.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub arrived: Instant,
    pub started: Instant,
    /// With this one.
    pub attempts: u32,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttemptResult {
    Scheduled,
    Unschedulable,
    Error,
}

impl AttemptResult {
    fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

/// How pods are spread over queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
}

/// The metrics of a scheduler.
#[derive(Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
    running: Mutex<Weak<Shared>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

struct Counts {
    attempts: BTreeMap<(AttemptResult, String), Histogram>,
    algorithm: Histogram,
    /// By the number of attempts.
    pods: BTreeMap<u32, Histogram>,
    pod_attempts: Histogram,
    preemptions: u64,
    victims: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            attempts: BTreeMap::new(),
            algorithm: Histogram::new(0.001, 15),
            pods: BTreeMap::new(),
            pod_attempts: Histogram::new(1.0, 5),
            preemptions: 0,
            victims: Histogram::new(1.0, 7),
        }
    }
}

/// Buckets of which each reaches twice as far as the one before.
struct Histogram {
    start: f64,
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    fn new(start: f64, buckets: usize) -> Self {
        Self {
            start,
            buckets: vec![0; buckets],
            count: 0,
            sum: 0.0,
        }
    }

    fn observe(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        let mut bound = self.start;
        for bucket in &mut self.buckets {
            if value <= bound {
                *bucket += 1;
                return;
            }
            bound *= 2.0;
        }
    }

    fn render(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut bucket = |bound: &dyn Display, count: u64| {
            let labels = format!("{labels}{comma}le=\"{bound}\"");
            line(out, &format!("{name}_bucket"), &labels, count);
        };
        let (mut bound, mut total) = (self.start, 0);
        for count in &self.buckets {
            total += count;
            bucket(&bound, total);
            bound *= 2.0;
        }
        bucket(&"+Inf", self.count);
        line(out, &format!("{name}_sum"), labels, self.sum);
        line(out, &format!("{name}_count"), labels, self.count);
    }
}

impl Metrics {
    /// Shows the queues of this scheduler from now on.
    pub(crate) fn show(&self, running: &Arc<Shared>) {
        *self.running.lock() = Arc::downgrade(running);
    }

    /// Counts the end of an attempt.
    pub(crate) fn attempted(&self, result: AttemptResult, profile: &str, timing: Timing) {
        let took = timing.started.elapsed().as_secs_f64();
        let mut counts = self.counts.lock();
        let histogram = counts.attempts.entry((result, profile.to_owned()));
        let histogram = histogram.or_insert_with(|| Histogram::new(0.001, 15));
        histogram.observe(took);
        if result == AttemptResult::Scheduled {
            let whole = timing.arrived.elapsed().as_secs_f64();
            let told = timing.attempts.min(ATTEMPTS_TOLD);
            let pods = counts.pods.entry(told);
            pods.or_insert_with(|| Histogram::new(0.01, 20))
                .observe(whole);
            counts.pod_attempts.observe(f64::from(timing.attempts));
        }
    }

    /// Counts how long it took to decide.
    pub(crate) fn decided(&self, took: Duration) {
        self.counts.lock().algorithm.observe(took.as_secs_f64());
    }

    /// Counts a search for room by the end of so many pods.
    pub(crate) fn preempted(&self, victims: usize) {
        let mut counts = self.counts.lock();
        counts.preemptions += 1;
        if let Ok(victims @ 1..) = u32::try_from(victims) {
            counts.victims.observe(f64::from(victims));
        }
    }

    /// Appends everything in the text form.
    pub fn render(&self, out: &mut String) {
        self.render_attempts(out);
        let running = self.running.lock().upgrade();
        let Some(running) = running else {
            return;
        };
        let (pending, incoming, nodes, pods) = {
            let state = running.state.lock();
            let queue = &state.queue;
            (
                queue.pending(),
                queue.incoming().clone(),
                state.snapshot.len(),
                state.snapshot.pods(),
            )
        };
        let name = "scheduler_pending_pods";
        help(out, name, "gauge", "Pods that wait, by their queue.");
        for (queue, count) in [
            ("active", pending.active),
            ("backoff", pending.backoff),
            ("unschedulable", pending.unschedulable),
        ] {
            line(out, name, &format!("queue=\"{queue}\""), count);
        }
        let name = "scheduler_queue_incoming_pods_total";
        help(out, name, "counter", "Pods that came to a queue, by why.");
        for ((queue, event), count) in incoming {
            let labels = format!("event=\"{event}\",queue=\"{queue}\"");
            line(out, name, &labels, count);
        }
        let name = "scheduler_cache_size";
        help(out, name, "gauge", "What the scheduler knows of.");
        line(out, name, "type=\"nodes\"", nodes);
        line(out, name, "type=\"pods\"", pods);
    }

    fn render_attempts(&self, out: &mut String) {
        let counts = self.counts.lock();
        let labels = |(result, profile): &(AttemptResult, String)| {
            // Names of schedulers are of the configuration, and hold no quotes that are not escaped so.
            format!("profile={profile:?},result=\"{}\"", result.label())
        };
        let name = "scheduler_schedule_attempts_total";
        help(
            out,
            name,
            "counter",
            "Attempts to schedule pods, by what came of them.",
        );
        for (key, histogram) in &counts.attempts {
            line(out, name, &labels(key), histogram.count);
        }
        let name = "scheduler_scheduling_attempt_duration_seconds";
        help(
            out,
            name,
            "histogram",
            "Time of an attempt, with the binding.",
        );
        for (key, histogram) in &counts.attempts {
            histogram.render(out, name, &labels(key));
        }
        let name = "scheduler_scheduling_algorithm_duration_seconds";
        help(out, name, "histogram", "Time to decide.");
        counts.algorithm.render(out, name, "");
        let name = "scheduler_pod_scheduling_sli_duration_seconds";
        help(
            out,
            name,
            "histogram",
            "Time from a pod's arrival to its binding.",
        );
        for (attempts, histogram) in &counts.pods {
            let more = if *attempts == ATTEMPTS_TOLD { "+" } else { "" };
            histogram.render(out, name, &format!("attempts=\"{attempts}{more}\""));
        }
        let name = "scheduler_pod_scheduling_attempts";
        help(out, name, "histogram", "Attempts until a pod was bound.");
        counts.pod_attempts.render(out, name, "");
        let name = "scheduler_preemption_attempts_total";
        help(out, name, "counter", "Searches for pods to end.");
        line(out, name, "", counts.preemptions);
        let name = "scheduler_preemption_victims";
        help(out, name, "histogram", "Pods that end for one.");
        counts.victims.render(out, name, "");
    }
}

fn help(out: &mut String, name: &str, kind: &str, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {name} {text}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn attempts_are_told_with_their_times() {
        let metrics = Metrics::default();
        let now = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        let timing = Timing {
            arrived: now,
            started: now + Duration::from_secs(1),
            attempts: 2,
        };
        metrics.attempted(AttemptResult::Scheduled, "default-scheduler", timing);
        metrics.attempted(AttemptResult::Unschedulable, "other", timing);
        metrics.preempted(3);
        metrics.preempted(0);
        let mut text = String::new();
        metrics.render(&mut text);
        for wanted in [
            "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"} 1",
            "scheduler_schedule_attempts_total{profile=\"other\",result=\"unschedulable\"} 1",
            "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"other\",result=\"unschedulable\",le=\"1.024\"} 0",
            "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"other\",result=\"unschedulable\",le=\"2.048\"} 1",
            "scheduler_pod_scheduling_sli_duration_seconds_sum{attempts=\"2\"} 3",
            "scheduler_pod_scheduling_attempts_count 1",
            "scheduler_preemption_attempts_total 2",
            "scheduler_preemption_victims_bucket{le=\"2\"} 0",
            "scheduler_preemption_victims_bucket{le=\"4\"} 1",
        ] {
            assert!(text.lines().any(|line| line == wanted), "{wanted}\n{text}");
        }
    }
}
