//! Request metrics in Prometheus' text form, under upstream's names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display, Write},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use knarr_api::{Served, kind::Text};

/// Upper bounds of the duration buckets, in seconds: upstream's.
const BUCKETS_SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

/// What a request is counted as: labels whose values the server knows. Nothing that a client makes up is among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    /// As upstream's `CanonicalVerb` and `cleanVerb`; see [`verb`].
    pub verb: &'static str,
    pub group: Text,
    pub version: Text,
    pub resource: Text,
    pub subresource: &'static str,
    /// `resource`, `namespace`, `cluster`, or nothing for what is no resource.
    pub scope: &'static str,
    pub dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    labels: Labels,
    code: u16,
}

#[derive(Debug, Default)]
struct Series {
    count: AtomicU64,
    micros: AtomicU64,
    buckets: [AtomicU64; BUCKETS_SECONDS.len()],
}

/// A deprecated API that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Deprecated {
    group: Text,
    version: Text,
    resource: Text,
    subresource: &'static str,
    /// The release that is to have it no more, or nothing.
    removed: String,
}

/// What the server counts.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: DashMap<Key, Arc<Series>>,
    deprecated: DashMap<Deprecated, ()>,
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

    /// Remembers that a deprecated API is still asked for; `removed` is the release that is to have it no more.
    pub fn deprecated(&self, served: &Served, subresource: &str, removed: Option<&str>) {
        let known = served.kind.subresource(subresource);
        let asked = Deprecated {
            group: served.group_text(),
            version: served.version_text(),
            resource: served.kind.resource.clone(),
            subresource: known.map_or("", |known| known.name),
            removed: removed.unwrap_or_default().to_owned(),
        };
        // Kinds are few: so are these.
        if !self.deprecated.contains_key(&asked) {
            self.deprecated.insert(asked, ());
        }
    }

    /// Counts an answered request.
    pub fn answered(&self, labels: Labels, code: u16, took: Duration) {
        let key = Key { labels, code };
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
        let name = "apiserver_request_total";
        help(
            out,
            name,
            "counter",
            "Requests by what they ask for and code.",
        );
        for (key, series) in &all {
            let count = series.count.load(Ordering::Relaxed);
            let labels = format!("{},code=\"{}\"", key.labels, key.code);
            line(out, name, &labels, count);
        }
        let name = "apiserver_request_duration_seconds";
        help(out, name, "histogram", "Time to the head of the answer.");
        for (labels, durations) in durations(&all) {
            durations.render(out, name, &labels.to_string());
        }
        self.render_deprecated(out);
        let name = "apiserver_longrunning_requests";
        help(out, name, "gauge", "Open watches.");
        let watches = self.watches.load(Ordering::Relaxed);
        line(out, name, "verb=\"WATCH\"", watches);
    }

    fn render_deprecated(&self, out: &mut String) {
        let name = "apiserver_requested_deprecated_apis";
        let text = "1 for deprecated APIs that have been requested.";
        help(out, name, "gauge", text);
        let asked = self.deprecated.iter().map(|asked| asked.key().clone());
        for asked in asked.collect::<BTreeSet<Deprecated>>() {
            let Deprecated {
                group,
                version,
                resource,
                subresource,
                removed,
            } = asked;
            let labels = format!(
                "group=\"{group}\",removed_release=\"{removed}\",resource=\"{resource}\",\
                 subresource=\"{subresource}\",version=\"{version}\""
            );
            line(out, name, &labels, 1);
        }
    }
}

/// The times of requests of all codes: upstream's histogram has none.
fn durations(all: &BTreeMap<Key, Arc<Series>>) -> BTreeMap<&Labels, Durations> {
    let mut sums: BTreeMap<&Labels, Durations> = BTreeMap::new();
    for (key, series) in all {
        let sum = sums.entry(&key.labels).or_default();
        sum.count = sum
            .count
            .saturating_add(series.count.load(Ordering::Relaxed));
        sum.micros = sum
            .micros
            .saturating_add(series.micros.load(Ordering::Relaxed));
        for (sum, bucket) in sum.buckets.iter_mut().zip(&series.buckets) {
            *sum = sum.saturating_add(bucket.load(Ordering::Relaxed));
        }
    }
    sums
}

#[derive(Default)]
struct Durations {
    count: u64,
    micros: u64,
    buckets: [u64; BUCKETS_SECONDS.len()],
}

impl Durations {
    fn render(&self, out: &mut String, name: &str, labels: &str) {
        let bucket_name = format!("{name}_bucket");
        let mut bucket = |bound: &dyn Display, count: u64| {
            line(
                out,
                &bucket_name,
                &format!("{labels},le=\"{bound}\""),
                count,
            );
        };
        let mut total = 0_u64;
        for (bound, count) in BUCKETS_SECONDS.iter().zip(self.buckets) {
            total = total.saturating_add(count);
            bucket(bound, total);
        }
        bucket(&"+Inf", self.count);
        let seconds = self.micros as f64 / 1e6;
        line(out, &format!("{name}_sum"), labels, seconds);
        line(out, &format!("{name}_count"), labels, self.count);
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

impl Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
            dry_run,
        } = self;
        let dry_run = if *dry_run { "All" } else { "" };
        write!(
            f,
            "component=\"apiserver\",dry_run=\"{dry_run}\",group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",\
             subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
        )
    }
}

/// What upstream counts a request's verb as: `connects` are streams to pods, nodes and Services, `applies` patches of configurations.
pub fn verb(verb: &str, connects: bool, applies: bool) -> &'static str {
    match verb {
        _ if connects => "CONNECT",
        "patch" if applies => "APPLY",
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" => "POST",
        "update" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_into_buckets() {
        let metrics = Metrics::default();
        let labels = || Labels {
            verb: verb("get", false, false),
            group: "apps".into(),
            version: "v1".into(),
            resource: "deployments".into(),
            subresource: "status",
            scope: "resource",
            dry_run: false,
        };
        for (code, took) in [(200, 3), (404, 70_000), (200, 1)] {
            metrics.answered(labels(), code, Duration::from_millis(took));
        }
        let mut out = String::new();
        metrics.render(&mut out);
        let labels = labels();
        for wanted in [
            format!("apiserver_request_total{{{labels},code=\"200\"}} 2"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.005\"}} 2"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"60\"}} 2"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 3"),
            format!("apiserver_request_duration_seconds_count{{{labels}}} 3"),
        ] {
            assert!(out.contains(&wanted), "{wanted} not in:\n{out}");
        }
        assert!(
            labels
                .to_string()
                .contains(r#"scope="resource",subresource="status",verb="GET""#)
        );
    }

    #[test]
    fn verbs_are_told_as_upstream() {
        for (given, connects, applies, told) in [
            ("create", true, false, "CONNECT"),
            ("patch", false, true, "APPLY"),
            ("patch", false, false, "PATCH"),
            ("deletecollection", false, false, "DELETECOLLECTION"),
            ("brew", false, false, "other"),
        ] {
            assert_eq!(verb(given, connects, applies), told, "{given}");
        }
    }
}
