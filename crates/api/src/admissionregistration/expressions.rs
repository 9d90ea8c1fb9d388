//! The CEL expressions of admission: what they may refer to, and how they are compiled.
//!
//! Variables and types are those of upstream's `apiserver/pkg/admission/plugin/cel/compile.go`. A definition that is written is
//! refused by the same compilation that later evaluates it.

use std::{collections::BTreeMap, sync::LazyLock};

use knarr_cel::{Env, Field, Object, Program, Type, patch};

/// The variables of every expression.
pub const OBJECT: &str = "object";
pub const OLD_OBJECT: &str = "oldObject";
pub const REQUEST: &str = "request";
pub const NAMESPACE: &str = "namespaceObject";
/// Where expressions may ask what the requester may do.
pub const AUTHORIZER: &str = "authorizer";
pub const RESOURCE_CHECK: &str = "authorizer.requestResource";

/// The objects that parameterize a policy.
pub const PARAMS: &str = "params";

/// Units that the expressions of one policy may cost for a request, as upstream's `RuntimeCELCostBudget`.
pub const BUDGET: u64 = 10_000_000;

/// Units that the match conditions of one webhook or policy may cost together, as upstream's
/// `RuntimeCELCostBudgetMatchConditions`.
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;

/// An object type with fields that are named alike in JSON.
fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let fields: BTreeMap<Box<str>, Field> = fields
        .iter()
        .map(|(name, ty)| {
            let json = Box::from(*name);
            let ty = ty.clone();
            (Box::from(*name), Field { json, ty })
        })
        .collect();
    let name = name.to_owned();
    Type::Object(Object { name, fields }.into())
}

/// The type of `request`: an AdmissionRequest without uid and objects.
pub static REQUEST_TYPE: LazyLock<Type> = LazyLock::new(|| {
    let text = || Type::String;
    let kind = object(
        "kubernetes.GroupVersionKind",
        &[("group", text()), ("version", text()), ("kind", text())],
    );
    let resource = object(
        "kubernetes.GroupVersionResource",
        &[("group", text()), ("version", text()), ("resource", text())],
    );
    let user = object(
        "kubernetes.UserInfo",
        &[
            ("username", text()),
            ("uid", text()),
            ("groups", Type::list(text())),
            ("extra", Type::map(text(), Type::list(text()))),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", text()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
});

/// The type of `namespaceObject`, as upstream's without what it leaves out on purpose.
pub static NAMESPACE_TYPE: LazyLock<Type> = LazyLock::new(|| {
    let text = || Type::String;
    let texts = || Type::list(Type::String);
    let map = || Type::map(Type::String, Type::String);
    let spec = object("kubernetes.NamespaceSpec", &[("finalizers", texts())]);
    let condition = object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", text()),
            ("type", text()),
            ("lastTransitionTime", Type::Timestamp),
            ("message", text()),
            ("reason", text()),
        ],
    );
    let status = object(
        "kubernetes.NamespaceStatus",
        &[("conditions", Type::list(condition)), ("phase", text())],
    );
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", map()),
            ("annotations", map()),
            ("UID", text()),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", text()),
            ("finalizers", texts()),
        ],
    );
    object(
        "kubernetes.Namespace",
        &[("metadata", metadata), ("spec", spec), ("status", status)],
    )
});

/// The variables that every expression of admission has.
pub fn env() -> Env {
    Env::default()
        .with(OBJECT, Type::Dyn)
        .with(OLD_OBJECT, Type::Dyn)
        .with(NAMESPACE, NAMESPACE_TYPE.clone())
        .with(REQUEST, REQUEST_TYPE.clone())
}

/// The same, for expressions that may ask an authorizer.
pub fn env_with_authorizer() -> Env {
    env()
        .with(
            AUTHORIZER,
            Type::Opaque("kubernetes.authorization.Authorizer"),
        )
        .with(
            RESOURCE_CHECK,
            Type::Opaque("kubernetes.authorization.ResourceCheck"),
        )
}

/// What an expression must evaluate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    Anything,
    Bool,
    Text,
    TextOrNull,
    /// `Object{...}`
    Object,
    /// `[JSONPatch{...}]`
    Operations,
}

impl Returns {
    fn fits(self, result: &Type) -> bool {
        match self {
            Returns::Anything => true,
            Returns::Bool => matches!(result, Type::Bool),
            Returns::Text => matches!(result, Type::String),
            Returns::TextOrNull => matches!(result, Type::String | Type::Null),
            Returns::Object => patch::is_object(result),
            Returns::Operations => patch::are_operations(result),
        }
    }

    fn told(self) -> &'static str {
        match self {
            Returns::Anything => "any",
            Returns::Bool => "bool",
            Returns::Text => "string",
            Returns::TextOrNull => "one of [string null_type]",
            Returns::Object => "Object",
            Returns::Operations => "list(JSONPatch)",
        }
    }
}

/// Compiles an expression.
///
/// # Errors
/// In upstream's words: `compilation failed: ERROR: ...`, `must evaluate to bool but got string`.
pub fn compile(source: &str, env: &Env, returns: Returns) -> Result<Program, String> {
    let program =
        Program::compile(source, env).map_err(|error| format!("compilation failed: {error}"))?;
    if returns.fits(&program.result) {
        return Ok(program);
    }
    let found = match &program.result {
        Type::Null => "null_type".to_owned(),
        other => other.to_string(),
    };
    Err(format!(
        "must evaluate to {} but got {found}",
        returns.told()
    ))
}

/// Compiles an expression that must be true or false. See [`compile`].
///
/// # Errors
/// As those of [`compile`].
pub fn compile_condition(source: &str, env: &Env) -> Result<Program, String> {
    compile(source, env, Returns::Bool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged_as_upstream_judges_them() {
        let env = env_with_authorizer();
        for source in [
            "object.metadata.name == 'a' && oldObject == null",
            "request.operation in ['CREATE', 'UPDATE'] && !request.dryRun",
            "request.userInfo.groups.exists(g, g == 'system:nodes')",
            "request.kind.group == '' && request.options.fieldManager == 'kubectl'",
            "authorizer.path('/healthz').check('get').allowed()",
            "authorizer.group('apps').resource('deployments').namespace('a').check('create').reason() == ''",
            "authorizer.requestResource.check('delete').allowed()",
            "authorizer.serviceAccount('ns', 'sa').group('').resource('pods').fieldSelector('a=b').check('list').errored()",
            "namespaceObject.metadata.labels['a'] == 'b'",
        ] {
            assert!(compile_condition(source, &env).is_ok(), "{source}");
        }
        for (source, why) in [
            ("object.x", "must evaluate to bool but got dyn"),
            ("'a'", "must evaluate to bool but got string"),
            (
                "request.uid == 'a'",
                "compilation failed: ERROR: <input>:1:8: undefined field 'uid'\n | request.uid == 'a'\n | .......^",
            ),
        ] {
            assert_eq!(compile_condition(source, &env).unwrap_err(), why);
        }
        assert!(compile_condition("authorizer.check('a')", &env).is_err());
        assert!(compile_condition("params.x == 1", &env).is_err());
        assert!(compile_condition("authorizer == authorizer", &super::env()).is_err());
    }
}
