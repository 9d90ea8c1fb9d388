//! The paths of served kinds and what can be done there, in no dialect yet.

use super::custom::Custom;
use crate::{
    Kind,
    kind::{Scope, Subresource, Verb},
    schema,
};

const LIST_OPTIONS: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
const WRITE_OPTIONS: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH_OPTIONS: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE_OPTIONS: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "orphanDependents",
    "propagationPolicy",
];
const DELETE_COLLECTION_OPTIONS: &[&str] = &[
    "continue",
    "dryRun",
    "fieldSelector",
    "gracePeriodSeconds",
    "labelSelector",
    "limit",
    "orphanDependents",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
];
const LOG_OPTIONS: &[&str] = &[
    "container",
    "follow",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "tailLines",
    "timestamps",
];

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const RESOURCES: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";

/// A path and its operations.
pub(super) struct PathItem<'k> {
    pub path: String,
    pub group: &'k str,
    pub version: &'k str,
    /// The kind in descriptions of the `name` parameter.
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
    /// A patch: its media type says which. Nothing says how lists of custom resources are merged, and clients choose the type
    /// by what is published here.
    Patch { strategic: bool },
}

impl<'k> Body<'k> {
    pub(super) fn definition(self) -> &'k str {
        match self {
            Body::Required(name) | Body::Optional(name) => name,
            Body::Patch { .. } => PATCH,
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

/// The group-versions of these paths, in the order of their prefixes.
pub(super) fn group_versions<'k>(items: &[PathItem<'k>]) -> Vec<(&'k str, &'k str)> {
    let mut all: Vec<_> = items
        .iter()
        .map(|item| (item.group, item.version))
        .collect();
    all.sort_by_key(|(group, version)| prefix(group, version));
    all.dedup();
    all
}

/// Everything served, sorted by path.
pub(super) fn of_kinds<'k, 'l: 'k>(
    kinds: impl Iterator<Item = &'l Kind>,
    custom: &'k Custom,
) -> Vec<PathItem<'k>> {
    let mut items = Vec::new();
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
        }
    }
    for (group, version) in group_versions(&items) {
        items.push(resources(group, version));
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    items
}

/// The list of resources of a group-version.
fn resources<'k>(group: &'k str, version: &'k str) -> PathItem<'k> {
    let operation = Operation {
        method: "get",
        action: None,
        id: format!("get{}APIResources", camel(group, version)),
        description: "get available resources".to_owned(),
        gvk: None,
        query: &[],
        body: None,
        response: Some(RESOURCES),
        codes: &[200],
    };
    PathItem {
        path: format!("{}/", prefix(group, version)),
        group,
        version,
        kind: "",
        operations: vec![operation],
    }
}

/// `CoreV1`, `RbacAuthorizationV1`: group and version in names of operations.
fn camel(group: &str, version: &str) -> String {
    let group = match group.strip_suffix(".k8s.io").unwrap_or(group) {
        "" => "core",
        group => group,
    };
    group.split('.').chain([version]).map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect()
}

/// Method of a connection, and how it is named in operations.
fn connection(verb: Verb) -> Option<(&'static str, &'static str)> {
    match verb {
        Verb::Get => Some(("get", "GET")),
        Verb::Create => Some(("post", "POST")),
        Verb::Update => Some(("put", "PUT")),
        Verb::Patch => Some(("patch", "PATCH")),
        Verb::Delete => Some(("delete", "DELETE")),
        Verb::List | Verb::Watch | Verb::DeleteCollection => None,
    }
}

/// A kind in one group-version.
struct Served<'k> {
    kind: &'k Kind,
    group: &'k str,
    version: &'k str,
    definition: &'k str,
    /// Definition of its lists.
    list: Option<&'k str>,
}

impl<'k> Served<'k> {
    fn push(&self, items: &mut Vec<PathItem<'k>>) {
        let (resource, scope) = (&self.kind.resource, self.kind.scope);
        let prefix = prefix(self.group, self.version);
        let scoped = match scope {
            Scope::Namespaced => format!("{prefix}/namespaces/{{namespace}}/{resource}"),
            Scope::Cluster => format!("{prefix}/{resource}"),
        };
        if scope == Scope::Namespaced && self.serves(Verb::List) {
            let mut list = self.list();
            list.id = format!(
                "list{}{}ForAllNamespaces",
                camel(self.group, self.version),
                self.kind.kind
            );
            self.item(items, format!("{prefix}/{resource}"), vec![list]);
        }
        self.item(items, scoped.clone(), self.collection());
        self.item(items, format!("{scoped}/{{name}}"), self.object());
        for subresource in self.kind.subresources.iter() {
            let path = format!("{scoped}/{{name}}/{}", subresource.name);
            self.item(items, path, self.subresource(subresource));
        }
    }

    fn item(&self, items: &mut Vec<PathItem<'k>>, path: String, operations: Vec<Operation<'k>>) {
        if !operations.is_empty() {
            let (group, version, kind) = self.gvk();
            items.push(PathItem {
                path,
                group,
                version,
                kind,
                operations,
            });
        }
    }

    fn serves(&self, verb: Verb) -> bool {
        self.kind.verbs.contains(&verb)
    }

    fn gvk(&self) -> (&'k str, &'k str, &'k str) {
        (self.group, self.version, &self.kind.kind)
    }

    /// `createCoreV1NamespacedPodEviction`.
    fn id(&self, verb: &str, suffix: &str) -> String {
        let namespaced = if self.kind.scope == Scope::Namespaced {
            "Namespaced"
        } else {
            ""
        };
        format!(
            "{verb}{}{namespaced}{}{suffix}",
            camel(self.group, self.version),
            self.kind.kind
        )
    }

    fn list(&self) -> Operation<'k> {
        Operation {
            method: "get",
            action: Some("list"),
            id: self.id("list", ""),
            description: format!("list or watch objects of kind {}", self.kind.kind),
            gvk: Some(self.gvk()),
            query: LIST_OPTIONS,
            body: None,
            response: self.list,
            codes: &[200],
        }
    }

    fn collection(&self) -> Vec<Operation<'k>> {
        let mut operations = Vec::new();
        if self.serves(Verb::List) {
            operations.push(self.list());
        }
        if self.serves(Verb::Create) {
            operations.push(self.write(
                "post",
                "create",
                "",
                format!("create a {}", self.kind.kind),
                self.gvk(),
            ));
        }
        if self.serves(Verb::DeleteCollection) {
            let namespaced = if self.kind.scope == Scope::Namespaced {
                "Namespaced"
            } else {
                ""
            };
            let group_version = camel(self.group, self.version);
            operations.push(Operation {
                method: "delete",
                action: Some("deletecollection"),
                id: format!(
                    "delete{group_version}Collection{namespaced}{}",
                    self.kind.kind
                ),
                description: format!("delete collection of {}", self.kind.kind),
                gvk: Some(self.gvk()),
                query: DELETE_COLLECTION_OPTIONS,
                body: Some(Body::Optional(DELETE)),
                response: Some(STATUS),
                codes: &[200],
            });
        }
        operations
    }

    fn object(&self) -> Vec<Operation<'k>> {
        let kind = &self.kind.kind;
        let mut operations = Vec::new();
        if self.serves(Verb::Get) {
            operations.push(self.read("", format!("read the specified {kind}"), self.gvk()));
        }
        if self.serves(Verb::Update) {
            operations.push(self.write(
                "put",
                "replace",
                "",
                format!("replace the specified {kind}"),
                self.gvk(),
            ));
        }
        if self.serves(Verb::Delete) {
            operations.push(Operation {
                method: "delete",
                action: Some("delete"),
                id: self.id("delete", ""),
                description: format!("delete a {kind}"),
                gvk: Some(self.gvk()),
                query: DELETE_OPTIONS,
                body: Some(Body::Optional(DELETE)),
                response: Some(STATUS),
                codes: &[200, 202],
            });
        }
        if self.serves(Verb::Patch) {
            operations.push(self.patch(
                "",
                format!("partially update the specified {kind}"),
                self.gvk(),
            ));
        }
        operations
    }

    fn subresource(&self, subresource: &Subresource) -> Vec<Operation<'k>> {
        let name = subresource.name;
        let kind = &self.kind.kind;
        let gvk = subresource.kind.unwrap_or_else(|| self.gvk());
        let suffix = capital(name);
        // Options of a connection are query parameters, and no object.
        let connects = subresource.kind.is_some_and(|(group, version, kind)| {
            schema::definition_of_kind(group, version, kind).is_none()
        });
        let mut operations = Vec::new();
        for verb in subresource.verbs {
            operations.push(match verb {
                _ if connects => match connection(*verb) {
                    Some((method, of)) => self.connect(method, of, name, gvk),
                    None => continue,
                },
                Verb::Get if name == "log" => Operation {
                    query: LOG_OPTIONS,
                    response: None,
                    ..self.read(&suffix, format!("read log of the specified {kind}"), gvk)
                },
                Verb::Get => {
                    self.read(&suffix, format!("read {name} of the specified {kind}"), gvk)
                }
                Verb::Update => self.write(
                    "put",
                    "replace",
                    &suffix,
                    format!("replace {name} of the specified {kind}"),
                    gvk,
                ),
                Verb::Patch => self.patch(
                    &suffix,
                    format!("partially update {name} of the specified {kind}"),
                    gvk,
                ),
                Verb::Create => self.write(
                    "post",
                    "create",
                    &suffix,
                    format!("create {name} of a {kind}"),
                    gvk,
                ),
                _ => continue,
            });
        }
        operations
    }

    /// The definition of a body or an answer of this kind.
    fn definition_of(&self, gvk: (&'k str, &'k str, &'k str)) -> &'k str {
        if gvk == self.gvk() {
            return self.definition;
        }
        schema::definition_of_kind(gvk.0, gvk.1, gvk.2).map_or(STATUS, |definition| definition.name)
    }

    fn read(
        &self,
        suffix: &str,
        description: String,
        gvk: (&'k str, &'k str, &'k str),
    ) -> Operation<'k> {
        Operation {
            method: "get",
            action: Some("get"),
            id: self.id("read", suffix),
            description,
            gvk: Some(gvk),
            query: &[],
            body: None,
            response: Some(self.definition_of(gvk)),
            codes: &[200],
        }
    }

    fn write(
        &self,
        method: &'static str,
        verb: &str,
        suffix: &str,
        description: String,
        gvk: (&'k str, &'k str, &'k str),
    ) -> Operation<'k> {
        let definition = self.definition_of(gvk);
        Operation {
            method,
            action: Some(method),
            id: self.id(verb, suffix),
            description,
            gvk: Some(gvk),
            query: WRITE_OPTIONS,
            body: Some(Body::Required(definition)),
            response: Some(definition),
            codes: if method == "post" {
                &[200, 201, 202]
            } else {
                &[200, 201]
            },
        }
    }

    fn patch(
        &self,
        suffix: &str,
        description: String,
        gvk: (&'k str, &'k str, &'k str),
    ) -> Operation<'k> {
        Operation {
            method: "patch",
            action: Some("patch"),
            id: self.id("patch", suffix),
            description,
            gvk: Some(gvk),
            query: PATCH_OPTIONS,
            body: Some(Body::Patch {
                strategic: self.kind.is_built_in(),
            }),
            response: Some(self.definition_of(gvk)),
            codes: &[200, 201],
        }
    }

    fn connect(
        &self,
        method: &'static str,
        verb: &str,
        name: &str,
        gvk: (&'k str, &'k str, &'k str),
    ) -> Operation<'k> {
        Operation {
            method,
            action: Some("connect"),
            id: self.id(&format!("connect{}", capital(method)), &capital(name)),
            description: format!("connect {verb} requests to {name} of {}", self.kind.kind),
            gvk: Some(gvk),
            query: &[],
            body: None,
            response: None,
            codes: &[200],
        }
    }
}
