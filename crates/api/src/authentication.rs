//! authentication.k8s.io/v1: reviews of who someone is. Nothing is stored; the API server answers them.

use crate::kind::{BuiltIn, CREATE, Scope, Strategy};

struct Review;

impl Strategy for Review {
    /// Reviews have no name.
    fn validate_name(&self, _name: &str, _generate_prefix: bool) -> Vec<String> {
        Vec::new()
    }
}

const fn review(
    kind: &'static str,
    resource: &'static str,
    singular: &'static str,
    definition: &'static str,
) -> BuiltIn {
    BuiltIn {
        group: "authentication.k8s.io",
        version: "v1",
        kind,
        resource,
        singular,
        short_names: &[],
        categories: &[],
        scope: Scope::Cluster,
        verbs: CREATE,
        subresources: &[],
        storage: None,
        definition,
        strategy: &Review,
        aliases: &[],
    }
}

pub static TOKEN_REVIEW: BuiltIn = review(
    "TokenReview",
    "tokenreviews",
    "tokenreview",
    "io.k8s.api.authentication.v1.TokenReview",
);

pub static SELF_SUBJECT_REVIEW: BuiltIn = review(
    "SelfSubjectReview",
    "selfsubjectreviews",
    "selfsubjectreview",
    "io.k8s.api.authentication.v1.SelfSubjectReview",
);
