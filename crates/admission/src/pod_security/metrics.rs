//! What was judged, under upstream's names.

use std::{collections::BTreeMap, fmt::Write};

use parking_lot::Mutex;

use super::policy::{Level, LevelVersion, Version};
use crate::request::{AdmissionRequest, Operation};

/// The release whose policies are known: what is younger counts as one.
const MINOR: u64 = 37;

/// Counters: their labels are few.
#[derive(Debug, Default)]
pub struct Metrics {
    evaluations: Mutex<BTreeMap<String, u64>>,
    exemptions: Mutex<BTreeMap<String, u64>>,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Metrics {
    /// A policy was looked at in a mode.
    pub fn evaluated(
        &self,
        request: &AdmissionRequest<'_>,
        mode: &str,
        asked: LevelVersion,
        allowed: bool,
    ) {
        let version = match asked.version {
            _ if asked.level == Level::Privileged => Version::Latest.to_string(),
            Version::Minor(minor) if minor > MINOR => "future".to_owned(),
            version => version.to_string(),
        };
        let decision = match allowed {
            true => "allow",
            false => "deny",
        };
        let labels = format!(
            "decision=\"{decision}\",mode=\"{mode}\",policy_level=\"{}\",policy_version=\"{version}\",{}",
            asked.level,
            labels(request)
        );
        count(&self.evaluations, labels);
    }

    /// A request was not looked at.
    pub fn exempted(&self, request: &AdmissionRequest<'_>) {
        count(&self.exemptions, labels(request));
    }

    /// Something kept a request from being looked at, or a part of the policy from being read.
    pub fn failed(&self, request: &AdmissionRequest<'_>, fatal: bool) {
        let labels = format!("fatal=\"{fatal}\",{}", labels(request));
        count(&self.errors, labels);
    }

    /// Appends them.
    pub fn render(&self, out: &mut String) {
        for (name, help, counters) in [
            (
                "pod_security_evaluations_total",
                "Policies that were looked at.",
                &self.evaluations,
            ),
            (
                "pod_security_exemptions_total",
                "Requests that were exempt.",
                &self.exemptions,
            ),
            (
                "pod_security_errors_total",
                "What kept policies from being looked at as usual.",
                &self.errors,
            ),
        ] {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for (labels, count) in &*counters.lock() {
                let _ = writeln!(out, "{name}{{{labels}}} {count}");
            }
        }
    }
}

fn count(counters: &Mutex<BTreeMap<String, u64>>, labels: String) {
    let mut counters = counters.lock();
    let count = counters.entry(labels).or_default();
    *count = count.saturating_add(1);
}

fn labels(request: &AdmissionRequest<'_>) -> String {
    let operation = match request.operation {
        Operation::Update => "update",
        _ => "create",
    };
    let resource = match (&*request.kind.group, &*request.kind.resource) {
        ("", "pods") => "pod",
        ("", "namespaces") => "namespace",
        _ => "controller",
    };
    format!(
        "request_operation=\"{operation}\",resource=\"{resource}\",subresource=\"{}\"",
        request.subresource
    )
}
