//! ServiceAccount.

use knarr_meta::{
    field::{ErrorList, Path},
    object::annotation,
};
use serde_json::Value;

use crate::{
    kind::{BuiltIn, CREATE, Column, NOTHING, Part, Scope, Strategy, Subresource, Verb},
    now::Now,
    table::{self, AGE, NAME},
    tree, validate,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "ServiceAccount",
    resource: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[Subresource {
        name: "token",
        kind: Some(("authentication.k8s.io", "v1", "TokenRequest")),
        verbs: CREATE,
        changes: NOTHING,
    }],
    storage: Some("/registry/serviceaccounts"),
    definition: "io.k8s.api.core.v1.ServiceAccount",
    strategy: &ServiceAccount,
    aliases: &[],
};

struct ServiceAccount;

const COLUMNS: &[Column] = &[NAME, AGE];

/// A secret's reference needs its name only; upstream drops the rest.
fn clean_secret_references(object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    for reference in tree::items(map, "secrets") {
        reference.retain(|field, _| field == "name");
    }
}

impl Strategy for ServiceAccount {
    fn prepare_create(&self, object: &mut Value) {
        clean_secret_references(object);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value, _part: Part) {
        clean_secret_references(new);
    }

    fn validate_update(&self, new: &Value, _old: &Value, _part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        validate::finalizers(&mut errors, new);
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";
        if old.is_none_or(|old| annotation(old, MOUNTABLE).is_none()) {
            let metadata = object.get("metadata").unwrap_or(&Value::Null);
            let text = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
            let deprecated = [(MOUNTABLE, text)];
            warnings::annotations(metadata, &deprecated, &Path::new("metadata"), &mut out);
        }
        out.into()
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![table::name(object), table::age(object, now)]
    }
}
