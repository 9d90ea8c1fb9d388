//! Figures of the agent, in Prometheus' text format.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{counts::Counts, store::Store};

/// What outputs have counted, by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outputs(BTreeMap<String, Arc<Counts>>);

impl Outputs {
    /// The counts of an output.
    pub fn of(&mut self, name: &str) -> Arc<Counts> {
        self.0.entry(name.to_owned()).or_default().clone()
    }

    fn metric(
        &self,
        name: &'static str,
        help: &'static str,
        count: impl Fn(&Counts) -> &AtomicU64,
    ) -> Metric {
        let samples = self.0.iter().map(|(output, counts)| {
            let value = count(counts).load(Ordering::Relaxed);
            (Some(output.clone()), value)
        });
        Metric {
            name,
            help,
            is_counter: true,
            samples: samples.collect(),
        }
    }
}

/// A family of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
    pub is_counter: bool,
    /// With the name of the output, where it is of one.
    pub samples: Vec<(Option<String>, u64)>,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, help) = (self.name, self.help);
        let kind = if self.is_counter { "counter" } else { "gauge" };
        writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
        for (output, value) in &self.samples {
            match output {
                // Names of outputs are names of DNS labels: nothing has to be escaped.
                Some(output) => writeln!(f, "{name}{{output=\"{output}\"}} {value}")?,
                None => writeln!(f, "{name} {value}")?,
            }
        }
        Ok(())
    }
}

pub(crate) fn of(store: &Store, outputs: &Outputs) -> Vec<Metric> {
    let mut metrics = of_store(store);
    for (name, help, count) in OF_OUTPUTS {
        metrics.push(outputs.metric(name, help, count));
    }
    metrics.retain(|metric| !metric.samples.is_empty());
    metrics
}

type OfOutput = (&'static str, &'static str, fn(&Counts) -> &AtomicU64);

const OF_OUTPUTS: [OfOutput; 5] = [
    (
        "knarr_logs_forwarded_lines_total",
        "Lines that an output has taken",
        |counts| &counts.sent,
    ),
    (
        "knarr_logs_limited_lines_total",
        "Lines that were more than a pod may send to an output",
        |counts| &counts.limited,
    ),
    (
        "knarr_logs_missed_lines_total",
        "Lines that were gone before an output took them",
        |counts| &counts.missed,
    ),
    (
        "knarr_logs_refused_lines_total",
        "Lines that an output has refused for good",
        |counts| &counts.refused,
    ),
    (
        "knarr_logs_retries_total",
        "Batches that were sent again",
        |counts| &counts.retries,
    ),
];

fn of_store(store: &Store) -> Vec<Metric> {
    let counts = &store.counts;
    let single = |name, help, is_counter, value| Metric {
        name,
        help,
        is_counter,
        samples: vec![(None, value)],
    };
    vec![
        single(
            "knarr_logs_lines_total",
            "Lines that were taken from log files since the start",
            true,
            counts.records.load(Ordering::Relaxed),
        ),
        single(
            "knarr_logs_lost_lines_total",
            "Lines that found no room on the disk",
            true,
            counts.lost.load(Ordering::Relaxed),
        ),
        single(
            "knarr_logs_skipped_bytes_total",
            "Bytes of log files that were left out: no lines, or more than may be read of a container",
            true,
            counts.skipped.load(Ordering::Relaxed),
        ),
        single(
            "knarr_logs_retained_bytes",
            "What retained logs take on the disk",
            false,
            store.bytes(),
        ),
    ]
}
