//! What the expressions of a policy see of a request, and what they may cost.

use std::sync::Arc;

use knarr_api::admissionregistration::expressions::{
    AUTHORIZER, PARAMS, RESOURCE_CHECK, Returns, compile, env, env_with_authorizer,
};
use knarr_auth::request::Authorizer;
use knarr_cel::{Composed, Composition, Env, Error, Program, Type, Val};
use knarr_meta::{
    object::{list_at, str_at},
    status::Status,
};
use serde_json::Value;

use crate::{
    matching::{Activation, Conditions, Matched, Namespace, request_value},
    request::AdmissionRequest,
};

static NULL: Value = Value::Null;

/// An expression of a policy, or why there is none: another release of this program may have accepted it.
#[derive(Debug)]
pub struct Expression {
    pub source: String,
    pub program: Result<Program, String>,
}

/// What the expressions of a policy have in common.
#[derive(Debug)]
pub struct Compiled {
    pub conditions: Conditions,
    variables: Vec<(String, Result<Program, String>)>,
    has_params: bool,
    composed: Composed,
}

impl Compiled {
    /// Compiles match conditions and variables.
    pub fn new(spec: &Value) -> Compiled {
        let has_params = knarr_meta::object::struct_at(spec, &["paramKind"]).is_some();
        let mut compiled = Compiled {
            conditions: Conditions::new(spec, &with_params(env_with_authorizer(), has_params)),
            variables: Vec::new(),
            has_params,
            composed: Composed::default(),
        };
        for variable in list_at(spec, &["variables"]) {
            let name = str_at(variable, &["name"]).to_owned();
            let source = str_at(variable, &["expression"]);
            let program = compile(source, &compiled.env(), Returns::Anything);
            let ty = program.as_ref().ok().map(|program| &program.result);
            compiled.composed.add(&name, ty);
            compiled.variables.push((name, program));
        }
        compiled
    }

    /// The environment of expressions that may ask the authorizer.
    pub fn env(&self) -> Env {
        with_params(env_with_authorizer(), self.has_params).with_composed(self.composed.clone())
    }

    /// That of expressions that may not.
    pub fn env_without_authorizer(&self) -> Env {
        with_params(env(), self.has_params).with_composed(self.composed.clone())
    }
}

impl Expression {
    pub fn new(source: &str, env: &Env, returns: Returns) -> Expression {
        Expression {
            source: source.to_owned(),
            program: compile(source.trim(), env, returns),
        }
    }
}

fn with_params(env: Env, has_params: bool) -> Env {
    match has_params {
        true => env.with(PARAMS, Type::Dyn),
        false => env,
    }
}

/// The values of a request that are the same for all policies that judge the same version of it.
#[derive(Debug)]
pub struct Subject {
    request: Value,
    old: Value,
    /// Null where the request is in none.
    namespace: Value,
}

impl Subject {
    /// `old`: the stored object in the version that matched.
    ///
    /// # Errors
    /// 404 where the request's namespace is not there.
    pub fn new(
        request: &AdmissionRequest<'_>,
        matched: &Matched,
        old: Value,
        namespace: &Namespace<'_>,
    ) -> Result<Subject, Status> {
        // A namespace is in none here, although its requests have one.
        let namespace = match crate::is(request, "", "namespaces") {
            true => None,
            false => namespace.of(request)?.cloned(),
        };
        Ok(Subject {
            request: request_value(request, matched),
            old,
            namespace: namespace.map(exposed).unwrap_or_default(),
        })
    }
}

/// The namespace without what upstream does not show of it.
fn exposed(mut namespace: Value) -> Value {
    if let Some(metadata) = knarr_meta::object::metadata_mut(&mut namespace) {
        metadata.remove("managedFields");
        metadata.remove("ownerReferences");
    }
    namespace
}

/// A request with its object as it is now, and a parameter.
pub struct Input<'a> {
    compiled: &'a Compiled,
    activation: Activation<'a>,
    param: Option<&'a Value>,
}

impl<'a> Input<'a> {
    pub fn new(
        compiled: &'a Compiled,
        request: &AdmissionRequest<'_>,
        subject: &'a Subject,
        object: Option<&'a Value>,
        param: Option<&'a Value>,
        authorizer: &Arc<dyn Authorizer>,
    ) -> Input<'a> {
        let object = object.unwrap_or(&NULL);
        Input {
            compiled,
            activation: Activation::new(
                request,
                &subject.request,
                object,
                &subject.old,
                &subject.namespace,
                authorizer,
            ),
            param,
        }
    }

    /// The variables that are not composed.
    pub fn bindings(&self) -> Vec<(&str, Val<'_>)> {
        let mut bindings = self.activation.bindings();
        if self.compiled.has_params {
            bindings.push((PARAMS, Val::json(self.param.unwrap_or(&NULL))));
        }
        bindings
    }

    /// All variables, for expressions that share what they look at.
    pub fn compose(&self, authorizer: bool) -> Composition<'_> {
        let mut bindings = self.bindings();
        bindings.retain(|(name, _)| authorizer || !matches!(*name, AUTHORIZER | RESOURCE_CHECK));
        let mut composition = Composition::new(bindings);
        for (name, program) in &self.compiled.variables {
            composition.add(name, program.as_ref().map_err(String::as_str));
        }
        composition
    }
}

/// How upstream tells the error of an expression.
pub fn told(expression: &Expression, error: &Error) -> String {
    let source = &expression.source;
    format!("expression '{source}' resulted in error: {error}")
}
