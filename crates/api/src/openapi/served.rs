//! What can be done with a kind in one of its group-versions, as upstream's installer of routes lays it out
//! (`k8s.io/apiserver/pkg/endpoints/installer.go`).

use super::{
    item::{self, Body, Operation, PathItem},
    names, parameters,
};
use crate::{
    Kind,
    kind::{Scope, Subresource, Verb},
    schema, verb,
};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const RESOURCES: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";
const EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";

/// Media types of objects.
pub(super) const OBJECTS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const STREAMS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const LOGS: &[&str] = &[
    "text/plain",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const ANYTHING: &[&str] = &["*/*"];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
/// Of kinds that were declared at run time. Nothing says how their lists are merged, and clients choose the type of a patch by what
/// is published here.
const CUSTOM: &[&str] = &["application/json", "application/yaml"];
const CUSTOM_PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];

/// The list of resources of a group-version.
pub(super) fn resources(group: &str, version: &str) -> PathItem<'static> {
    let operation = Operation {
        method: "get",
        action: None,
        id: format!("get{}APIResources", names::group_version(group, version)),
        description: "get available resources".to_owned(),
        gvk: None,
        query: &[],
        body: None,
        consumes: OBJECTS,
        produces: OBJECTS,
        response: Some(RESOURCES),
        codes: &[200],
    };
    let prefix = item::prefix(group, version);
    PathItem {
        document: prefix.trim_start_matches('/').to_owned(),
        path: format!("{prefix}/"),
        tag: format!("{}_{version}", names::tag(group)),
        kind: "",
        operations: vec![operation],
    }
}

/// Methods of a connection: its verbs, and what has no verb but goes through a proxy as well.
fn connections(subresource: &Subresource) -> impl Iterator<Item = &'static str> {
    let proxied = ["head", "options"];
    let more = match subresource.name {
        "proxy" => &proxied[..],
        _ => &[],
    };
    let verbs = subresource.verbs.iter().filter_map(|verb| match verb {
        Verb::Get => Some("get"),
        Verb::Create => Some("post"),
        Verb::Update => Some("put"),
        Verb::Patch => Some("patch"),
        Verb::Delete => Some("delete"),
        Verb::List | Verb::Watch | Verb::DeleteCollection => None,
    });
    verbs.chain(more.to_vec())
}

type Gvk<'k> = (&'k str, &'k str, &'k str);

/// A kind in one group-version.
pub(super) struct Served<'k> {
    pub kind: &'k Kind,
    pub group: &'k str,
    pub version: &'k str,
    pub definition: &'k str,
    /// Definition of its lists.
    pub list: Option<&'k str>,
}

impl<'k> Served<'k> {
    pub(super) fn push(&self, items: &mut Vec<PathItem<'k>>) {
        let resource = &self.kind.resource;
        let prefix = item::prefix(self.group, self.version);
        let place = match self.kind.scope {
            Scope::Namespaced => "/namespaces/{namespace}",
            Scope::Cluster => "",
        };
        let scoped = format!("{prefix}{place}/{resource}");
        if !place.is_empty() && self.serves(Verb::List) {
            let mut list = self.list();
            list.id = self.id_of_all("list", "");
            self.item(items, format!("{prefix}/{resource}"), vec![list]);
        }
        self.item(items, scoped.clone(), self.collection());
        self.item(items, format!("{scoped}/{{name}}"), self.object());
        if self.serves(Verb::Watch) && self.kind.is_built_in() {
            self.push_watches(items, &prefix, place);
        }
        for subresource in self.kind.subresources.iter() {
            self.push_subresource(items, &scoped, subresource);
        }
    }

    /// The old form of watches.
    fn push_watches(&self, items: &mut Vec<PathItem<'k>>, prefix: &str, place: &str) {
        let resource = &self.kind.resource;
        let scoped = format!("{prefix}/watch{place}/{resource}");
        let list = |id| vec![self.watch("watchlist", id)];
        if !place.is_empty() {
            let id = self.id_of_all("watch", "List");
            self.item(items, format!("{prefix}/watch/{resource}"), list(id));
        }
        self.item(items, scoped.clone(), list(self.id("watch", "List")));
        if self.serves(Verb::Get) {
            let one = self.watch("watch", self.id("watch", ""));
            self.item(items, format!("{scoped}/{{name}}"), vec![one]);
        }
    }

    fn push_subresource(&self, items: &mut Vec<PathItem<'k>>, scoped: &str, of: &Subresource) {
        let path = format!("{scoped}/{{name}}/{}", of.name);
        let gvk = of.kind.unwrap_or_else(|| self.gvk());
        // Options of a connection are query parameters, and no object.
        let connects = of.kind.is_some_and(|(group, version, kind)| {
            schema::definition_of_kind(group, version, kind).is_none()
        });
        if !connects {
            return self.named_item(items, path, gvk.2, self.subresource(of, gvk));
        }
        let connections = |suffix: &str| -> Vec<Operation<'k>> {
            let methods = connections(of);
            methods
                .map(|method| self.connect(method, of.name, suffix, gvk))
                .collect()
        };
        self.named_item(items, path.clone(), gvk.2, connections(""));
        if of.name == "proxy" {
            let operations = connections("WithPath");
            self.named_item(items, format!("{path}/{{path}}"), gvk.2, operations);
        }
    }

    fn item(&self, items: &mut Vec<PathItem<'k>>, path: String, operations: Vec<Operation<'k>>) {
        self.named_item(items, path, &self.kind.kind, operations);
    }

    fn named_item(
        &self,
        items: &mut Vec<PathItem<'k>>,
        path: String,
        kind: &'k str,
        operations: Vec<Operation<'k>>,
    ) {
        if !operations.is_empty() {
            let document = item::prefix(self.group, self.version);
            items.push(PathItem {
                path,
                document: document.trim_start_matches('/').to_owned(),
                tag: format!("{}_{}", names::tag(self.group), self.version),
                kind,
                operations,
            });
        }
    }

    fn serves(&self, verb: Verb) -> bool {
        self.kind.verbs.contains(&verb)
    }

    fn gvk(&self) -> Gvk<'k> {
        (self.group, self.version, &self.kind.kind)
    }

    /// `createCoreV1NamespacedPodEviction`.
    fn id(&self, verb: &str, suffix: &str) -> String {
        self.id_with(verb, "", suffix)
    }

    /// `deleteCoreV1CollectionNamespacedPod`: with a word behind the version.
    fn id_with(&self, verb: &str, word: &str, suffix: &str) -> String {
        let namespaced = match self.kind.scope {
            Scope::Namespaced => "Namespaced",
            Scope::Cluster => "",
        };
        format!(
            "{verb}{}{word}{namespaced}{}{suffix}",
            names::group_version(self.group, self.version),
            self.kind.kind
        )
    }

    /// `listCoreV1PodForAllNamespaces`.
    fn id_of_all(&self, verb: &str, suffix: &str) -> String {
        format!(
            "{verb}{}{}{suffix}ForAllNamespaces",
            names::group_version(self.group, self.version),
            self.kind.kind
        )
    }

    /// Media types of kinds that are built in, or those of others.
    fn media(
        &self,
        built_in: &'static [&'static str],
        custom: &'static [&'static str],
    ) -> &'static [&'static str] {
        match self.kind.is_built_in() {
            true => built_in,
            false => custom,
        }
    }

    /// What all have in common: a GET that answers with this kind.
    fn operation(&self, id: String, description: String) -> Operation<'k> {
        Operation {
            method: "get",
            action: Some("get"),
            id,
            description,
            gvk: Some(self.gvk()),
            query: &[],
            body: None,
            consumes: self.media(ANYTHING, CUSTOM),
            produces: self.media(OBJECTS, CUSTOM),
            response: Some(self.definition),
            codes: &[200],
        }
    }

    fn list(&self) -> Operation<'k> {
        let verbs = match self.serves(Verb::Watch) {
            true => "list or watch",
            false => "list",
        };
        let description = format!("{verbs} objects of kind {}", self.kind.kind);
        Operation {
            action: Some("list"),
            query: parameters::LIST,
            produces: self.media(STREAMS, CUSTOM),
            response: self.list,
            ..self.operation(self.id("list", ""), description)
        }
    }

    fn watch(&self, action: &'static str, id: String) -> Operation<'k> {
        let kind = &self.kind.kind;
        let description = match action {
            "watch" => format!(
                "watch an object of kind {kind}. deprecated: list with `watch` and a field selector"
            ),
            _ => format!("watch objects of kind {kind}. deprecated: list with `watch`"),
        };
        Operation {
            action: Some(action),
            query: parameters::LIST,
            produces: STREAMS,
            response: Some(EVENT),
            ..self.operation(id, description)
        }
    }

    fn collection(&self) -> Vec<Operation<'k>> {
        let kind = &self.kind.kind;
        let mut operations = Vec::new();
        if self.serves(Verb::List) {
            operations.push(self.list());
        }
        if self.serves(Verb::Create) {
            let description = format!("create {}", names::with_article(kind));
            operations.push(self.write("post", "create", "", description, self.gvk()));
        }
        if self.serves(Verb::DeleteCollection) {
            let id = self.id_with("delete", "Collection", "");
            operations.push(Operation {
                method: "delete",
                action: Some("deletecollection"),
                query: parameters::DELETE_COLLECTION,
                body: Some(Body::Optional(DELETE)),
                response: Some(STATUS),
                ..self.operation(id, format!("delete collection of {kind}"))
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
            let description = format!("replace the specified {kind}");
            operations.push(self.write("put", "replace", "", description, self.gvk()));
        }
        if self.serves(Verb::Delete) {
            let response = match verb::returns_deleted(self.group, &self.kind.resource) {
                true => self.definition,
                false => STATUS,
            };
            let description = format!("delete {}", names::with_article(kind));
            operations.push(Operation {
                method: "delete",
                action: Some("delete"),
                query: parameters::DELETE,
                body: Some(Body::Optional(DELETE)),
                response: Some(response),
                codes: &[200, 202],
                ..self.operation(self.id("delete", ""), description)
            });
        }
        if self.serves(Verb::Patch) {
            let description = format!("partially update the specified {kind}");
            operations.push(self.patch("", description, self.gvk()));
        }
        operations
    }

    fn subresource(&self, of: &Subresource, gvk: Gvk<'k>) -> Vec<Operation<'k>> {
        let name = of.name;
        let kind = &self.kind.kind;
        let suffix = names::capital(name);
        let operation = |verb: &Verb| match verb {
            Verb::Get if name == "log" => Some(Operation {
                query: parameters::LOG,
                produces: LOGS,
                response: None,
                ..self.read(&suffix, format!("read log of the specified {kind}"), gvk)
            }),
            Verb::Get => {
                Some(self.read(&suffix, format!("read {name} of the specified {kind}"), gvk))
            }
            Verb::Update => {
                let description = format!("replace {name} of the specified {kind}");
                Some(self.write("put", "replace", &suffix, description, gvk))
            }
            Verb::Patch => {
                let description = format!("partially update {name} of the specified {kind}");
                Some(self.patch(&suffix, description, gvk))
            }
            Verb::Create => {
                let description = format!("create {name} of {}", names::with_article(kind));
                Some(self.write("post", "create", &suffix, description, gvk))
            }
            _ => None,
        };
        of.verbs.iter().filter_map(operation).collect()
    }

    /// The definition of a body or an answer of this kind.
    fn definition_of(&self, gvk: Gvk<'k>) -> &'k str {
        if gvk == self.gvk() {
            return self.definition;
        }
        schema::definition_of_kind(gvk.0, gvk.1, gvk.2).map_or(STATUS, |definition| definition.name)
    }

    fn read(&self, suffix: &str, description: String, gvk: Gvk<'k>) -> Operation<'k> {
        Operation {
            gvk: Some(gvk),
            response: Some(self.definition_of(gvk)),
            ..self.operation(self.id("read", suffix), description)
        }
    }

    fn write(
        &self,
        method: &'static str,
        verb: &str,
        suffix: &str,
        description: String,
        gvk: Gvk<'k>,
    ) -> Operation<'k> {
        let definition = self.definition_of(gvk);
        Operation {
            method,
            action: Some(method),
            gvk: Some(gvk),
            query: parameters::WRITE,
            body: Some(Body::Required(definition)),
            response: Some(definition),
            codes: match method {
                "post" => &[200, 201, 202],
                _ => &[200, 201],
            },
            ..self.operation(self.id(verb, suffix), description)
        }
    }

    fn patch(&self, suffix: &str, description: String, gvk: Gvk<'k>) -> Operation<'k> {
        Operation {
            method: "patch",
            action: Some("patch"),
            gvk: Some(gvk),
            query: parameters::PATCH,
            body: Some(Body::Patch),
            consumes: self.media(PATCHES, CUSTOM_PATCHES),
            response: Some(self.definition_of(gvk)),
            codes: &[200, 201],
            ..self.operation(self.id("patch", suffix), description)
        }
    }

    fn connect(
        &self,
        method: &'static str,
        name: &str,
        suffix: &str,
        gvk: Gvk<'k>,
    ) -> Operation<'k> {
        let suffix = format!("{}{suffix}", names::capital(name));
        let id = self.id_with("connect", &names::capital(method), &suffix);
        let description = format!(
            "connect {} requests to {name} of {}",
            method.to_uppercase(),
            self.kind.kind
        );
        Operation {
            method,
            action: Some("connect"),
            gvk: Some(gvk),
            query: parameters::of_connection(gvk.2),
            consumes: ANYTHING,
            produces: ANYTHING,
            response: None,
            ..self.operation(id, description)
        }
    }
}
