//! Job.

mod indexes;
mod policies;
mod selector;
mod spec;
mod status;
mod update;

use knarr_meta::{
    field::{ErrorList, Path},
    labels::Selector,
    object::{self, at, i64_at, list_at, map_at, str_at, struct_at},
    time,
};
use serde_json::{Map, Value};

pub(super) use spec::{validate as validate_spec, warn as warn_of_spec};

use crate::{
    core::pod_spec,
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Text, Verb, text},
    now::{Now, human_duration},
    table::{self, AGE, NAME, column, wide},
    tree,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "batch",
    version: "v1",
    kind: "Job",
    resource: "jobs",
    singular: "job",
    short_names: &[],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/jobs"),
    definition: "io.k8s.api.batch.v1.Job",
    strategy: &Job,
    aliases: &[],
};

/// Pods that may fail before the job does, by default.
const BACKOFF_LIMIT: i64 = 6;
const INDEXED: &str = "Indexed";
const NON_INDEXED: &str = "NonIndexed";

struct Job;

const COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string", "What the job has come to."),
    column(
        "Completions",
        "string",
        "Pods that succeeded of those that must.",
    ),
    column("Duration", "string", "Time that the job took or has taken."),
    AGE,
    wide(
        "Containers",
        "string",
        "Names of the template's containers.",
    ),
    wide("Images", "string", "Images of the template's containers."),
    wide("Selector", "string", "Labels of the job's pods."),
];

impl Strategy for Job {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object::child_mut(object, "spec") {
            default_spec(spec);
            tree::default_value(spec, "manualSelector", false);
        }
    }

    /// Upstream's labels and its template's are one map once they have their defaults, so that what is generated into one is in both:
    /// they are taken when the template has all of its own.
    fn foresee(&self, object: &Value) -> Option<Value> {
        let mut seen = object.clone();
        take_labels_of_template(&mut seen);
        (seen != *object).then_some(seen)
    }

    fn prepare_create(&self, object: &mut Value) {
        let template = ["spec", "template", "metadata", "labels"];
        let has_labels = map_at(object, &template).is_some_and(|labels| !labels.is_empty());
        selector::generate(object);
        // The two are one map where the template has one; else the job has none yet.
        if has_labels {
            take_labels_of_template(object);
        }
        tree::set(object, "status", Map::new());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        if part == Part::Status {
            tree::keep(new, old, "spec");
            return;
        }
        take_labels_of_template(new);
        tree::keep(new, old, "status");
    }

    fn settle(&self, object: &mut Value) {
        take_labels_of_template(object);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        selector::validate_generated(object, &mut errors);
        spec::validate_with_selector(object, &mut errors);
        spec::validate_name_for_indexes(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        if part == Part::Status {
            status::validate_update(new, old, &mut errors);
        } else {
            spec::validate_with_selector(new, &mut errors);
            update::validate(new, old, &mut errors);
            spec::validate_name_for_indexes(new, &mut errors);
        }
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        if old.is_none() {
            warnings::workload_name(object, &mut out);
        }
        if let Some(spec) = changed(object, old, &["spec"]) {
            spec::warn(spec, &Path::new("spec"), &mut out);
        }
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> &[Text] {
        const FIELDS: &[Text] = &[text("status.successful")];
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        let succeeded = i64_at(object, &["status", "succeeded"]).unwrap_or_default();
        vec![succeeded.to_string()]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let template = at(object, &["spec", "template"]).unwrap_or(&Value::Null);
        let (containers, images) = pod_spec::names_and_images(template);
        let selector = Selector::from_value(struct_at(object, &["spec", "selector"]));
        vec![
            table::name(object),
            summary(object).into(),
            completions(object).into(),
            duration(object, now).into(),
            table::age(object, now),
            containers.into(),
            images.into(),
            match selector {
                Ok(selector) => table::or(&selector.to_string(), "<none>"),
                Err(_) => "<error>".into(),
            },
        ]
    }
}

/// Defaults of a job's spec but for its selector.
fn default_spec(spec: &mut Map<String, Value>) {
    let absent =
        |spec: &Map<String, Value>, field: &str| spec.get(field).is_none_or(Value::is_null);
    if absent(spec, "completions") && absent(spec, "parallelism") {
        tree::default_value(spec, "completions", 1);
    }
    tree::default_value(spec, "parallelism", 1);
    let limit = if absent(spec, "backoffLimitPerIndex") {
        BACKOFF_LIMIT
    } else {
        i64::from(i32::MAX)
    };
    tree::default_value(spec, "backoffLimit", limit);
    tree::default_value(spec, "completionMode", NON_INDEXED);
    tree::default_value(spec, "suspend", false);
    let replace = if absent(spec, "podFailurePolicy") {
        "TerminatingOrFailed"
    } else {
        "Failed"
    };
    tree::default_value(spec, "podReplacementPolicy", replace);
    default_template(spec);
}

/// Defaults of a job's spec that stand in templates of jobs too: those of its pods, and of what says how they may fail.
pub(super) fn default_template(spec: &mut Map<String, Value>) {
    if let Some(policy) = tree::existing(spec, "podFailurePolicy") {
        for rule in tree::items(policy, "rules") {
            for pattern in tree::items(rule, "onPodConditions") {
                tree::default_str(pattern, "status", "True");
            }
        }
    }
    if let Some(template) = tree::child(spec, "template")
        && let Some(pod) = tree::child(template, "spec")
    {
        pod_spec::default_pod_spec(pod);
    }
}

/// The spec at `path`, where the object is new or its generation has changed.
pub(super) fn changed<'v>(
    object: &'v Value,
    old: Option<&Value>,
    path: &[&str],
) -> Option<&'v Value> {
    let kept = old.is_some_and(|old| object::generation(old) == object::generation(object));
    struct_at(object, path).filter(|_| !kept)
}

/// Whether each of the spec's pods has an index of its own.
fn is_indexed(spec: &Value) -> bool {
    str_at(spec, &["completionMode"]) == INDEXED
}

/// Whether a condition of this type is there, with this status.
fn has_condition(job: &Value, type_: &str, status: &str) -> bool {
    list_at(job, &["status", "conditions"])
        .iter()
        .any(|c| str_at(c, &["type"]) == type_ && str_at(c, &["status"]) == status)
}

fn summary(job: &Value) -> &'static str {
    let is = |type_| has_condition(job, type_, "True");
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if object::deletion_timestamp(job).is_some() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

/// Gives a job without labels those of its pods.
fn take_labels_of_template(job: &mut Value) {
    let labels = map_at(job, &["spec", "template", "metadata", "labels"]).cloned();
    if let Some(labels) = labels
        && map_at(job, &["metadata", "labels"]).is_none_or(Map::is_empty)
        && let Some(meta) = object::metadata_mut(job)
    {
        meta.insert("labels".to_owned(), labels.into());
    }
}

fn completions(job: &Value) -> String {
    let succeeded = i64_at(job, &["status", "succeeded"]).unwrap_or_default();
    if let Some(completions) = i64_at(job, &["spec", "completions"]) {
        return format!("{succeeded}/{completions}");
    }
    match i64_at(job, &["spec", "parallelism"]).unwrap_or_default() {
        parallelism @ 2.. => format!("{succeeded}/1 of {parallelism}"),
        _ => format!("{succeeded}/1"),
    }
}

fn duration(job: &Value, now: &Now) -> String {
    let instant = |field| time::parse_unix_seconds(str_at(job, &["status", field]));
    match (instant("startTime"), instant("completionTime")) {
        (None, _) => String::new(),
        (Some(start), Some(end)) => human_duration(end.saturating_sub(start)),
        (Some(start), None) => now.since_seconds(start),
    }
}
