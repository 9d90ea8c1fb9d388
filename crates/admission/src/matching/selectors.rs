//! Selectors of namespaces and objects, as upstream's `webhook/predicates/{namespace,object}`.

use std::sync::OnceLock;

use knarr_auth::objects::Objects;
use knarr_meta::{GroupResource, labels::Selector, object, status::Status};
use serde_json::Value;

use crate::request::{AdmissionRequest, Operation};

/// Those of one webhook or policy; an error is why one cannot be read.
#[derive(Debug)]
pub struct Selectors {
    namespace: Result<Selector, String>,
    object: Result<Selector, String>,
}

impl Selectors {
    pub fn new(value: &Value) -> Selectors {
        let read = |field| match value.get(field) {
            // Absent until defaults are set: everything.
            None | Some(Value::Null) => Ok(Selector::everything()),
            selector => Selector::from_value(selector).map_err(|error| error.to_string()),
        };
        Selectors {
            namespace: read("namespaceSelector"),
            object: read("objectSelector"),
        }
    }

    /// Whether the request's namespace is selected. What is in no namespace always is.
    pub fn select_namespace(
        &self,
        request: &AdmissionRequest<'_>,
        namespace: &Namespace<'_>,
    ) -> Result<bool, Status> {
        let name = request_namespace(request);
        if name.is_empty() && !is_namespace(request) {
            return Ok(true);
        }
        let selector = self.namespace.as_ref().map_err(Status::internal)?;
        if selector.is_empty() {
            return Ok(true);
        }
        let written = is_namespace(request)
            && request.subresource.is_empty()
            && matches!(request.operation, Operation::Create | Operation::Update);
        if written {
            // What it is about to be counts, not what it was.
            return Ok((request.object.as_deref()).is_some_and(|object| selects(selector, object)));
        }
        let namespace = namespace.of(request)?;
        Ok(namespace.is_some_and(|namespace| selects(selector, namespace)))
    }

    /// Whether the object, as it is to be or as it was, is selected.
    pub fn select_object(&self, request: &AdmissionRequest<'_>) -> Result<bool, Status> {
        let selector = self.object.as_ref().map_err(Status::internal)?;
        if selector.is_empty() {
            return Ok(true);
        }
        let mut either = [request.object.as_deref(), request.old]
            .into_iter()
            .flatten();
        Ok(either.any(|object| selects(selector, object)))
    }
}

fn selects(selector: &Selector, of: &Value) -> bool {
    selector.matches_with(|key| object::label(of, key))
}

fn is_namespace(request: &AdmissionRequest<'_>) -> bool {
    request.kind.group.is_empty() && request.kind.resource == "namespaces"
}

/// The namespace that a request is about: a namespace is in itself. Empty: none.
pub fn request_namespace<'r>(request: &'r AdmissionRequest<'_>) -> &'r str {
    match is_namespace(request) {
        true => request.name,
        false => request.namespace,
    }
}

/// The stored Namespace of one request, read when somebody first asks for it: all that judge the request ask for the same.
pub struct Namespace<'o> {
    objects: &'o dyn Objects,
    found: OnceLock<Result<Option<Value>, Status>>,
}

impl<'o> Namespace<'o> {
    pub fn new(objects: &'o dyn Objects) -> Namespace<'o> {
        Namespace {
            objects,
            found: OnceLock::new(),
        }
    }

    /// The namespace of the request, which is the same each time; `None` where it is about none.
    ///
    /// # Errors
    /// 404 where it is not there.
    pub fn of(&self, request: &AdmissionRequest<'_>) -> Result<Option<&Value>, Status> {
        let found = self.found.get_or_init(|| self.read(request));
        found.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }

    fn read(&self, request: &AdmissionRequest<'_>) -> Result<Option<Value>, Status> {
        let name = request_namespace(request);
        if name.is_empty() {
            return Ok(None);
        }
        match crate::read(self.objects, "", "namespaces", "", name) {
            Some(namespace) => Ok(Some(namespace)),
            None => Err(Status::not_found(
                GroupResource::new("", "namespaces"),
                name,
            )),
        }
    }
}
