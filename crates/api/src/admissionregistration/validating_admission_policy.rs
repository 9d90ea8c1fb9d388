//! ValidatingAdmissionPolicy.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, list_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use super::{
    GROUP,
    expressions::{Returns, compile},
    match_conditions::check,
    policies::{self, Scope},
};
use crate::{
    json_path::JsonPath,
    kind::{self, BuiltIn, Column, Part, STATUS, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "ValidatingAdmissionPolicy",
    resource: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    short_names: &[],
    categories: &["api-extensions"],
    scope: kind::Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/validatingadmissionpolicies"),
    definition: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
    strategy: &ValidatingAdmissionPolicy,
    aliases: &[],
};

struct ValidatingAdmissionPolicy;

const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
const MAX_AUDIT_ANNOTATIONS: usize = 20;
/// Less than an annotation's value may have: what expressions join is longer than they are.
const MAX_VALUE_EXPRESSION_BYTES: usize = 5 << 10;

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Validations",
        "integer",
        "How many validation rules the policy has.",
    ),
    column(
        "ParamKind",
        "string",
        "The kind of the objects that parameterize the policy.",
    ),
    AGE,
];

impl Strategy for ValidatingAdmissionPolicy {
    fn default(&self, object: &mut Value) {
        policies::default(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", Map::new());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        crate::apps::keep_other_part(new, old, part);
        if part == Part::Status {
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                tree::keep_metadata(new, old, field);
            }
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        validate_policy(object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        match part {
            Part::Main => validate_policy(new, Some(old)),
            _ => validate_status(new),
        }
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<String> {
        policies::warnings(object)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            list_at(object, &["spec", "validations"]).len().into(),
            policies::param_kind_cell(object),
            table::age(object, now),
        ]
    }
}

fn validate_policy(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let spec = policies::spec(object);
    let old = old.map(policies::spec);
    let composes = false;
    let scope = policies::validate(&spec, old.as_ref(), composes, &path, &mut errors);
    let validations = list_at(&spec, &["validations"]);
    let annotations = list_at(&spec, &["auditAnnotations"]);
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.push(Error::required(&path.child("validations"), why));
        errors.push(Error::required(&path.child("auditAnnotations"), why));
        return errors;
    }
    for (index, validation) in validations.iter().enumerate() {
        let path = path.child("validations").index(index);
        validate_validation(validation, &scope, &path, &mut errors);
    }
    let path = path.child("auditAnnotations");
    let are_too_many = annotations.len() > MAX_AUDIT_ANNOTATIONS;
    if are_too_many {
        let why = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
        errors.push(Error::invalid(&path, annotations, why));
    }
    let mut keys = HashSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = path.index(index);
        // Compiling them has a price.
        if !are_too_many {
            validate_annotation(object, annotation, &scope, &path, &mut errors);
        }
        let key = str_at(annotation, &["key"]);
        if !keys.insert(key) {
            errors.push(Error::duplicate(&path.child("key"), key));
        }
    }
    errors
}

fn validate_validation(validation: &Value, scope: &Scope, path: &Path, errors: &mut ErrorList) {
    let field = |name| str_at(validation, &[name]);
    let source = field("expression");
    let at = path.child("expression");
    match source.trim() {
        "" => errors.push(Error::required(&at, "expression is not specified")),
        _ => {
            check(source, &scope.env(), Returns::Bool, &at, errors);
        }
    }
    let source = field("messageExpression");
    let at = path.child("messageExpression");
    if !source.trim().is_empty() {
        let env = scope.env_without_authorizer();
        check(source, &env, Returns::Text, &at, errors);
    } else if !source.is_empty() {
        errors.push(Error::invalid(
            &at,
            source,
            "must be non-empty if specified",
        ));
    }
    let message = field("message");
    let at = path.child("message");
    let trimmed = message.trim();
    if trimmed.is_empty() && !message.is_empty() {
        errors.push(Error::invalid(
            &at,
            message,
            "must be non-empty if specified",
        ));
    } else if trimmed.contains(['\n', '\r']) {
        errors.push(Error::invalid(&at, message, "must not contain line breaks"));
    }
    if let Some(reason) = validation.get("reason").filter(|reason| !reason.is_null())
        && !REASONS.contains(&reason.as_str().unwrap_or_default())
    {
        let at = path.child("reason");
        errors.push(Error::not_supported(&at, reason.clone(), REASONS));
    }
}

fn validate_annotation(
    object: &Value,
    annotation: &Value,
    scope: &Scope,
    path: &Path,
    errors: &mut ErrorList,
) {
    let key = str_at(annotation, &["key"]);
    let at = path.child("key");
    match object::name(object) {
        "" => errors.push(Error::invalid(
            &at,
            key,
            "requires metadata.name be non-empty",
        )),
        name => {
            let full = format!("{name}/{key}");
            validate::each(errors, &at, &full, names::qualified_name(&full));
        }
    }
    let at = path.child("valueExpression");
    let whole = str_at(annotation, &["valueExpression"]);
    match whole.trim() {
        "" => errors.push(Error::required(&at, "valueExpression is not specified")),
        source if source.len() > MAX_VALUE_EXPRESSION_BYTES => {
            let why = format!("must not exceed {MAX_VALUE_EXPRESSION_BYTES} bytes in length");
            errors.push(Error::required(&at, why));
        }
        _ if knarr_cel::is_late() => {
            errors.push(Error::invalid(&at, whole, knarr_cel::NO_TIME));
        }
        source => {
            if let Err(why) = compile(source, &scope.env(), Returns::TextOrNull) {
                errors.push(Error::invalid(&at, whole, why));
            }
        }
    }
}

fn validate_status(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    let warnings = struct_at(object, &["status", "typeChecking"]);
    let warnings = warnings.map_or(&[][..], |checking| {
        list_at(checking, &["expressionWarnings"])
    });
    for (index, warning) in warnings.iter().enumerate() {
        let path = path
            .child("typeChecking")
            .child("expressionWarnings")
            .index(index);
        if str_at(warning, &["warning"]).is_empty() {
            errors.push(Error::required(&path.child("warning"), ""));
        }
        let at = path.child("fieldRef");
        match str_at(warning, &["fieldRef"]).trim() {
            "" => errors.push(Error::required(&at, "")),
            reference => {
                if let Err(why) = JsonPath::parse(reference) {
                    let why = format!("invalid JSONPath: {why}");
                    errors.push(Error::invalid(&at, reference, why));
                }
            }
        }
    }
    let conditions = list_at(object, &["status", "conditions"]);
    validate::conditions(conditions, &path.child("conditions"), &mut errors);
    errors
}

#[cfg(test)]
mod tests;
