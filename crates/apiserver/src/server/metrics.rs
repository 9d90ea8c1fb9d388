//! Request metrics in Prometheus' text form, under upstream's names.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use knarr_api::kind::Text;

/// Upper bounds of the duration buckets, in seconds.
const BUCKETS_SECONDS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    verb: &'static str,
    group: Text,
    resource: Text,
    code: u16,
}

#[derive(Debug, Default)]
struct Series {
    count: AtomicU64,
    micros: AtomicU64,
    buckets: [AtomicU64; BUCKETS_SECONDS.len()],
}

/// What the server counts.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: DashMap<Key, Arc<Series>>,
    watches: Arc<AtomicI64>,
}

/// Counts an open watch until dropped.
#[derive(Debug)]
pub struct WatchGuard(Arc<AtomicI64>);

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub fn watch_opened(&self) -> WatchGuard {
        self.watches.fetch_add(1, Ordering::Relaxed);
        WatchGuard(self.watches.clone())
    }

    /// Counts an answered request.
    pub fn answered(&self, verb: &str, group: Text, resource: Text, code: u16, took: Duration) {
        let key = Key {
            verb: known_verb(verb),
            group,
            resource,
            code,
        };
        let series = match self.requests.get(&key) {
            Some(series) => series.clone(),
            // Verbs, kinds and codes are few: so are the series.
            None => self.requests.entry(key).or_default().clone(),
        };
        series.count.fetch_add(1, Ordering::Relaxed);
        series
            .micros
            .fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        if let Some(at) = BUCKETS_SECONDS.iter().position(|b| seconds <= *b) {
            series.buckets[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Appends everything in the text form.
    pub fn render(&self, out: &mut String) {
        let all: BTreeMap<Key, Arc<Series>> = self
            .requests
            .iter()
            .map(|e| (e.key().clone(), e.value().clone()))
            .collect();
        help(
            out,
            "apiserver_request_total",
            "counter",
            "Requests by verb, resource and code.",
        );
        for (key, series) in &all {
            let count = series.count.load(Ordering::Relaxed);
            line(
                out,
                "apiserver_request_total",
                &format!("{},code=\"{}\"", labels(key), key.code),
                count,
            );
        }
        let name = "apiserver_request_duration_seconds";
        help(out, name, "histogram", "Time to the head of the answer.");
        for (key, series) in &all {
            let labels = format!("{},code=\"{}\"", labels(key), key.code);
            let mut total = 0;
            for (bound, bucket) in BUCKETS_SECONDS.iter().zip(&series.buckets) {
                total += bucket.load(Ordering::Relaxed);
                line(
                    out,
                    &format!("{name}_bucket"),
                    &format!("{labels},le=\"{bound}\""),
                    total,
                );
            }
            let count = series.count.load(Ordering::Relaxed);
            line(
                out,
                &format!("{name}_bucket"),
                &format!("{labels},le=\"+Inf\""),
                count,
            );
            let seconds = series.micros.load(Ordering::Relaxed) as f64 / 1e6;
            line(out, &format!("{name}_sum"), &labels, seconds);
            line(out, &format!("{name}_count"), &labels, count);
        }
        help(
            out,
            "apiserver_longrunning_requests",
            "gauge",
            "Open watches.",
        );
        line(
            out,
            "apiserver_longrunning_requests",
            "verb=\"WATCH\"",
            self.watches.load(Ordering::Relaxed),
        );
    }
}

/// `# HELP` and `# TYPE`.
pub fn help(out: &mut String, name: &str, kind: &str, text: &str) {
    let _ = writeln!(out, "# HELP {name} {text}\n# TYPE {name} {kind}");
}

/// One sample.
pub fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

fn labels(key: &Key) -> String {
    format!(
        "verb=\"{}\",group=\"{}\",resource=\"{}\"",
        key.verb, key.group, key.resource
    )
}

fn known_verb(verb: &str) -> &'static str {
    match verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" => "POST",
        "update" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "proxy" => "PROXY",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_into_buckets() {
        let metrics = Metrics::default();
        for took in [Duration::from_millis(3), Duration::from_secs(70)] {
            metrics.answered("get", "apps".into(), "deployments".into(), 200, took);
        }
        let mut out = String::new();
        metrics.render(&mut out);
        let labels = r#"verb="GET",group="apps",resource="deployments",code="200""#;
        for wanted in [
            format!("apiserver_request_total{{{labels}}} 2"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.001\"}} 0"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.005\"}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"60\"}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 2"),
        ] {
            assert!(out.contains(&wanted), "{wanted} not in:\n{out}");
        }
    }
}
