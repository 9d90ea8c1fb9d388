//! `x-kubernetes-validations`, but for the expressions themselves.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{list_at, str_at},
};
use serde_json::Value;

use crate::{
    Schema,
    field_path::{self, Brackets},
};

const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

pub(super) fn check(props: &Value, path: &Path, errors: &mut ErrorList) {
    let rules = list_at(props, &["x-kubernetes-validations"]);
    let names_field = |rule: &Value| !str_at(rule, &["fieldPath"]).is_empty();
    // Of what is no schema at all nothing can be looked up, which is told elsewhere.
    let declares = rules.iter().any(names_field) && Schema::draft(props).is_ok();
    for (index, rule) in rules.iter().enumerate() {
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
        let field_path = str_at(rule, &["fieldPath"]);
        let path = path.child("fieldPath");
        text_of_path(field_path, &path, errors);
        if declares
            && !field_path.is_empty()
            && field_path::find(field_path, props, Brackets::Allowed).is_err()
        {
            errors.push(Error::invalid(&path, field_path, "must be a valid path"));
        }
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

fn text_of_path(text: &str, path: &Path, errors: &mut ErrorList) {
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
