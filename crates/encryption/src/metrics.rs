//! What is counted, under upstream's names, in Prometheus' text form.

use std::{
    collections::BTreeMap,
    fmt::Write,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lru::LruCache;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use tonic::Code;

/// As many names of keys as upstream tells of: plugins make them up.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(100).expect("not zero");
const TRANSFORMATION_BUCKETS: Buckets = Buckets {
    first: 5e-6,
    count: 25,
};
const CALL_BUCKETS: Buckets = Buckets {
    first: 1e-4,
    count: 20,
};

/// Bounds that double.
struct Buckets {
    first: f64,
    count: usize,
}

#[derive(Clone, Debug, Default)]
struct Histogram {
    /// Not cumulative; the last has what is above all bounds.
    counts: Vec<u64>,
    sum: f64,
}

/// Counters of all providers.
#[derive(Debug)]
pub struct Metrics {
    /// Whose: the same in all of this server's.
    server: String,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    operations: BTreeMap<String, u64>,
    durations: BTreeMap<String, Histogram>,
    calls: BTreeMap<String, Histogram>,
    cache_misses: u64,
    deks: BTreeMap<String, usize>,
    used: LruCache<String, (u64, f64)>,
    told: LruCache<String, f64>,
    invalid: BTreeMap<String, u64>,
    reloads: BTreeMap<&'static str, (u64, f64)>,
    config: Option<String>,
}

impl Metrics {
    /// Of the server of this name.
    pub fn new(server: &str) -> Metrics {
        Metrics {
            server: hash(server),
            inner: Mutex::new(Inner {
                operations: BTreeMap::new(),
                durations: BTreeMap::new(),
                calls: BTreeMap::new(),
                cache_misses: 0,
                deks: BTreeMap::new(),
                used: LruCache::new(MAX_KEYS),
                told: LruCache::new(MAX_KEYS),
                invalid: BTreeMap::new(),
                reloads: BTreeMap::new(),
                config: None,
            }),
        }
    }

    /// A value was read or written by the provider of a prefix.
    pub fn transformed(
        &self,
        resource: &str,
        direction: &str,
        prefix: &str,
        began: Instant,
        good: bool,
    ) {
        let took = began.elapsed();
        let by = format!("transformation_type=\"{direction}\",transformer_prefix=\"{prefix}\"");
        let status = match good {
            true => "OK",
            false => "unknown-non-grpc",
        };
        let labels = format!("resource=\"{resource}\",status=\"{status}\",{by}");
        let mut inner = self.inner.lock();
        let count = inner.operations.entry(labels).or_default();
        *count = count.saturating_add(1);
        if good {
            let durations = inner.durations.entry(by).or_default();
            durations.observe(&TRANSFORMATION_BUCKETS, took);
        }
    }

    pub fn cache_miss(&self) {
        let mut inner = self.inner.lock();
        inner.cache_misses = inner.cache_misses.saturating_add(1);
    }

    /// How many seeds of a plugin are known.
    pub fn deks(&self, provider: &str, count: usize) {
        let labels = format!("provider_name=\"{provider}\"");
        self.inner.lock().deks.insert(labels, count);
    }

    pub fn kms_call(&self, provider: &str, method: &str, code: Code, took: Duration) {
        let labels = format!(
            "provider_name=\"{provider}\",method_name=\"/v2.KeyManagementService/{method}\",grpc_status_code=\"{}\"",
            code_name(code)
        );
        let mut inner = self.inner.lock();
        let calls = inner.calls.entry(labels).or_default();
        calls.observe(&CALL_BUCKETS, took);
    }

    /// A plugin's key had a part in reading or writing a value.
    pub fn key_used(&self, direction: &str, provider: &str, key_id: &str) {
        let labels = format!(
            "transformation_type=\"{direction}\",{}",
            self.key_labels(provider, key_id)
        );
        let mut inner = self.inner.lock();
        let used = inner.used.get_or_insert_mut(labels, || (0, 0.0));
        *used = (used.0.saturating_add(1), now());
    }

    /// A plugin has said which key it has.
    pub fn key_told(&self, provider: &str, key_id: &str) {
        let labels = self.key_labels(provider, key_id);
        self.inner.lock().told.put(labels, now());
    }

    pub fn invalid_key_id(&self, provider: &str, code: &str) {
        let labels = format!("provider_name=\"{provider}\",error=\"{code}\"");
        let mut inner = self.inner.lock();
        let count = inner.invalid.entry(labels).or_default();
        *count = count.saturating_add(1);
    }

    /// The configuration was read again, and is used (with this hash) or not.
    pub fn reloaded(&self, config: Option<&str>) {
        let status = match config {
            Some(_) => "success",
            None => "failure",
        };
        let mut inner = self.inner.lock();
        let reloads = inner.reloads.entry(status).or_default();
        *reloads = (reloads.0.saturating_add(1), now());
        if let Some(hash) = config {
            inner.config = Some(hash.to_owned());
        }
    }

    /// The configuration of the start.
    pub fn loaded(&self, config: &str) {
        self.inner.lock().config = Some(config.to_owned());
    }

    fn key_labels(&self, provider: &str, key_id: &str) -> String {
        format!(
            "provider_name=\"{provider}\",key_id_hash=\"{}\",apiserver_id_hash=\"{}\"",
            hash(key_id),
            self.server
        )
    }

    /// Appends everything.
    pub fn render(&self, out: &mut String) {
        let inner = self.inner.lock();
        let mut page = Page(out);
        let mut name = "apiserver_storage_transformation_operations_total";
        page.counters(
            name,
            "Values that were encrypted or decrypted.",
            &inner.operations,
        );
        name = "apiserver_storage_transformation_duration_seconds";
        let help = "How long encrypting or decrypting a value took.";
        page.histograms(name, help, &inner.durations, &TRANSFORMATION_BUCKETS);
        name = "apiserver_storage_envelope_transformation_cache_misses_total";
        let misses = BTreeMap::from([(String::new(), inner.cache_misses)]);
        page.counters(name, "Encrypted keys that a KMS was asked for.", &misses);
        name = "apiserver_envelope_encryption_kms_operations_latency_seconds";
        page.histograms(name, "Calls of a KMS.", &inner.calls, &CALL_BUCKETS);
        name = "apiserver_envelope_encryption_dek_source_cache_size";
        page.head(name, "gauge", "Keys of a KMS that are known.");
        for (labels, count) in &inner.deks {
            page.line(name, labels, count);
        }
        name = "apiserver_envelope_encryption_invalid_key_id_from_status_total";
        page.counters(name, "Names of keys that cannot be stored.", &inner.invalid);
        self.render_keys(&inner, &mut page);
        self.render_reloads(&inner, &mut page);
    }

    fn render_keys(&self, inner: &Inner, page: &mut Page<'_>) {
        let used: BTreeMap<_, _> = inner.used.iter().collect();
        let name = "apiserver_envelope_encryption_key_id_hash_total";
        page.head(name, "counter", "How often a key of a KMS had a part.");
        for (labels, (count, _)) in &used {
            page.line(name, labels, count);
        }
        let name = "apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds";
        page.head(name, "gauge", "When it had the last time.");
        for (labels, (_, at)) in &used {
            page.line(name, labels, at);
        }
        let told: BTreeMap<_, _> = inner.told.iter().collect();
        let name = "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds";
        page.head(name, "gauge", "When a KMS has told of a key.");
        for (labels, at) in &told {
            page.line(name, labels, at);
        }
    }

    fn render_reloads(&self, inner: &Inner, page: &mut Page<'_>) {
        let server = format!("apiserver_id_hash=\"{}\"", self.server);
        let name = "apiserver_encryption_config_controller_automatic_reloads_total";
        page.head(
            name,
            "counter",
            "Changed configurations by what became of them.",
        );
        for (status, (count, _)) in &inner.reloads {
            page.line(name, &format!("status=\"{status}\",{server}"), count);
        }
        let name = "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds";
        page.head(name, "gauge", "When that was the last time.");
        for (status, (_, at)) in &inner.reloads {
            page.line(name, &format!("status=\"{status}\",{server}"), at);
        }
        if let Some(config) = &inner.config {
            let name = "apiserver_encryption_config_controller_last_config_info";
            page.head(
                name,
                "gauge",
                "1, with the hash of the configuration in use.",
            );
            page.line(name, &format!("{server},hash=\"{config}\""), 1);
        }
    }
}

impl Histogram {
    fn observe(&mut self, buckets: &Buckets, took: Duration) {
        let seconds = took.as_secs_f64();
        self.counts.resize(buckets.count.saturating_add(1), 0);
        let at = buckets.bounds().position(|bound| seconds <= bound);
        if let Some(count) = self.counts.get_mut(at.unwrap_or(buckets.count)) {
            *count = count.saturating_add(1);
        }
        self.sum += seconds;
    }
}

impl Buckets {
    fn bounds(&self) -> impl Iterator<Item = f64> {
        std::iter::successors(Some(self.first), |bound| Some(bound * 2.0)).take(self.count)
    }
}

struct Page<'o>(&'o mut String);

// Writing to a string cannot fail.
impl Page<'_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn counters(&mut self, name: &str, help: &str, counters: &BTreeMap<String, u64>) {
        self.head(name, "counter", help);
        for (labels, count) in counters {
            self.line(name, labels, count);
        }
    }

    fn histograms(
        &mut self,
        name: &str,
        help: &str,
        all: &BTreeMap<String, Histogram>,
        buckets: &Buckets,
    ) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (labels, histogram) in all {
            let mut total = 0u64;
            let bounds = buckets.bounds().map(|bound| bound.to_string());
            let bounds = bounds.chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(&histogram.counts) {
                total = total.saturating_add(*count);
                self.line(&bucket, &format!("{labels},le=\"{bound}\""), total);
            }
            self.line(&format!("{name}_sum"), labels, histogram.sum);
            self.line(&format!("{name}_count"), labels, total);
        }
    }
}

/// In lieu of what may be secret, or long: nothing of nothing.
pub fn hash(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut out = String::from("sha256:");
    for byte in digest(&SHA256, text.as_bytes()).as_ref() {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn now() -> f64 {
    Timestamp::now().as_millisecond() as f64 / 1e3
}

/// As Go's gRPC names it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
