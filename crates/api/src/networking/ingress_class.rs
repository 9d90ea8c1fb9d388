//! IngressClass: who serves the Ingresses that name it.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, str_at, struct_at},
};
use serde_json::Value;

use super::{DEFAULT_CLASS_ANNOTATION, validate_reference};
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "networking.k8s.io",
    version: "v1",
    kind: "IngressClass",
    resource: "ingressclasses",
    singular: "ingressclass",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/ingressclasses"),
    definition: "io.k8s.api.networking.v1.IngressClass",
    strategy: &IngressClass,
    aliases: &[],
};

struct IngressClass;

const MAX_CONTROLLER_CHARS: usize = 250;

const COLUMNS: &[Column] = &[
    NAME,
    column("Controller", "string", "Who serves Ingresses of the class."),
    column("Parameters", "string", "An object with more settings."),
    AGE,
];

impl Strategy for IngressClass {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object::child_mut(object, "spec")
            && spec.get("parameters").is_some_and(Value::is_object)
            && let Some(parameters) = tree::child(spec, "parameters")
        {
            tree::default_value(parameters, "scope", "Cluster");
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        validate_controller(object, &path.child("controller"), &mut errors);
        if let Some(parameters) = struct_at(object, &["spec", "parameters"]) {
            validate_parameters(parameters, &path.child("parameters"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        // One that is not there is an empty text in Go, and shown as such.
        let of = |object| Value::from(str_at(object, &["spec", "controller"]));
        let path = Path::new("spec").child("controller");
        validate::immutable(&mut errors, &path, Some(&of(new)), Some(&of(old)));
        errors.extend(self.validate_create(new));
        errors
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let mut name = object::name(object).to_owned();
        if is_default(object) {
            name += " (default)";
        }
        let parameters = struct_at(object, &["spec", "parameters"]).map(|parameters| {
            let group = match parameters.get("apiGroup").and_then(Value::as_str) {
                Some(group) => format!(".{group}"),
                None => String::new(),
            };
            let (kind, name) = (str_at(parameters, &["kind"]), str_at(parameters, &["name"]));
            format!("{kind}{group}/{name}")
        });
        vec![
            name.into(),
            str_at(object, &["spec", "controller"]).into(),
            table::or(parameters.as_deref().unwrap_or_default(), "<none>"),
            table::age(object, now),
        ]
    }
}

/// Whether Ingresses without a class get this one.
pub fn is_default(class: &Value) -> bool {
    str_at(
        class,
        &["metadata", "annotations", DEFAULT_CLASS_ANNOTATION],
    ) == "true"
}

/// `acme.io/foo`.
fn validate_controller(object: &Value, path: &Path, errors: &mut ErrorList) {
    let controller = str_at(object, &["spec", "controller"]);
    if controller.len() > MAX_CONTROLLER_CHARS {
        errors.push(Error::too_long(path, MAX_CONTROLLER_CHARS));
    }
    if controller.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let (host, rest) = match controller.split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => (host, rest),
        _ => {
            errors.push(Error::invalid(
                path,
                controller,
                "must be a domain-prefixed path (such as \"acme.io/foo\")",
            ));
            return;
        }
    };
    validate::each(errors, path, host, names::dns1123_subdomain(host));
    validate::each(errors, path, rest, names::http_path(rest));
}

fn validate_parameters(parameters: &Value, path: &Path, errors: &mut ErrorList) {
    validate_reference(parameters, path, errors);
    let scope = str_at(parameters, &["scope"]);
    let namespace = parameters.get("namespace").and_then(Value::as_str);
    let place = path.child("namespace");
    match (scope, namespace) {
        ("", _) if parameters.get("scope").is_none_or(Value::is_null) => {
            errors.push(Error::required(&path.child("scope"), ""));
        }
        ("Namespace", None) => errors.push(Error::required(
            &place,
            "`parameters.scope` is set to 'Namespace'",
        )),
        ("Namespace", Some(namespace)) => {
            validate::each(errors, &place, namespace, names::dns1123_label(namespace));
        }
        ("Cluster", Some(_)) => errors.push(Error::forbidden(
            &place,
            "`parameters.scope` is set to 'Cluster'",
        )),
        ("Cluster", None) => {}
        (other, _) => errors.push(Error::not_supported(
            &path.child("scope"),
            other,
            &["Cluster", "Namespace"],
        )),
    }
}
