//! What events have to be that come by events.k8s.io/v1, beside what all have to be: upstream's `ValidateEventCreate` and
//! `ValidateEventUpdate`. Who writes core/v1 may leave out and change what he likes.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, i64_at, str_at, struct_at},
    object_meta::{self, validate_standard_finalizers},
};
use serde_json::Value;

use crate::tree::same;

/// What does not change once an event is there, by the names of core/v1 and of errors.
const IMMUTABLE: &[(&str, &str)] = &[
    ("involvedObject", "involvedObject"),
    ("reason", "reason"),
    ("message", "message"),
    ("source", "source"),
    ("firstTimestamp", "firstTimestamp"),
    ("lastTimestamp", "lastTimestamp"),
    ("count", "count"),
    ("type", "type"),
    ("action", "action"),
    ("related", "related"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];
/// Those that are texts: one that is missing is told as an empty one.
const TEXTS: [&str; 6] = [
    "reason",
    "message",
    "type",
    "action",
    "reportingComponent",
    "reportingInstance",
];
/// Digits of a second that count of `eventTime`.
const MICROSECOND_DIGITS: usize = 6;

/// `new` and `old` in the form of core/v1.
pub(super) fn validate(new: &Value, old: Option<&Value>) -> ErrorList {
    let metadata = new.get("metadata").unwrap_or(&Value::Null);
    let path = Path::new("metadata");
    let mut errors = validate_standard_finalizers(metadata, &path);
    if old.is_none() {
        let name = |name: &str, prefix: bool| {
            names::name_or_prefix(name, prefix, names::dns1123_subdomain)
        };
        errors.extend(object_meta::validate_with(metadata, true, name, &path));
    }
    match old {
        None => created(new, &mut errors),
        Some(old) => updated(new, old, &mut errors),
    }
    errors
}

fn created(event: &Value, errors: &mut ErrorList) {
    series(event, errors);
    if str_at(event, &["eventTime"]).is_empty() {
        errors.push(Error::required(&Path::new("eventTime"), ""));
    }
    let kind = str_at(event, &["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        let why = format!("has invalid value: {kind}");
        errors.push(Error::invalid(&Path::new("type"), "", why));
    }
    let source = |field| !str_at(event, &["source", field]).is_empty();
    for (field, is_set) in [
        (
            "firstTimestamp",
            !str_at(event, &["firstTimestamp"]).is_empty(),
        ),
        (
            "lastTimestamp",
            !str_at(event, &["lastTimestamp"]).is_empty(),
        ),
        ("count", i64_at(event, &["count"]).unwrap_or_default() != 0),
        ("source", source("component") || source("host")),
    ] {
        if is_set {
            errors.push(Error::invalid(&Path::new(field), "", "needs to be unset"));
        }
    }
}

fn updated(new: &Value, old: &Value, errors: &mut ErrorList) {
    let field = |event: &Value, name: &str| {
        let given = at(event, &[name]).filter(|value| !value.is_null());
        given.cloned().unwrap_or_else(|| match name {
            name if TEXTS.contains(&name) => Value::from(""),
            "count" => Value::from(0),
            _ => Value::Null,
        })
    };
    if !same(at(new, &["series"]), at(old, &["series"])) {
        series(new, errors);
    }
    for (stored, told) in IMMUTABLE {
        let value = field(new, stored);
        if !same(at(new, &[stored]), at(old, &[stored])) {
            errors.push(Error::invalid(&Path::new(*told), value, IMMUTABLE_MESSAGE));
        }
    }
    let time = |event| micros(str_at(event, &["eventTime"]));
    if time(new) != time(old) {
        let value = field(new, "eventTime");
        errors.push(Error::invalid(
            &Path::new("eventTime"),
            value,
            IMMUTABLE_MESSAGE,
        ));
    }
}

const IMMUTABLE_MESSAGE: &str = "field is immutable";

fn series(event: &Value, errors: &mut ErrorList) {
    let Some(series) = struct_at(event, &["series"]) else {
        return;
    };
    if i64_at(series, &["count"]).unwrap_or_default() < 2 {
        let path = Path::new("series.count");
        errors.push(Error::invalid(&path, "", "should be at least 2"));
    }
    if str_at(series, &["lastObservedTime"]).is_empty() {
        errors.push(Error::required(&Path::new("series.lastObservedTime"), ""));
    }
}

/// A time without what is finer than microseconds, which clients cut off or not.
fn micros(time: &str) -> String {
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    let digits: String = fraction
        .chars()
        .take_while(char::is_ascii_digit)
        .take(MICROSECOND_DIGITS)
        .collect();
    format!(
        "{}.{digits:0<MICROSECOND_DIGITS$}",
        seconds.trim_end_matches('Z')
    )
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn event(more: Value) -> Value {
        let mut event = json!({
            "metadata": {"name": "e", "namespace": "ns"},
            "eventTime": "2026-11-30T10:00:00.123456Z", "type": "Normal", "reason": "R", "action": "A", "message": "m",
            "involvedObject": {"kind": "Pod", "namespace": "ns", "name": "p"},
            "reportingComponent": "x.io/c", "reportingInstance": "i",
        });
        if let (Some(event), Some(more)) = (event.as_object_mut(), more.as_object()) {
            event.extend(more.clone());
        }
        event
    }

    fn check(new: Value, old: Option<Value>, expected: Expect) {
        let errors = validate(&event(new), old.map(event).as_ref());
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        expected.assert_eq(&told.join("\n"));
    }

    #[test]
    fn what_is_created_is_whole_and_has_nothing_of_old() {
        check(json!({}), None, expect![[""]]);
        check(
            json!({"series": {"count": 2, "lastObservedTime": "2026-11-30T10:00:00.000000Z"}}),
            None,
            expect![[""]],
        );
        check(
            json!({
                "metadata": {"name": "E", "namespace": "ns"}, "eventTime": null, "type": "Bogus", "series": {"count": 1},
                "firstTimestamp": "2026-11-30T10:00:00Z", "count": 1, "source": {"host": "h"},
            }),
            None,
            expect![[r#"
                metadata.name: Invalid value: "E": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                series.count: Invalid value: "": should be at least 2
                series.lastObservedTime: Required value
                eventTime: Required value
                type: Invalid value: "": has invalid value: Bogus
                firstTimestamp: Invalid value: "": needs to be unset
                count: Invalid value: "": needs to be unset
                source: Invalid value: "": needs to be unset"#]],
        );
    }

    #[test]
    fn what_goes_is_told_as_the_zero_of_its_type() {
        check(
            json!({"action": null, "message": null}),
            Some(json!({"count": 2, "related": {"kind": "Pod"}})),
            expect![[r#"
                message: Invalid value: "": field is immutable
                count: Invalid value: 0: field is immutable
                action: Invalid value: "": field is immutable
                related: Invalid value: null: field is immutable"#]],
        );
    }

    #[test]
    fn nothing_changes_but_the_series() {
        let series =
            json!({"series": {"count": 3, "lastObservedTime": "2026-11-30T10:00:00.000000Z"}});
        check(series.clone(), Some(json!({})), expect![[""]]);
        check(
            json!({"eventTime": "2026-11-30T10:00:00.123456789Z"}),
            Some(json!({})),
            expect![[""]],
        );
        check(
            json!({"reason": "S", "reportingComponent": "y", "eventTime": "2026-11-30T10:00:00.1Z", "series": {"count": 1}}),
            Some(series),
            expect![[r#"
                series.count: Invalid value: "": should be at least 2
                series.lastObservedTime: Required value
                reason: Invalid value: "S": field is immutable
                reportingController: Invalid value: "y": field is immutable
                eventTime: Invalid value: "2026-11-30T10:00:00.1Z": field is immutable"#]],
        );
    }
}
