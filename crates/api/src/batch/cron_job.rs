//! CronJob.

use jiff::tz::TimeZone;
use knarr_meta::{
    cron::{self, Schedule},
    field::{Error, ErrorList, Path},
    labels::Selector,
    object::{self, at, bool_at, list_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use super::job;
use crate::{
    core::pod_spec,
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column, wide},
    tree, validate,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "batch",
    version: "v1",
    kind: "CronJob",
    resource: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/cronjobs"),
    definition: "io.k8s.api.batch.v1.CronJob",
    strategy: &CronJob,
    aliases: &[],
};

/// A job's name has 63 bytes at most, of which the controller takes 11 for the time.
const MAX_NAME_BYTES: usize = 52;
/// Longest part of a time zone's name, in bytes.
const ZONE_PART_BYTES: usize = 14;

struct CronJob;

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Schedule",
        "string",
        "When jobs are to start, in cron's form.",
    ),
    column("Timezone", "string", "The zone of the schedule."),
    column(
        "Suspend",
        "boolean",
        "Whether jobs are not started for now.",
    ),
    column("Active", "integer", "Jobs that run."),
    column(
        "Last Schedule",
        "string",
        "Time since a job was last started.",
    ),
    AGE,
    wide(
        "Containers",
        "string",
        "Names of the template's containers.",
    ),
    wide("Images", "string", "Images of the template's containers."),
    wide("Selector", "string", "Labels of the template's pods."),
];

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        let Some(spec) = object::child_mut(object, "spec") else {
            return;
        };
        tree::default_str(spec, "concurrencyPolicy", "Allow");
        tree::default_value(spec, "suspend", false);
        tree::default_value(spec, "successfulJobsHistoryLimit", 3);
        tree::default_value(spec, "failedJobsHistoryLimit", 1);
        // The rest of a job's defaults come with each job.
        if let Some(template) = tree::child(spec, "jobTemplate")
            && let Some(job) = tree::child(template, "spec")
        {
            job::default_template(job);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", Map::new());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        if part == Part::Status {
            tree::keep(new, old, "spec");
            return;
        }
        tree::keep(new, old, "status");
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_spec(object, None, &mut errors);
        let name = object::name(object);
        if name.len() > MAX_NAME_BYTES {
            errors.push(Error::invalid(
                &Path::new("metadata").child("name"),
                name,
                format!("must be no more than {MAX_NAME_BYTES} characters"),
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        if part != Part::Status {
            validate_spec(new, Some(old), &mut errors);
        }
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        if old.is_none() {
            warnings::workload_name(object, &mut out);
        }
        let place = ["spec", "jobTemplate", "spec"];
        if let Some(spec) = job::changed(object, old, &place) {
            let path = Path::new("spec").child("jobTemplate").child("spec");
            job::warn_of_spec(spec, &path, &mut out);
        }
        if str_at(object, &["spec", "schedule"]).contains("TZ") {
            out.add(
                "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            );
        }
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let template = at(object, &["spec", "jobTemplate", "spec", "template"]);
        let (containers, images) = pod_spec::names_and_images(template.unwrap_or(&Value::Null));
        let selector = struct_at(object, &["spec", "jobTemplate", "spec", "selector"]);
        let last = match str_at(object, &["status", "lastScheduleTime"]) {
            "" => "<none>".to_owned(),
            time => now.since(time),
        };
        let suspend = match at(object, &["spec", "suspend"]).and_then(Value::as_bool) {
            None => "<unset>",
            Some(true) => "True",
            Some(false) => "False",
        };
        vec![
            table::name(object),
            str_at(object, &["spec", "schedule"]).into(),
            table::or(str_at(object, &["spec", "timeZone"]), "<none>"),
            suspend.into(),
            list_at(object, &["status", "active"]).len().into(),
            last.into(),
            table::age(object, now),
            containers.into(),
            images.into(),
            match selector.map(|selector| Selector::from_value(Some(selector))) {
                None => "<none>".into(),
                Some(Ok(selector)) => table::or(&selector.to_string(), "<none>"),
                Some(Err(_)) => "<error>".into(),
            },
        ]
    }
}

fn validate_spec(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    validate_schedule(spec, old, &path.child("schedule"), errors);
    validate::none_negative(errors, spec, &["startingDeadlineSeconds"], &path);
    let zone = |object: &Value| at(object, &["spec", "timeZone"]).cloned();
    if let Some(Value::String(name)) = zone(object)
        && old.is_none_or(|old| zone(old).as_ref().and_then(Value::as_str) != Some(name.as_str()))
    {
        validate_zone(&name, &path.child("timeZone"), errors);
    }
    validate::one_of(
        errors,
        &path.child("concurrencyPolicy"),
        str_at(spec, &["concurrencyPolicy"]),
        &["Allow", "Forbid", "Replace"],
        true,
    );
    validate_template(spec, &path.child("jobTemplate").child("spec"), errors);
    let limits = ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
    validate::none_negative(errors, spec, &limits, &path);
}

/// A zone has a field of its own; those that named it in the schedule before there was one may go on.
fn validate_schedule(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut ErrorList) {
    let schedule = str_at(spec, &["schedule"]);
    if schedule.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if let Err(error) = Schedule::parse(schedule, TimeZone::UTC) {
        errors.push(Error::invalid(path, schedule, error));
    }
    let had = old.is_some_and(|old| str_at(old, &["spec", "schedule"]).contains("TZ"));
    let zone = spec.get("timeZone").is_some_and(|zone| !zone.is_null());
    let message = match schedule.contains("TZ") {
        true if !had => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        true if zone => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        _ => return,
    };
    errors.push(Error::invalid(path, schedule, message));
}

fn validate_zone(name: &str, path: &Path, errors: &mut ErrorList) {
    let mut invalid = |message: String| errors.push(Error::invalid(path, name, message));
    if name.is_empty() {
        return invalid("timeZone must be nil or non-empty string".to_owned());
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_+".contains(&b);
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.starts_with('-')
            && part.len() <= ZONE_PART_BYTES
            && part.bytes().all(allowed)
    };
    if !name.split('/').all(is_part) {
        return invalid(format!("unknown time zone {name}"));
    }
    if name.eq_ignore_ascii_case("Local") {
        invalid(
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
                .to_owned(),
        );
    }
    if let Err(error) = cron::zone(name) {
        invalid(error);
    }
}

/// A job's spec without a selector: each job gets one of its own.
fn validate_template(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let job = at(spec, &["jobTemplate", "spec"]).unwrap_or(&Value::Null);
    job::validate_spec(job, path, errors);
    if let Some(selector) = struct_at(job, &["selector"]) {
        errors.push(Error::invalid(
            &path.child("selector"),
            selector.clone(),
            "`selector` will be auto-generated",
        ));
    }
    if bool_at(job, &["manualSelector"]) {
        let path = path.child("manualSelector");
        errors.push(Error::not_supported(&path, true, &["nil", "false"]));
    }
}

#[cfg(test)]
mod tests;
