//! Which statuses may follow each other. They are strict, as a job may be another controller's (`managedBy`); but a rule
//! is about what an update changes, so that a status that is not as it should be can be written on.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{at, bool_at, i64_at, list_at, str_at, struct_at},
    time,
};
use serde_json::Value;

use super::{has_condition, indexes, is_indexed};
use crate::{tree, validate};

const UNCOUNTED: &str = "uncountedTerminatedPods";

/// A job's status, with what the rules ask about it.
struct Status<'a> {
    job: &'a Value,
}

impl<'a> Status<'a> {
    fn is(&self, condition: &str) -> bool {
        has_condition(self.job, condition, "True")
    }

    fn finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn field(&self, field: &str) -> Option<&'a Value> {
        at(self.job, &["status", field]).filter(|value| !value.is_null())
    }

    fn number(&self, field: &str) -> i64 {
        i64_at(self.job, &["status", field]).unwrap_or_default()
    }

    fn ready(&self) -> Option<i64> {
        i64_at(self.job, &["status", "ready"])
    }

    fn text(&self, field: &str) -> &'a str {
        str_at(self.job, &["status", field])
    }

    fn instant(&self, field: &str) -> Option<jiff::Timestamp> {
        time::parse(self.text(field))
    }

    fn shown(&self, field: &str) -> Value {
        self.field(field).cloned().unwrap_or_default()
    }

    fn uncounted(&self) -> usize {
        let list = |end| list_at(self.job, &["status", UNCOUNTED, end]).len();
        list("succeeded") + list("failed")
    }

    fn completions(&self) -> Option<i64> {
        i64_at(self.job, &["spec", "completions"])
    }

    fn indexed(&self) -> bool {
        is_indexed(self.job.get("spec").unwrap_or(&Value::Null))
    }
}

/// An update as the rules see it.
struct Update<'a> {
    new: Status<'a>,
    old: Status<'a>,
    path: Path,
}

impl Update<'_> {
    fn changes(&self, field: &str) -> bool {
        !tree::same(self.new.field(field), self.old.field(field))
    }

    fn changes_number(&self, field: &str) -> bool {
        self.new.number(field) != self.old.number(field)
    }

    fn turns(&self, condition: &str) -> bool {
        self.new.is(condition) != self.old.is(condition)
    }

    fn finishes(&self) -> bool {
        self.new.finished() != self.old.finished()
    }

    /// A refusal for what conditions there are; no value says more than the message.
    fn conditions(&self, wrong: bool, message: &str, errors: &mut ErrorList) {
        if wrong {
            errors.push(Error::invalid_whole(
                &self.path.child("conditions"),
                message,
            ));
        }
    }

    fn invalid(&self, wrong: bool, field: &'static str, message: &str, errors: &mut ErrorList) {
        if wrong {
            let value = self.new.shown(field);
            errors.push(Error::invalid(&self.path.child(field), value, message));
        }
    }
}

pub(super) fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let update = Update {
        new: Status { job: new },
        old: Status { job: old },
        path: Path::new("status"),
    };
    let status = new.get("status").unwrap_or(&Value::Null);
    let counts = ["active", "succeeded", "failed", "ready", "terminating"];
    validate::none_negative(errors, status, &counts, &update.path);
    validate_uncounted(status, &update.path.child(UNCOUNTED), errors);
    validate_completion(&update, errors);
    validate_end(&update, errors);
    validate_indexes(&update, errors);
    validate_counts(&update, errors);
    validate_conditions(&update, errors);
    validate_history(&update, errors);
}

fn validate_uncounted(status: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(uncounted) = struct_at(status, &[UNCOUNTED]) else {
        return;
    };
    let mut seen = HashSet::new();
    for end in ["succeeded", "failed"] {
        for (index, uid) in list_at(uncounted, &[end]).iter().enumerate() {
            let path = path.child(end).index(index);
            let uid = uid.as_str().unwrap_or_default();
            if uid.is_empty() {
                errors.push(Error::invalid(&path, uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(Error::duplicate(&path, uid));
            }
        }
    }
}

/// Complete jobs, and when they were completed.
fn validate_completion(update: &Update<'_>, errors: &mut ErrorList) {
    let new = &update.new;
    let complete = new.is("Complete");
    let completed = new.field("completionTime").is_some();
    let changed = update.turns("Complete");
    update.conditions(
        (changed || update.turns("Failed")) && complete && new.is("Failed"),
        "cannot set Complete=True and Failed=true conditions",
        errors,
    );
    update.conditions(
        (changed || update.turns("FailureTarget")) && complete && new.is("FailureTarget"),
        "cannot set Complete=True and FailureTarget=true conditions",
        errors,
    );
    let changed = changed || update.changes("completionTime");
    update.invalid(
        changed && completed && !complete,
        "completionTime",
        "cannot set completionTime when there is no Complete=True condition",
        errors,
    );
    if changed && !completed && complete {
        errors.push(Error::required(
            &update.path.child("completionTime"),
            "completionTime is required for Complete jobs",
        ));
    }
    let before = matches!(
        (new.instant("startTime"), new.instant("completionTime")),
        (Some(start), Some(end)) if end < start
    );
    update.invalid(
        before && (update.changes("startTime") || update.changes("completionTime")),
        "completionTime",
        "must be equal to or after `startTime`",
        errors,
    );
}

/// What a finished job must have, and must not have any more.
fn validate_end(update: &Update<'_>, errors: &mut ErrorList) {
    let new = &update.new;
    let finished = new.finished();
    update.conditions(
        (update.turns("Failed") || update.changes("failedIndexes"))
            && new.is("Failed")
            && !new.is("FailureTarget"),
        "cannot set Failed=True condition without the FailureTarget=true condition",
        errors,
    );
    update.conditions(
        (update.turns("Complete") || update.turns("SuccessCriteriaMet"))
            && new.is("Complete")
            && !new.is("SuccessCriteriaMet"),
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        errors,
    );
    update.invalid(
        (update.finishes() || update.changes_number("active"))
            && finished
            && new.number("active") > 0,
        "active",
        "active>0 is invalid for finished job",
        errors,
    );
    let never_to_start = bool_at(new.job, &["spec", "suspend"]) && new.completions() == Some(0);
    if (update.finishes() || update.changes("startTime"))
        && !never_to_start
        && finished
        && new.field("startTime").is_none()
    {
        errors.push(Error::required(
            &update.path.child("startTime"),
            "startTime is required for finished job",
        ));
    }
    update.invalid(
        (update.finishes() || update.changes(UNCOUNTED)) && finished && new.uncounted() > 0,
        UNCOUNTED,
        "must be empty for finished job",
        errors,
    );
}

fn validate_indexes(update: &Update<'_>, errors: &mut ErrorList) {
    let new = &update.new;
    let (completed, failed) = (new.text("completedIndexes"), new.text("failedIndexes"));
    let has_failed = new.field("failedIndexes").is_some();
    let per_index = i64_at(new.job, &["spec", "backoffLimitPerIndex"]).is_some();
    let completed_changed = completed != update.old.text("completedIndexes");
    let failed_changed = new.field("failedIndexes") != update.old.field("failedIndexes");
    if let Some(completions) = new.completions() {
        let mut check = |wanted: bool, field: &'static str, text: &str| {
            if wanted && let Err(error) = indexes::count(text, completions) {
                let message = format!("error parsing {field}: {error}");
                errors.push(Error::invalid(&update.path.child(field), text, message));
            }
        };
        check(completed_changed, "completedIndexes", completed);
        check(
            failed_changed && per_index && has_failed,
            "failedIndexes",
            failed,
        );
    }
    update.invalid(
        completed_changed && !completed.is_empty() && !new.indexed(),
        "completedIndexes",
        "cannot set non-empty completedIndexes when non-indexed completion mode",
        errors,
    );
    update.invalid(
        failed_changed && !per_index && has_failed,
        "failedIndexes",
        "cannot set non-null failedIndexes when backoffLimitPerIndex is null",
        errors,
    );
    if (completed_changed || failed_changed)
        && let Some(completions) = new.completions()
        && let Some(index) = indexes::overlap(completed, failed, completions)
    {
        let message = format!("failedIndexes and completedIndexes overlap at index: {index}");
        update.invalid(true, "failedIndexes", &message, errors);
    }
}

fn validate_counts(update: &Update<'_>, errors: &mut ErrorList) {
    let new = &update.new;
    update.invalid(
        (update.finishes() || update.changes_number("terminating"))
            && new.number("terminating") > 0
            && new.finished(),
        "terminating",
        "terminating>0 is invalid for finished job",
        errors,
    );
    update.invalid(
        (update.changes("ready") || update.changes_number("active"))
            // Where nobody says how many are ready, none is compared.
            && new.ready().is_some_and(|ready| ready > new.number("active")),
        "ready",
        "cannot set more ready pods than active",
        errors,
    );
}

fn validate_conditions(update: &Update<'_>, errors: &mut ErrorList) {
    let new = &update.new;
    let met = new.is("SuccessCriteriaMet");
    update.conditions(
        met && new.is("Failed"),
        "cannot set SuccessCriteriaMet=True and Failed=true conditions",
        errors,
    );
    update.conditions(
        met && new.is("FailureTarget"),
        "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        errors,
    );
    let has_policy = struct_at(new.job, &["spec", "successPolicy"]).is_some();
    update.conditions(
        has_policy && !met && new.is("Complete"),
        "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        errors,
    );
}

/// What was once so and must stay so.
fn validate_history(update: &Update<'_>, errors: &mut ErrorList) {
    let (new, old) = (&update.new, &update.old);
    for condition in ["Failed", "Complete", "FailureTarget"] {
        let message = format!("cannot disable the terminal {condition}=True condition");
        update.conditions(old.is(condition) && !new.is(condition), &message, errors);
    }
    let parallelism = i64_at(new.job, &["spec", "parallelism"]);
    // Such a job may shrink.
    let elastic = new.indexed() && new.completions() == parallelism;
    let decreases = |field: &str| new.number(field) < old.number(field);
    let mut decreased = |wrong: bool, field: &'static str| {
        if wrong {
            let message = format!("cannot decrease the {field} counter");
            let path = update.path.child(field);
            errors.push(Error::invalid(&path, new.number(field), message));
        }
    };
    decreased(decreases("failed"), "failed");
    decreased(!elastic && decreases("succeeded"), "succeeded");
    let both = new.field("completionTime").is_some() && old.field("completionTime").is_some();
    update.invalid(
        both && update.changes("completionTime"),
        "completionTime",
        "field is immutable",
        errors,
    );
    let resumed = old.is("Suspended") && has_condition(new.job, "Suspended", "False");
    update.invalid(
        update.changes("startTime")
            && !resumed
            && old.field("startTime").is_some()
            && !bool_at(new.job, &["spec", "suspend"]),
        "startTime",
        "field is immutable for unsuspended job once set",
        errors,
    );
    let (met, was_met) = (new.is("SuccessCriteriaMet"), old.is("SuccessCriteriaMet"));
    update.conditions(
        was_met && !met,
        "cannot disable the SuccessCriteriaMet=True condition",
        errors,
    );
    update.conditions(
        old.is("Complete") && !was_met && met,
        "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
        errors,
    );
}
