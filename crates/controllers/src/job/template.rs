//! The pods a job makes of its template.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodTemplateSpec,
};
use kube::api::ObjectMeta;

use super::facts::{self, FAILURES, FINALIZER, IGNORED_FAILURES, INDEX};
use super::policy::{self, Verdict};
use crate::owners;

/// Tells a container the index of its pod.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// What a prefix of generated names may have (upstream `MaxGeneratedNameLength`).
const PREFIX_BYTES: usize = 58;

/// A pod for an index of an indexed job, or for none. `replaced` is the failed pod of that index whose failures the new one
/// counts on.
pub(crate) fn new_pod(job: &Job, index: Option<i32>, replaced: Option<&Pod>) -> Pod {
    let PodTemplateSpec { metadata, spec } = facts::spec(job).template;
    let meta = metadata.unwrap_or_default();
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let mut finalizers = meta.finalizers.unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    let mut pod = Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: job.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: Some(finalizers),
            owner_references: Some(vec![owners::controller_reference(job)]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    };
    if let Some(index) = index {
        put_index(&mut pod, name, index);
        let spec = facts::spec(job);
        if spec.backoff_limit_per_index.is_some() {
            let annotations = pod.metadata.annotations.get_or_insert_default();
            let (counted, ignored) = replaced.map_or((0, 0), |pod| {
                let (counted, ignored) = facts::failures(pod);
                match policy::judge(&spec, pod) {
                    Verdict::Ignored => (counted, ignored.saturating_add(1)),
                    _ => (counted.saturating_add(1), ignored),
                }
            });
            annotations.insert(FAILURES.to_owned(), counted.to_string());
            if ignored > 0 {
                annotations.insert(IGNORED_FAILURES.to_owned(), ignored.to_string());
            }
        }
    }
    pod
}

fn put_index(pod: &mut Pod, job: &str, index: i32) {
    let insert = |map: &mut Option<BTreeMap<String, String>>| {
        let map = map.get_or_insert_default();
        map.insert(INDEX.to_owned(), index.to_string());
    };
    insert(&mut pod.metadata.annotations);
    insert(&mut pod.metadata.labels);
    pod.metadata.generate_name = Some(prefix(job, index));
    let Some(spec) = &mut pod.spec else { return };
    spec.hostname = Some(format!("{job}-{index}"));
    let init = spec.init_containers.iter_mut().flatten();
    init.chain(&mut spec.containers).for_each(tell_index);
}

fn tell_index(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|v| v.name == INDEX_VARIABLE) {
        return;
    }
    variables.push(EnvVar {
        name: INDEX_VARIABLE.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: format!("metadata.labels['{INDEX}']"),
            }),
            ..EnvVarSource::default()
        }),
    });
}

/// `JOB-INDEX-`, of which the job's name is cut where it is too long.
fn prefix(job: &str, index: i32) -> String {
    let suffix = format!("-{index}-");
    let mut end = job.len().min(PREFIX_BYTES.saturating_sub(suffix.len()));
    while !job.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &job[..end])
}
