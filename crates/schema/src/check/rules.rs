//! `x-kubernetes-validations`, but for the expressions themselves.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{list_at, str_at},
};
use serde_json::Value;

const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

pub(super) fn check(props: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, rule) in list_at(props, &["x-kubernetes-validations"])
        .iter()
        .enumerate()
    {
        let path = path.child("x-kubernetes-validations").index(index);
        texts(rule, &path, errors);
        let reason = str_at(rule, &["reason"]);
        if rule.get("reason").is_some() && !REASONS.contains(&reason) {
            errors.push(Error::not_supported(
                &path.child("reason"),
                reason,
                &REASONS,
            ));
        }
        field_path(rule, &path.child("fieldPath"), errors);
    }
}

fn texts(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let text = |field: &str| str_at(rule, &[field]);
    let (expression, message) = (text("rule").trim(), text("message").trim());
    let message_path = path.child("message");
    if expression.is_empty() {
        errors.push(Error::required(
            &path.child("rule"),
            "rule is not specified",
        ));
    } else if !text("message").is_empty() && message.is_empty() {
        let why = "must be non-empty if specified";
        errors.push(Error::invalid(&message_path, text("message"), why));
    } else if has_line_break(message) {
        let why = "must not contain line breaks";
        errors.push(Error::invalid(&message_path, text("message"), why));
    } else if has_line_break(expression) && message.is_empty() {
        let why = "message must be specified if rule contains line breaks";
        errors.push(Error::required(&message_path, why));
    }
    let message_expression = text("messageExpression");
    if !message_expression.is_empty() && message_expression.trim().is_empty() {
        let why = "messageExpression must be non-empty if specified";
        errors.push(Error::required(&path.child("messageExpression"), why));
    }
}

fn field_path(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let text = str_at(rule, &["fieldPath"]);
    if !text.is_empty() && text.trim().is_empty() {
        errors.push(Error::invalid(path, text, "must be non-empty if specified"));
    }
    if has_line_break(text) {
        errors.push(Error::invalid(path, text, "must not contain line breaks"));
    }
}

fn has_line_break(text: &str) -> bool {
    text.contains(['\n', '\r'])
}
