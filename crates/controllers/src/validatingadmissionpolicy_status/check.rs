//! The expressions of a policy against the types of the objects that it is about, as upstream's
//! `policy/validating/typechecking.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use knarr_api::admissionregistration::expressions::{
    OBJECT, OLD_OBJECT, PARAMS, env_with_authorizer,
};
use knarr_api::{Kind, schema::expressions::type_of};
use knarr_cel::{Composed, Env, Program, Type};
use knarr_meta::Gvk;
use knarr_meta::object::{list_at, str_at, struct_at};
use knarr_meta::types::split_api_version;
use serde_json::Value;

/// Most types that a policy is checked against.
const MAX_TYPES: usize = 10;

/// What is wrong with an expression.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Warning {
    /// `spec.validations[0].expression`
    pub field: String,
    pub text: String,
}

/// Checks all expressions.
pub(super) fn warnings(policy: &Value, kinds: &[Arc<Kind>]) -> Vec<Warning> {
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    let params = params(spec, kinds);
    let envs: Vec<(String, Env)> = types(spec, kinds)
        .into_iter()
        .map(|(name, ty)| (name, environment(spec, ty, params.as_ref())))
        .collect();
    let mut warnings = Vec::new();
    for (index, validation) in list_at(spec, &["validations"]).iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = str_at(validation, &[field]);
            if source.is_empty() {
                continue;
            }
            let issues = envs.iter().filter_map(|(name, env)| {
                let error = Program::compile(source, env).err()?;
                Some(format!("{name}: {error}\n"))
            });
            let issues: Vec<String> = issues.collect();
            if !issues.is_empty() {
                warnings.push(Warning {
                    field: format!("spec.validations[{index}].{field}"),
                    text: issues.join("\n"),
                });
            }
        }
    }
    warnings
}

/// The types that rules name, by name and in its order. Wildcards name none.
fn types(spec: &Value, kinds: &[Arc<Kind>]) -> BTreeMap<String, Type> {
    let mut types = BTreeMap::new();
    for rule in list_at(spec, &["matchConstraints", "resourceRules"]) {
        let texts = |field| {
            let list = list_at(rule, &[field]).iter().filter_map(Value::as_str);
            list.collect::<Vec<_>>()
        };
        let (groups, versions) = (texts("apiGroups"), texts("apiVersions"));
        if groups
            .iter()
            .chain(&versions)
            .any(|text| text.contains('*'))
        {
            continue;
        }
        let resources = texts("resources");
        let named = |kind: &&Arc<Kind>| {
            groups.contains(&&*kind.group)
                && versions.contains(&&*kind.version)
                && resources.contains(&&*kind.resource)
        };
        for kind in kinds.iter().filter(named) {
            if types.len() >= MAX_TYPES {
                return types;
            }
            if let Some(ty) = type_of(kind) {
                types.insert(kind.gvk().to_string(), ty);
            }
        }
    }
    types
}

/// The type of a policy's parameters, where it has any; dynamic where it is not known.
fn params(spec: &Value, kinds: &[Arc<Kind>]) -> Option<Type> {
    let kind = struct_at(spec, &["paramKind"])?;
    let (group, version) = split_api_version(str_at(kind, &["apiVersion"]));
    let name = str_at(kind, &["kind"]);
    let wanted = Gvk::new(group.to_owned(), version.to_owned(), name.to_owned());
    let found = kinds.iter().find(|kind| kind.gvk() == wanted);
    Some(found.and_then(|kind| type_of(kind)).unwrap_or(Type::Dyn))
}

fn environment(spec: &Value, object: Type, params: Option<&Type>) -> Env {
    let mut env = env_with_authorizer()
        .with(OBJECT, object.clone())
        .with(OLD_OBJECT, object);
    if let Some(params) = params {
        env = env.with(PARAMS, params.clone());
    }
    let mut composed = Composed::default();
    for variable in list_at(spec, &["variables"]) {
        let env = env.clone().with_composed(composed.clone());
        let program = Program::compile(str_at(variable, &["expression"]), &env).ok();
        let ty = program.as_ref().map(|program| &program.result);
        composed.add(str_at(variable, &["name"]), ty);
    }
    env.with_composed(composed)
}
