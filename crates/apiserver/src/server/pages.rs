//! Everything outside the resource paths: discovery, health, metrics, version, OpenAPI.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use knarr_api::apiregistration::{GROUP, api_service};
use knarr_audit::Counts;
use knarr_auth::{objects::Objects, route::ApiRequest};
use knarr_host::process::Process;
use knarr_meta::{object, status::Status};
use knarr_registry::catalog::Snapshot;
use serde_json::json;

use super::{checks, metrics, zpages};
use crate::{
    body::Body,
    core::Core,
    discovery, openapi,
    respond::{self, Answer},
};

/// The version of Kubernetes whose API is served.
pub const GIT_VERSION: &str = knarr_auth::VERSION;

/// Answers a non-resource path.
pub async fn serve(core: &Arc<Core>, snapshot: &Arc<Snapshot>, request: &ApiRequest<'_>) -> Answer {
    if !matches!(request.info.verb, "get" | "head") {
        return Err(Status::method_not_allowed());
    }
    let path = request.info.path;
    for endpoint in ["/healthz", "/livez", "/readyz"] {
        if let Some(rest) = path.strip_prefix(endpoint)
            && (rest.is_empty() || rest.starts_with('/'))
        {
            let check = rest.trim_start_matches('/');
            return checks::serve(core, &endpoint[1..], check, request.query).await;
        }
    }
    if let Some(page) = core.pages.get(path) {
        let (content_type, body) = page();
        return Ok(respond::with_type(StatusCode::OK, content_type, body));
    }
    match path {
        "/metrics" => {
            let revision = core.registry.store.revision().await;
            return Ok(metrics_page(core, revision.ok()));
        }
        "/debug/api_priority_and_fairness/dump_priority_levels" => {
            let table = core.fairness.dump().priority_levels();
            return Ok(respond::text(StatusCode::OK, table));
        }
        "/debug/api_priority_and_fairness/dump_queues" => {
            return Ok(respond::text(StatusCode::OK, core.fairness.dump().queues()));
        }
        "/debug/api_priority_and_fairness/dump_requests" => {
            let details = !request.query.get("includeRequestDetails").is_empty();
            let table = core.fairness.dump().requests(details);
            return Ok(respond::text(StatusCode::OK, table));
        }
        "/metrics/slis" => return Ok(slis_page(core)),
        "/statusz" => return zpages::status(&discovery::paths(core, snapshot), request),
        "/flagz" => return zpages::flags(&core.flags, request),
        "/version" => return Ok(indented(version_page())),
        "/" => return Ok(indented(index_page(core, snapshot))),
        _ => {}
    }
    if let Some(answer) = openapi::serve(core, snapshot, path, request).await {
        return answer;
    }
    discovery::serve(core, snapshot, path, request).unwrap_or_else(|| Err(Status::path_not_found()))
}

fn indented(page: Vec<u8>) -> Response<Body> {
    respond::json(StatusCode::OK, Bytes::from(page))
}

/// The fields of the version, in upstream's order.
const VERSION_FIELDS: [&str; 13] = [
    "major",
    "minor",
    "emulationMajor",
    "emulationMinor",
    "minCompatibilityMajor",
    "minCompatibilityMinor",
    "gitVersion",
    "gitCommit",
    "gitTreeState",
    "buildDate",
    "goVersion",
    "compiler",
    "platform",
];

/// Indented whoever asks, as upstream's is: scripts read it line by line.
fn version_page() -> Vec<u8> {
    let version = version();
    let lines = VERSION_FIELDS.map(|field| format!("  \"{field}\": {}", version[field]));
    format!("{{\n{}\n}}", lines.join(",\n")).into_bytes()
}

/// See [`version_page`].
fn index_page(core: &Core, snapshot: &Arc<Snapshot>) -> Vec<u8> {
    let index = json!({"paths": discovery::paths(core, snapshot)});
    serde_json::to_vec_pretty(&index).unwrap_or_default()
}

fn version() -> serde_json::Value {
    json!({
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }),
    })
}

/// What the program is, and what its process uses.
fn own(out: &mut String) {
    let name = "kubernetes_build_info";
    metrics::help(out, name, "gauge", "1, with what the program is as labels.");
    let version = version();
    let labels: Vec<String> = [
        ("major", "major"),
        ("minor", "minor"),
        ("git_version", "gitVersion"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("build_date", "buildDate"),
        ("go_version", "goVersion"),
        ("compiler", "compiler"),
        ("platform", "platform"),
    ]
    .iter()
    .map(|(label, field)| format!("{label}={:?}", version[*field].as_str().unwrap_or_default()))
    .collect();
    metrics::line(out, name, &labels.join(","), 1);
    let own = match Process::own() {
        Ok(own) => own,
        Err(error) => {
            tracing::debug!(%error, "cannot tell what the process uses");
            return;
        }
    };
    let mut one = |name: &str, kind: &str, text: &str, value: &dyn std::fmt::Display| {
        metrics::help(out, name, kind, text);
        metrics::line(out, name, "", value);
    };
    one(
        "process_cpu_seconds_total",
        "counter",
        "CPU time in seconds.",
        &own.cpu_seconds,
    );
    one(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory.",
        &own.resident_bytes,
    );
    one(
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory.",
        &own.virtual_bytes,
    );
    one(
        "process_start_time_seconds",
        "gauge",
        "Start since the epoch.",
        &own.start_seconds,
    );
    one(
        "process_open_fds",
        "gauge",
        "Open file descriptors.",
        &own.open_files,
    );
    one(
        "process_max_fds",
        "gauge",
        "Limit of open file descriptors.",
        &own.max_files,
    );
}

/// `revision` is the store's, where it answers.
fn metrics_page(core: &Core, revision: Option<u64>) -> Response<Body> {
    let mut out = String::with_capacity(16 << 10);
    core.metrics.render(&mut out);
    core.components.append_metrics(&mut out);
    own(&mut out);
    core.registry.transformer.encryption().render(&mut out);
    core.admission.render(&mut out);
    core.fairness.render(&mut out);
    let (reads, writes) = core.limits.in_flight();
    let name = "apiserver_current_inflight_requests";
    metrics::help(&mut out, name, "gauge", "Requests in flight by kind.");
    metrics::line(&mut out, name, "request_kind=\"readOnly\"", reads);
    metrics::line(&mut out, name, "request_kind=\"mutating\"", writes);
    unavailable(core, &mut out);
    let name = "apiserver_resource_objects";
    metrics::help(&mut out, name, "gauge", "Objects in the store by resource.");
    let watchers = "apiserver_registered_watchers";
    let mut seconds = String::new();
    metrics::help(&mut seconds, watchers, "gauge", "Watchers by resource.");
    let mut all = core.registry.cache.resources();
    all.sort_by_cached_key(|r| (r.kind.resource.clone(), r.kind.group.clone()));
    for resource in all {
        let labels = format!(
            "group=\"{}\",resource=\"{}\"",
            resource.kind.group, resource.kind.resource
        );
        metrics::line(&mut out, name, &labels, resource.len());
        metrics::line(&mut seconds, watchers, &labels, resource.watchers());
    }
    out.push_str(&seconds);
    let name = "apiserver_storage_revision";
    metrics::help(
        &mut out,
        name,
        "gauge",
        "Revision of the last durable commit, and of the watch cache.",
    );
    if let Some(revision) = revision {
        metrics::line(&mut out, name, "at=\"store\"", revision);
    }
    metrics::line(
        &mut out,
        name,
        "at=\"cache\"",
        core.registry.cache.published(),
    );
    if let Some(auditor) = &core.auditor {
        audit_metrics(&auditor.counts(), &mut out);
    }
    exposition(out)
}

/// Which APIServices lead nowhere.
fn unavailable(core: &Core, out: &mut String) {
    let name = "aggregator_unavailable_apiservice";
    metrics::help(
        out,
        name,
        "gauge",
        "1 for APIServices that are not available.",
    );
    let services = core.registry.cache.list(GROUP, "apiservices", "");
    for service in services {
        let Ok(service) = serde_json::from_slice(&service.json) else {
            continue;
        };
        let is_available = api_service::is_available(&service);
        let label = format!("name=\"{}\"", object::name(&service));
        metrics::line(out, name, &label, u8::from(!is_available));
    }
}

/// Text in Prometheus' form.
fn exposition(out: String) -> Response<Body> {
    let mut response = respond::text(StatusCode::OK, out);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// How checks of health have gone.
fn slis_page(core: &Core) -> Response<Body> {
    let mut out = String::new();
    core.health.render(&mut out);
    exposition(out)
}

fn audit_metrics(counts: &Counts, out: &mut String) {
    let name = "apiserver_audit_event_total";
    metrics::help(out, name, "counter", "Audit events.");
    metrics::line(out, name, "", counts.events);
    let name = "apiserver_audit_error_total";
    metrics::help(
        out,
        name,
        "counter",
        "Audit events that were lost, by plugin.",
    );
    for (plugin, lost) in &counts.errors {
        metrics::line(out, name, &format!("plugin=\"{plugin}\""), lost);
    }
    let name = "apiserver_audit_level_total";
    metrics::help(out, name, "counter", "Requests by audit level.");
    for (level, requests) in &counts.levels {
        metrics::line(out, name, &format!("level=\"{level}\""), requests);
    }
    let name = "apiserver_audit_requests_rejected_total";
    let text = "Requests that were refused because they could not be audited.";
    metrics::help(out, name, "counter", text);
    metrics::line(out, name, "", counts.rejected);
}
