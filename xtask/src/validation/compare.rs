//! How two answers to one request differ, in words that are the same for all requests with the same cause.

use std::{borrow::Cow, collections::BTreeSet, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

use super::{
    client::{Answer, Request},
    wire,
};

/// A value in a difference is shown up to here.
const SHOWN_CHARS: usize = 160;
/// Of an object that has nothing in common with the other, so many differences are told.
const DIFFERENCES: usize = 12;

/// Objects in messages are of Go's types there, and of the API's here; patches and differences are shown otherwise.
const SHOWN_VALUES: &str = "values shown in causes";

/// Upstream's server has ended the connection.
const CLOSED: &str = "closed |";
/// How a patch says in which order a list is to be.
const ELEMENT_ORDER: &str = "$setElementOrder";

/// Every difference; none where the answers are the same. Upstream's is the first.
pub fn answers(theirs: &Answer, ours: &Answer) -> Vec<String> {
    // It panics over few requests, and closes the connection: whatever is said here has nothing to be compared with.
    if theirs.code == 0 && ours.code != 0 {
        return vec![format!("{CLOSED} {}", ours.code)];
    }
    let mut found = Vec::new();
    if theirs.code != ours.code {
        found.push(format!("code {} | {}", theirs.code, ours.code));
    }
    if theirs.format != ours.format {
        found.push(format!("format {} | {}", theirs.format, ours.format));
    }
    if theirs.warnings != ours.warnings {
        let shown = |answer: &Answer| words(&answer.warnings.join("; "));
        found.push(format!("warnings {} | {}", shown(theirs), shown(ours)));
    }
    let (their_status, our_status) = (status(theirs), status(ours));
    match (&their_status, &our_status) {
        (Some(theirs), Some(ours)) => statuses(theirs, ours, &mut found),
        (None, None) if theirs.body.is_null() => match (wire(theirs), wire(ours)) {
            (Some(theirs), Some(ours)) => objects(&theirs, &ours, "protobuf", &mut found),
            (None, None) if theirs.bytes == ours.bytes => {}
            _ => found.push("bytes".to_owned()),
        },
        (None, None) => objects(&theirs.body, &ours.body, "", &mut found),
        // One went well: what the other has against it is the difference.
        (Some(theirs), None) => refusal("-", theirs, &mut found),
        (None, Some(ours)) => refusal("+", ours, &mut found),
    }
    found.truncate(DIFFERENCES);
    found
}

/// The same, where the difference is that upstream's server panics over a directive of strategic patches.
pub fn over_directive(request: &Request, differences: Vec<String>) -> Vec<String> {
    let has_order = String::from_utf8_lossy(&request.body).contains(ELEMENT_ORDER);
    let told = |difference: String| match difference.strip_prefix(CLOSED) {
        Some(code) if has_order => format!("closed over {ELEMENT_ORDER} |{code}"),
        _ => difference,
    };
    differences.into_iter().map(told).collect()
}

/// What an answer in protobuf says.
fn wire(answer: &Answer) -> Option<Value> {
    match answer.format.contains("stream=watch") {
        true => wire::frames(&answer.bytes),
        false => wire::body(&answer.bytes),
    }
}

/// The `Status` that an answer is, in whatever form.
fn status(answer: &Answer) -> Option<Cow<'_, Value>> {
    match answer.body["kind"] == "Status" {
        true => Some(Cow::Borrowed(&answer.body)),
        false => wire::status(&answer.bytes).map(Cow::Owned),
    }
}

fn causes(status: &Value) -> BTreeSet<String> {
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    causes
        .map(|cause| {
            let field = general_path(&text(&cause["field"]));
            let (reason, message) = (text(&cause["reason"]), text(&cause["message"]));
            format!("{field} {reason}: {message}")
        })
        .collect()
}

fn refusal(sign: &str, status: &Value, found: &mut Vec<String>) {
    let causes = causes(status);
    if causes.is_empty() {
        let message = status["message"].as_str().unwrap_or_default();
        found.push(format!("refused {sign} {}", words(message)));
    }
    let causes = causes.iter().map(|cause| without_value(cause));
    found.extend(causes.map(|cause| format!("cause {sign} {}", words(&cause))));
}

fn statuses(theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    let (their_causes, our_causes) = (causes(theirs), causes(ours));
    let before = found.len();
    let differ = their_causes != our_causes;
    let without_values =
        |causes: &BTreeSet<String>| causes.iter().map(|cause| without_value(cause)).collect();
    let (theirs_left, ours_left): (BTreeSet<String>, BTreeSet<String>) =
        (without_values(&their_causes), without_values(&our_causes));
    if differ && theirs_left == ours_left {
        found.push(SHOWN_VALUES.to_owned());
    }
    for (sign, causes, others) in [
        ("-", &theirs_left, &ours_left),
        ("+", &ours_left, &theirs_left),
    ] {
        let alone = causes.difference(others);
        found.extend(alone.map(|cause| format!("cause {sign} {}", words(cause))));
    }
    for field in ["status", "reason"] {
        if theirs[field] != ours[field] {
            found.push(format!("{field} {} | {}", theirs[field], ours[field]));
        }
    }
    // The message is made of the causes where there are some.
    let without_causes = theirs_left.is_empty() && ours_left.is_empty();
    if found.len() == before && without_causes && theirs["message"] != ours["message"] {
        let text = |status: &Value| words(status["message"].as_str().unwrap_or_default());
        found.push(format!("message {} | {}", text(theirs), text(ours)));
    }
    let details = |status: &Value| {
        let mut details = status["details"].clone();
        if let Some(map) = details.as_object_mut() {
            map.remove("causes");
        }
        details
    };
    objects(&details(theirs), &details(ours), "details", found);
}

fn objects(theirs: &Value, ours: &Value, path: &str, found: &mut Vec<String>) {
    if theirs == ours {
        return;
    }
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let inner = match path {
                    "" => name.clone(),
                    _ => format!("{path}.{name}"),
                };
                // Sets of fields have no end of paths.
                if name == "managedFields" && a.get(name) != b.get(name) {
                    let managers = managers(a.get(name), b.get(name));
                    found.push(format!("object {inner}: {managers}"));
                    continue;
                }
                match (a.get(name), b.get(name)) {
                    (Some(x), Some(y)) => objects(x, y, &inner, found),
                    (x, y) => found.push(one_side(&inner, x, y)),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (x, y) in a.iter().zip(b) {
                objects(x, y, &format!("{path}[*]"), found);
            }
        }
        (Value::String(a), Value::String(b)) if is_age(a) && is_age(b) => {}
        (Value::String(a), Value::String(b)) if are_of_one_moment(a, b) => {}
        _ => found.push(one_side(path, Some(theirs), Some(ours))),
    }
    found.dedup();
}

/// The managers whose fields, version or time differ, each with its operation and its part.
fn managers(theirs: Option<&Value>, ours: Option<&Value>) -> String {
    let entries = |list: Option<&Value>| -> Vec<Value> {
        let list = list.and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let (theirs, ours) = (entries(theirs), entries(ours));
    let only_of_one = (theirs.iter().filter(|entry| !ours.contains(entry)))
        .chain(ours.iter().filter(|entry| !theirs.contains(entry)));
    let named = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or("main").to_owned();
        [text("manager"), text("operation"), text("subresource")].join(" ")
    };
    let names: BTreeSet<String> = only_of_one.map(named).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// As tables show how old something is.
fn is_age(text: &str) -> bool {
    static AGE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^(\d+[smhdy])+$").expect("it is a pattern"));
    AGE.is_match(text)
}

/// Two times that each server took from its clock for the same request.
fn are_of_one_moment(a: &str, b: &str) -> bool {
    const APART_SECONDS: u32 = 5;
    let seconds = |text: &str| -> Option<u32> {
        let time = text.split_once('T')?.1.strip_suffix('Z')?;
        let parts: Vec<u32> = time
            .split(':')
            .filter_map(|part| part.parse().ok())
            .collect();
        match parts[..] {
            [hours, minutes, seconds] => Some((hours * 60 + minutes) * 60 + seconds),
            _ => None,
        }
    };
    let of_one_day = a.split('T').next() == b.split('T').next();
    let apart = seconds(a).zip(seconds(b)).map(|(a, b)| a.abs_diff(b));
    of_one_day && apart.is_some_and(|apart| apart <= APART_SECONDS)
}

fn one_side(path: &str, theirs: Option<&Value>, ours: Option<&Value>) -> String {
    let shown = |value: Option<&Value>| match value {
        Some(value) => words(&value.to_string()),
        None => "nothing".to_owned(),
    };
    format!("object {path}: {} | {}", shown(theirs), shown(ours))
}

/// A cause whose message does not show an object, a patch or how two objects differ.
fn without_value(cause: &str) -> String {
    static WHOLE: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r#"(?s)^(patch FieldValueInvalid: Invalid value: )".*": |((?:Invalid|Unsupported|Duplicate) value: )[\[{].*[\]}](?:: |$)"#;
        Regex::new(pattern).expect("it is a pattern")
    });
    let cause = WHOLE.replace(cause, "${1}${2}…: ");
    cause.lines().next().unwrap_or_default().to_owned()
}

/// A field's path without its indices and keys.
fn general_path(path: &str) -> String {
    static INDEX: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\[[^\]]*\]").expect("it is a pattern"));
    INDEX.replace_all(path, "[*]").into_owned()
}

/// A text in which values stand for all values.
fn words(text: &str) -> String {
    static LONG: LazyLock<Regex> = LazyLock::new(|| Regex::new("a{40,}").expect("it is a pattern"));
    let text = LONG.replace_all(text, "a…a");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(code: u16, body: Value) -> Answer {
        Answer {
            code,
            body,
            ..Answer::default()
        }
    }

    fn invalid(causes: &[(&str, &str)]) -> Value {
        let causes: Vec<Value> = causes
            .iter()
            .map(|(field, message)| json!({"field": field, "reason": "FieldValueInvalid", "message": message}))
            .collect();
        json!({"kind": "Status", "reason": "Invalid", "message": "all", "details": {"causes": causes}})
    }

    #[test]
    fn differences_are_told_by_their_cause() {
        let object = |value: Value| json!({"kind": "Pod", "spec": value});
        let cases = [
            (
                answer(201, object(json!({"a": 1}))),
                answer(201, object(json!({"a": 1}))),
                vec![],
            ),
            (
                answer(201, object(json!({"list": [{"a": 1}, {"a": 1}]}))),
                answer(201, object(json!({"list": [{"a": 2}, {"a": 2}]}))),
                vec!["object spec.list[*].a: 1 | 2"],
            ),
            (
                answer(
                    201,
                    object(json!({"at": "2026-12-01T22:38:59Z", "b": "2026-01-01T00:00:00Z"})),
                ),
                answer(
                    201,
                    object(json!({"at": "2026-12-01T22:39:00Z", "b": "2026-01-01T00:01:00Z"})),
                ),
                vec![r#"object spec.b: "2026-01-01T00:00:00Z" | "2026-01-01T00:01:00Z""#],
            ),
            (
                answer(201, object(json!({"a": null}))),
                answer(201, object(json!({}))),
                vec!["object spec.a: null | nothing"],
            ),
            (
                answer(422, invalid(&[("spec.a[0]", "bad"), ("spec.b", "bad")])),
                answer(422, invalid(&[("spec.b", "bad"), ("spec.c[key]", "bad")])),
                vec![
                    "cause - spec.a[*] FieldValueInvalid: bad",
                    "cause + spec.c[*] FieldValueInvalid: bad",
                ],
            ),
            (
                answer(0, Value::Null),
                answer(422, invalid(&[("spec.a", "bad")])),
                vec!["closed | 422"],
            ),
            (
                answer(422, invalid(&[("spec.a", "bad")])),
                answer(201, object(json!({}))),
                vec!["code 422 | 201", "cause - spec.a FieldValueInvalid: bad"],
            ),
        ];
        for (theirs, ours, wanted) in cases {
            assert_eq!(answers(&theirs, &ours), wanted);
        }
    }

    #[test]
    fn managers_are_told_and_not_their_fields() {
        let managed = |applied: &str, updated: &str| {
            let entry = |manager: &str, operation: &str, field: &str| json!({"manager": manager, "operation": operation, "fieldsV1": {field: {}}});
            let mut status = entry("b", "Update", updated);
            status["subresource"] = json!("status");
            let entries = json!([entry("a", "Apply", applied), status]);
            answer(200, json!({"metadata": {"managedFields": entries}}))
        };
        for (ours, wanted) in [
            (managed("x", "y"), vec![]),
            (managed("x", "z"), vec!["b Update status"]),
            (managed("z", "z"), vec!["a Apply main, b Update status"]),
        ] {
            let wanted: Vec<String> = wanted
                .into_iter()
                .map(|managers| format!("object metadata.managedFields: {managers}"))
                .collect();
            assert_eq!(answers(&managed("x", "y"), &ours), wanted);
        }
    }

    #[test]
    fn a_panic_over_an_order_is_told_from_others() {
        let closed = answers(&answer(0, Value::Null), &answer(200, json!({})));
        let request = |body: &str| Request::default().body("a", body);
        let other = over_directive(&request("{}"), closed.clone());
        assert_eq!(other, ["closed | 200"]);
        let told = over_directive(&request(r#"{"$setElementOrder/a": []}"#), closed);
        assert_eq!(told, ["closed over $setElementOrder | 200"]);
    }

    #[test]
    fn objects_in_messages_are_told_once() {
        let cases = [
            (
                answer(
                    422,
                    invalid(&[("a", "Invalid value: {\"Spec\":1}: bad\n-1")]),
                ),
                answer(422, invalid(&[("a", "Invalid value: {\"spec\":1}: bad")])),
            ),
            (
                answer(
                    422,
                    invalid(&[("a", "Unsupported value: {\"Type\":1}: bad")]),
                ),
                answer(
                    422,
                    invalid(&[("a", "Unsupported value: {\"type\":1}: bad")]),
                ),
            ),
            (
                answer(
                    422,
                    invalid(&[
                        ("a", "Duplicate value: {\"Key\":1}"),
                        ("b", "Invalid value: {\"A\":1,\"B\":2}"),
                    ]),
                ),
                answer(
                    422,
                    invalid(&[
                        ("a", "Duplicate value: {\"key\":1}"),
                        ("b", "Invalid value: {\"B\":2,\"A\":1}"),
                    ]),
                ),
            ),
        ];
        for (theirs, ours) in cases {
            assert_eq!(answers(&theirs, &ours), vec![SHOWN_VALUES]);
        }
    }
}
