//! Lease.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{i64_at, str_at},
};
use serde_json::Value;

use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    resource: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/leases"),
    definition: "io.k8s.api.coordination.v1.Lease",
    strategy: &Lease,
    aliases: &[],
};

struct Lease;

const COLUMNS: &[Column] = &[
    NAME,
    column("Holder", "string", "Identity of the current holder."),
    AGE,
];

impl Strategy for Lease {
    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        if let Some(seconds) = i64_at(object, &["spec", "leaseDurationSeconds"])
            && seconds <= 0
        {
            errors.push(Error::invalid(
                &path.child("leaseDurationSeconds"),
                seconds,
                "must be greater than 0",
            ));
        }
        let spec = object.get("spec").unwrap_or(&Value::Null);
        validate::none_negative(&mut errors, spec, &["leaseTransitions"], &path);
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, _part: Part) -> ErrorList {
        self.validate_create(new)
    }

    fn create_on_update(&self) -> bool {
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
            str_at(object, &["spec", "holderIdentity"]).into(),
            table::age(object, now),
        ]
    }
}
