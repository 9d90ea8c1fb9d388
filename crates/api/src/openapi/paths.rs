//! The paths of served kinds and what can be done there, in no dialect yet.

use std::collections::BTreeSet;

use super::{
    custom::Custom,
    pages,
    served::{self, Served},
};
use crate::{Kind, schema};

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

/// Everything served, sorted by path.
pub(super) fn all<'k, 'l: 'k>(
    kinds: impl Iterator<Item = &'l Kind> + Clone,
    custom: &'k Custom,
) -> Vec<PathItem<'k>> {
    let mut items = of_kinds(kinds.clone(), custom);
    let documents: BTreeSet<String> = kinds.flat_map(pages::documents).collect();
    items.extend(
        documents
            .iter()
            .filter_map(|document| pages::named(document)),
    );
    items.sort_by(|a, b| a.path.cmp(&b.path));
    items
}

/// What serves kinds, sorted by path.
pub(super) fn of_kinds<'k, 'l: 'k>(
    kinds: impl Iterator<Item = &'l Kind>,
    custom: &'k Custom,
) -> Vec<PathItem<'k>> {
    let mut items = Vec::new();
    let mut built_in = BTreeSet::new();
    // What has no schema cannot be described.
    let is_described = |kind: &&Kind| {
        schema::definition(&kind.definition).is_some() || custom.find(&kind.definition).is_some()
    };
    for kind in kinds.filter(is_described) {
        let own = (&*kind.group, &*kind.version, &*kind.definition);
        let aliases = kind
            .aliases
            .iter()
            .map(|alias| (alias.group, alias.version, alias.definition));
        for (group, version, definition) in std::iter::once(own).chain(aliases) {
            let served = Served {
                kind,
                group,
                version,
                definition,
                list: custom.list_of(definition).or_else(|| {
                    let list = schema::definition(&format!("{definition}List"))?;
                    Some(list.definition()?.name)
                }),
            };
            served.push(&mut items);
            if kind.is_built_in() {
                built_in.insert((group, version));
            }
        }
    }
    items.extend(
        built_in
            .into_iter()
            .map(|(group, version)| served::resources(group, version)),
    );
    items.sort_by(|a, b| a.path.cmp(&b.path));
    items
}
