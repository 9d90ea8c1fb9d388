//! Policies and bindings as they are asked.

use std::sync::{Arc, OnceLock};

use knarr_meta::{
    labels::Selector,
    object::{self, list_at, str_at, struct_at},
};
use parking_lot::Mutex;
use serde_json::Value;

use super::found::Found;
use crate::matching::Criteria;

/// A policy with the bindings that bring it in force.
#[derive(Debug)]
pub struct Hook<C> {
    pub policy: Arc<Policy<C>>,
    pub bindings: Vec<Arc<Binding>>,
}

/// A policy.
#[derive(Debug)]
pub struct Policy<C> {
    pub name: String,
    pub uid: String,
    pub generation: i64,
    /// Who fails admits: `failurePolicy: Ignore`.
    pub ignores_failure: bool,
    pub criteria: Criteria,
    /// `apiVersion` and `kind` of its parameters.
    pub param_kind: Option<(String, String)>,
    spec: Value,
    compiled: OnceLock<C>,
}

impl<C> Policy<C> {
    pub fn new(policy: &Value) -> Policy<C> {
        let spec = policy.get("spec").cloned().unwrap_or_default();
        let kind = struct_at(&spec, &["paramKind"]);
        Policy {
            name: object::name(policy).to_owned(),
            uid: object::uid(policy).to_owned(),
            generation: object::generation(policy),
            ignores_failure: str_at(&spec, &["failurePolicy"]) == "Ignore",
            criteria: Criteria::of_match_resources(
                spec.get("matchConstraints").unwrap_or(&Value::Null),
            ),
            param_kind: kind.map(|kind| {
                let text = |field| str_at(kind, &[field]).to_owned();
                (text("apiVersion"), text("kind"))
            }),
            spec,
            compiled: OnceLock::new(),
        }
    }

    /// Its expressions, compiled now if it is the first time.
    pub fn compiled(&self, compile: fn(&Value) -> C) -> &C {
        self.compiled.get_or_init(|| compile(&self.spec))
    }
}

/// A binding.
#[derive(Debug)]
pub struct Binding {
    pub name: String,
    pub policy: String,
    /// `None`: for all that the policy is about.
    pub criteria: Option<Criteria>,
    pub param: Option<ParamRef>,
    /// `Deny`, `Warn`, `Audit`; none where a policy mutates.
    pub actions: Vec<String>,
    /// The parameters that it last brought: the next request asks for the same ones.
    pub(super) found: Mutex<Option<Arc<Found>>>,
}

/// Which objects parameterize a policy.
#[derive(Debug)]
pub struct ParamRef {
    pub name: String,
    /// Empty: the request's.
    pub namespace: String,
    /// Where there is no name; an error is why it cannot be read.
    pub selector: Option<Result<Selector, String>>,
    /// Whether requests are refused where there is none.
    pub denies_missing: bool,
}

impl Binding {
    pub fn new(binding: &Value) -> Binding {
        let spec = binding.get("spec").unwrap_or(&Value::Null);
        let actions = list_at(spec, &["validationActions"]).iter();
        let param = struct_at(spec, &["paramRef"]).map(|reference| ParamRef {
            name: str_at(reference, &["name"]).to_owned(),
            namespace: str_at(reference, &["namespace"]).to_owned(),
            selector: struct_at(reference, &["selector"]).map(|selector| {
                Selector::from_value(Some(selector)).map_err(|error| error.to_string())
            }),
            denies_missing: str_at(reference, &["parameterNotFoundAction"]) == "Deny",
        });
        Binding {
            name: object::name(binding).to_owned(),
            policy: str_at(spec, &["policyName"]).to_owned(),
            criteria: struct_at(spec, &["matchResources"]).map(Criteria::of_match_resources),
            param,
            found: Mutex::default(),
            actions: actions
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        }
    }
}
