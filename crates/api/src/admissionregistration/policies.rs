//! What the policies that validate and those that mutate have in common.

use knarr_cel::{Composed, Env, Type};
use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use super::{
    FAILURE_POLICIES,
    expressions::{PARAMS, Returns, env, env_with_authorizer},
    match_conditions::{self, check},
    match_resources,
};
use crate::{tree, validate};

/// Names that end so are those of policies in the server's own files.
const STATIC_SUFFIX: &str = ".static.k8s.io";

pub(super) fn default(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        tree::default_value(spec, "failurePolicy", "Fail");
        match_resources::default(spec, "matchConstraints");
    }
}

/// A name that will be refused one day.
pub(super) fn warnings(object: &Value) -> Vec<String> {
    match knarr_meta::object::name(object).ends_with(STATIC_SUFFIX) {
        true => vec![format!(
            "metadata.name: names ending with {STATIC_SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed via the API"
        )],
        false => Vec::new(),
    }
}

/// What the expressions of a policy may use.
pub(super) struct Scope {
    params: bool,
    composed: Option<Composed>,
}

impl Scope {
    /// The environment of an expression that may ask the authorizer.
    pub fn env(&self) -> Env {
        self.extend(env_with_authorizer())
    }

    /// That of one that may not.
    pub fn env_without_authorizer(&self) -> Env {
        self.extend(env())
    }

    fn extend(&self, mut env: Env) -> Env {
        if self.params {
            env = env.with(PARAMS, Type::Dyn);
        }
        match &self.composed {
            Some(composed) => env.with_composed(composed.clone()),
            None => env,
        }
    }
}

/// Validates what stands before the rules of a policy.
///
/// `composes`: whether its expressions may name `variables` though there are none, as those of mutations may upstream.
pub(super) fn validate(
    spec: &Value,
    old: Option<&Value>,
    composes: bool,
    path: &Path,
    errors: &mut ErrorList,
) -> Scope {
    let failure = str_at(spec, &["failurePolicy"]);
    let at = path.child("failurePolicy");
    validate::one_of(errors, &at, failure, FAILURE_POLICIES, true);
    let kind = struct_at(spec, &["paramKind"]);
    if let Some(kind) = kind {
        param_kind(kind, &path.child("paramKind"), errors);
    }
    match_resources::validate_of_policy(spec, path, errors);
    let mut scope = Scope {
        params: kind.is_some(),
        composed: composes.then(Composed::default),
    };
    if !old.is_some_and(|old| same_conditions(spec, old)) {
        match_conditions::validate(spec, scope.params, path, errors);
    }
    variables(spec, &mut scope, path, errors);
    scope
}

/// Whether an update leaves alone what match conditions are judged by: then they are not judged again.
fn same_conditions(new: &Value, old: &Value) -> bool {
    let same = |field| tree::same(new.get(field), old.get(field));
    same("paramKind") && same("matchConditions")
}

fn param_kind(kind: &Value, path: &Path, errors: &mut ErrorList) {
    let version = str_at(kind, &["apiVersion"]);
    let at = path.child("apiVersion");
    let mut parts = version.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        _ if version.is_empty() => errors.push(Error::required(&at, "")),
        (_, _, Some(_)) => {
            let why = format!("unexpected GroupVersion string: {version}");
            errors.push(Error::invalid(&at, version, why));
        }
        (first, second, None) => {
            let (group, only) = match second {
                Some(second) => (first.unwrap_or_default(), second),
                None => ("", first.unwrap_or_default()),
            };
            if !group.is_empty() {
                joined(errors, &at, group, "", names::dns1123_subdomain(group));
            }
            match only {
                "" => errors.push(Error::invalid(&at, version, "version must be specified")),
                only => joined(errors, &at, only, "", names::dns1035_label(only)),
            }
        }
    }
    let name = str_at(kind, &["kind"]);
    let at = path.child("kind");
    match name {
        "" => errors.push(Error::required(&at, "")),
        name => joined(
            errors,
            &at,
            name,
            "may have mixed case, but should otherwise match: ",
            names::dns1035_label(&name.to_lowercase()),
        ),
    }
}

/// One error of all that is wrong with a value.
fn joined(errors: &mut ErrorList, path: &Path, value: &str, before: &str, wrong: Vec<String>) {
    if !wrong.is_empty() {
        let why = format!("{before}{}", wrong.join(","));
        errors.push(Error::invalid(path, value, why));
    }
}

fn variables(spec: &Value, scope: &mut Scope, path: &Path, errors: &mut ErrorList) {
    let declared = list_at(spec, &["variables"]);
    if declared.is_empty() {
        return;
    }
    let mut composed = Composed::default();
    for (index, variable) in declared.iter().enumerate() {
        let path = path.child("variables").index(index);
        let name = str_at(variable, &["name"]);
        if name.trim().is_empty() {
            let why = "name is not specified";
            errors.push(Error::required(&path.child("name"), why));
        } else if !is_identifier(name) {
            let why = "must be a valid CEL identifier";
            errors.push(Error::invalid(&path.child("name"), name, why));
        }
        let source = str_at(variable, &["expression"]);
        let path = path.child("expression");
        if source.trim().is_empty() {
            errors.push(Error::required(&path, "expression is not specified"));
            continue;
        }
        scope.composed = Some(composed.clone());
        let program = check(source, &scope.env(), Returns::Anything, &path, errors);
        composed.add(name, program.as_ref().map(|program| &program.result));
    }
    scope.composed = Some(composed);
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    let starts = chars
        .next()
        .is_some_and(|c| c == '_' || c.is_ascii_alphabetic());
    let goes_on = chars.all(|c| c == '_' || c.is_ascii_alphanumeric());
    starts && goes_on && !knarr_cel::RESERVED.contains(&name)
}

/// The cell of a policy's parameters.
pub(super) fn param_kind_cell(object: &Value) -> Value {
    match struct_at(object, &["spec", "paramKind"]) {
        Some(kind) => {
            let (version, kind) = (str_at(kind, &["apiVersion"]), str_at(kind, &["kind"]));
            format!("{version}/{kind}").into()
        }
        None => "<unset>".into(),
    }
}

/// What a policy is made of, whatever is not there.
pub(super) fn spec(object: &Value) -> Value {
    object
        .get("spec")
        .cloned()
        .unwrap_or_else(|| Map::new().into())
}
