//! authorization.k8s.io/v1: reviews of what someone may do. Nothing is stored; the API server answers them.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{at, list_at, namespace, str_at, struct_at},
};
use serde_json::{Value, json};

use crate::kind::{BuiltIn, CREATE, Scope, Strategy};

const fn review(
    kind: &'static str,
    resource: &'static str,
    singular: &'static str,
    scope: Scope,
    definition: &'static str,
    strategy: &'static dyn Strategy,
) -> BuiltIn {
    BuiltIn {
        group: "authorization.k8s.io",
        version: "v1",
        kind,
        resource,
        singular,
        short_names: &[],
        categories: &[],
        scope,
        verbs: CREATE,
        subresources: &[],
        storage: None,
        definition,
        strategy,
        aliases: &[],
    }
}

pub static SUBJECT_ACCESS_REVIEW: BuiltIn = review(
    "SubjectAccessReview",
    "subjectaccessreviews",
    "subjectaccessreview",
    Scope::Cluster,
    "io.k8s.api.authorization.v1.SubjectAccessReview",
    &Access {
        subject: true,
        local: false,
    },
);

pub static LOCAL_SUBJECT_ACCESS_REVIEW: BuiltIn = review(
    "LocalSubjectAccessReview",
    "localsubjectaccessreviews",
    "localsubjectaccessreview",
    Scope::Namespaced,
    "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    &Access {
        subject: true,
        local: true,
    },
);

pub static SELF_SUBJECT_ACCESS_REVIEW: BuiltIn = review(
    "SelfSubjectAccessReview",
    "selfsubjectaccessreviews",
    "selfsubjectaccessreview",
    Scope::Cluster,
    "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    &Access {
        subject: false,
        local: false,
    },
);

pub static SELF_SUBJECT_RULES_REVIEW: BuiltIn = review(
    "SelfSubjectRulesReview",
    "selfsubjectrulesreviews",
    "selfsubjectrulesreview",
    Scope::Cluster,
    "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    &Rules,
);

/// A question about one action.
struct Access {
    /// The spec names a user or groups.
    subject: bool,
    /// The review lives in a namespace and asks about it only.
    local: bool,
}

struct Rules;

impl Strategy for Access {
    fn validate_name(&self, _name: &str, _generate_prefix: bool) -> Vec<String> {
        Vec::new()
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = Path::new("spec");
        let has = |field: &str| struct_at(object, &["spec", field]).is_some();
        let (resource, other) = (has("resourceAttributes"), has("nonResourceAttributes"));
        let attributes = spec.child("resourceAttributes");
        if resource == other {
            // As Go shows its own type.
            let shown = at(object, &["spec", "nonResourceAttributes"]).map_or(
                Value::Null,
                |asked| json!({"Path": str_at(asked, &["path"]), "Verb": str_at(asked, &["verb"])}),
            );
            errors.push(Error::invalid(
                &spec,
                shown,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ));
        }
        if self.subject
            && str_at(object, &["spec", "user"]).is_empty()
            && list_at(object, &["spec", "groups"]).is_empty()
        {
            errors.push(Error::invalid(
                &spec.child("user"),
                "",
                "at least one of user or group must be specified",
            ));
        }
        if self.local {
            let asked = str_at(object, &["spec", "resourceAttributes", "namespace"]);
            if asked != namespace(object) {
                errors.push(Error::invalid(
                    &attributes.child("namespace"),
                    asked,
                    "must match metadata.namespace",
                ));
            }
            if other {
                errors.push(Error::invalid(
                    &spec.child("nonResourceAttributes"),
                    at(object, &["spec", "nonResourceAttributes"])
                        .cloned()
                        .unwrap_or_default(),
                    "disallowed on this kind of request",
                ));
            }
        }
        errors
    }
}

impl Strategy for Rules {
    fn validate_name(&self, _name: &str, _generate_prefix: bool) -> Vec<String> {
        Vec::new()
    }
}
