//! A path and what can be done there, in no dialect yet.

const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// A path and its operations.
pub(super) struct PathItem<'k> {
    pub path: String,
    /// The v3 document that has it (`api/v1`, `apis/apps`, `version`).
    pub document: String,
    pub tag: String,
    /// The kind that the `name` in the path is of.
    pub kind: &'k str,
    pub operations: Vec<Operation<'k>>,
}

/// One HTTP method at a path.
pub(super) struct Operation<'k> {
    pub method: &'static str,
    /// `x-kubernetes-action`; none where no kind is involved.
    pub action: Option<&'static str>,
    pub id: String,
    pub description: String,
    /// Group, version and kind of the body or the answer.
    pub gvk: Option<(&'k str, &'k str, &'k str)>,
    /// Names of query parameters.
    pub query: &'static [&'static str],
    pub body: Option<Body<'k>>,
    /// Media types that are taken; those of a patch say which kind of patch it is.
    pub consumes: &'static [&'static str],
    pub produces: &'static [&'static str],
    /// Definition of the answer; a string where there is none.
    pub response: Option<&'k str>,
    /// Codes of success with that answer.
    pub codes: &'static [u16],
}

/// A request's body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Body<'k> {
    /// An object of this definition.
    Required(&'k str),
    /// DeleteOptions.
    Optional(&'k str),
    Patch,
}

impl<'k> Body<'k> {
    pub(super) fn definition(self) -> &'k str {
        match self {
            Body::Required(name) | Body::Optional(name) => name,
            Body::Patch => PATCH,
        }
    }
}

impl<'k> PathItem<'k> {
    /// The definitions that its operations name.
    pub(super) fn definitions(&self) -> impl Iterator<Item = &'k str> {
        self.operations.iter().flat_map(|operation| {
            operation
                .response
                .into_iter()
                .chain(operation.body.map(Body::definition))
        })
    }
}

/// `/api/v1` or `/apis/GROUP/VERSION`.
pub(super) fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    }
}
