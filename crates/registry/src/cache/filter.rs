//! What a list or watch selects, compiled once a request.

use knarr_api::Kind;
use knarr_auth::request::Selectors;
use knarr_meta::{labels, status::Status};

use super::entry::Entry;

/// Where a field requirement finds its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Name,
    Namespace,
    /// Index into the entry's field values.
    Field(usize),
}

#[derive(Clone, Debug)]
struct FieldRequirement {
    source: Source,
    value: Box<str>,
    /// `!=`
    negated: bool,
}

/// Which wake-ups a watcher needs. A narrower route is cheaper for everyone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    All,
    Namespace(Box<str>),
    /// Key of one object.
    Object(Box<str>),
    /// Value of `spec.nodeName`.
    Node(Box<str>),
}

/// Namespace, label selector and field selector of a request.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    namespace: Option<Box<str>>,
    labels: Option<labels::Selector>,
    fields: Vec<FieldRequirement>,
}

/// The one selectable field that has wake-up routes and an index of its own.
pub const INDEXED_FIELD: &str = "spec.nodeName";

impl Filter {
    /// `namespace` empty: all. An unknown field is a 400 naming it, as upstream's.
    pub fn new(kind: &Kind, namespace: &str, selectors: &Selectors) -> Result<Filter, Status> {
        let fields = selectors.fields.requirements().iter().map(|requirement| {
            Ok(FieldRequirement {
                source: source(kind, &requirement.field)?,
                value: requirement.value.as_str().into(),
                negated: !requirement.equal,
            })
        });
        Ok(Filter {
            namespace: (!namespace.is_empty()).then(|| namespace.into()),
            labels: (!selectors.labels.is_empty()).then(|| selectors.labels.clone()),
            fields: fields.collect::<Result<_, Status>>()?,
        })
    }

    /// Everything of a namespace; of all where it is empty.
    pub fn in_namespace(namespace: &str) -> Filter {
        Filter {
            namespace: (!namespace.is_empty()).then(|| namespace.into()),
            ..Filter::default()
        }
    }

    pub fn matches(&self, entry: &Entry) -> bool {
        let (namespace, name) = entry.namespaced_name();
        if self
            .namespace
            .as_deref()
            .is_some_and(|wanted| wanted != namespace)
        {
            return false;
        }
        let fields = self.fields.iter().all(|r| {
            let value = match r.source {
                Source::Name => name,
                Source::Namespace => namespace,
                Source::Field(at) => entry.fields.get(at).map_or("", |v| v),
            };
            (value == &*r.value) != r.negated
        });
        fields
            && self
                .labels
                .as_ref()
                .is_none_or(|l| l.matches_with(|key| entry.label(key)))
    }

    /// This filter without its requirements of the kind's own fields, and those alone, where there are any.
    pub fn split_fields(mut self) -> (Filter, Option<Filter>) {
        let (own, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.fields)
            .into_iter()
            .partition(|requirement| matches!(requirement.source, Source::Field(_)));
        self.fields = rest;
        let fields = (!own.is_empty()).then(|| Filter {
            fields: own,
            ..Filter::default()
        });
        (self, fields)
    }

    /// Whether values of the kind's own fields, in its order, are those that are wanted.
    pub fn matches_values(&self, values: &[String]) -> bool {
        self.fields.iter().all(|requirement| {
            let value = match requirement.source {
                Source::Field(at) => values.get(at).map_or("", String::as_str),
                Source::Name | Source::Namespace => return true,
            };
            (value == &*requirement.value) != requirement.negated
        })
    }

    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("")
    }

    /// True without selectors: only then may a list tell how many items remain.
    pub fn selects_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_empty()
    }

    /// The key of the only object that can match.
    pub fn single_key(&self, kind: &Kind) -> Option<Box<str>> {
        let name = self.exact(|source| source == Source::Name)?;
        match (kind.namespaced(), &self.namespace) {
            (false, _) => Some(name.into()),
            (true, Some(namespace)) => Some(format!("{namespace}/{name}").into()),
            (true, None) => None,
        }
    }

    /// The `spec.nodeName` that every match has.
    pub fn node(&self, kind: &Kind) -> Option<&str> {
        let at = indexed_field(kind)?;
        self.exact(|source| source == Source::Field(at))
            .filter(|v| !v.is_empty())
    }

    /// The route that covers every event this filter can see.
    pub fn route(&self, kind: &Kind) -> Route {
        if let Some(key) = self.single_key(kind) {
            return Route::Object(key);
        }
        if let Some(node) = self.node(kind) {
            return Route::Node(node.into());
        }
        match &self.namespace {
            Some(namespace) => Route::Namespace(namespace.clone()),
            None => Route::All,
        }
    }

    fn exact(&self, wanted: impl Fn(Source) -> bool) -> Option<&str> {
        self.fields
            .iter()
            .find(|r| !r.negated && wanted(r.source))
            .map(|r| &*r.value)
    }
}

/// Where the kind's entries have the indexed field.
pub fn indexed_field(kind: &Kind) -> Option<usize> {
    kind.strategy
        .selectable_fields()
        .iter()
        .position(|f| *f == INDEXED_FIELD)
}

fn source(kind: &Kind, field: &str) -> Result<Source, Status> {
    match field {
        "metadata.name" => Ok(Source::Name),
        "metadata.namespace" => Ok(Source::Namespace),
        _ => kind
            .strategy
            .selectable_fields()
            .iter()
            .position(|f| *f == field)
            .map(Source::Field)
            .ok_or_else(|| Status::bad_request(unknown_field(kind, field))),
    }
}

/// What is said of a field that a kind is not selected by: upstream's words, of which kinds with such fields have their own.
pub fn unknown_field(kind: &Kind, field: &str) -> String {
    if kind.is_built_in() && kind.strategy.selectable_fields().is_empty() {
        return format!(
            "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }
    match (&*kind.group, &*kind.kind) {
        ("batch", "Job") => format!("field label \"{field}\" not supported for Job"),
        ("resource.k8s.io", "ResourceSlice") => {
            format!("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {field}")
        }
        _ => format!("field label not supported: {field}"),
    }
}

#[cfg(test)]
mod tests;
