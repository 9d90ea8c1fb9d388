//! Group-versions that other parts of this process serve ([`LocalApi`]), behind APIServices without a Service.
//!
//! Such a group-version is served while its APIService is there and names no Service: who installs a server of his own replaces the
//! APIService's spec, or deletes it, and has it so. The APIService is made when the server starts, where there is none by
//! that name, and is not looked after later.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::StatusCode;
use knarr_api::{
    apiregistration::{
        api_service::{self, name_of},
        priorities::Priority,
    },
    openapi::Part,
};
use knarr_auth::route::ApiRequest;
use knarr_meta::{
    object::{self, str_at},
    status::Status,
};
use knarr_registry::discovery::{Remote, etag};
use knarr_webhook::LocalApi;
use serde_json::{Value, json};

use super::{Learned, registration::Wanted};
use crate::{
    metadata::{self, IncludeObject},
    negotiate::{self, MetaVersion, Objects, Shape, Shapes},
    respond::{self, Answer},
};

/// A group-version that a part of this process can serve.
pub struct Local {
    api: Arc<dyn LocalApi>,
    /// Of its APIService.
    pub name: String,
    pub serves: Arc<Remote>,
    schema: Bytes,
    hash: String,
    /// What it adds to OpenAPI v2; made when somebody asks for that. `None`: that cannot be read.
    part: OnceLock<Option<Arc<Part>>>,
}

/// All that there are, and those that are served now.
#[derive(Default)]
pub struct Locals {
    pub all: Vec<Arc<Local>>,
    serving: ArcSwap<Vec<Arc<Local>>>,
}

impl Local {
    fn new(api: Arc<dyn LocalApi>) -> Local {
        let (group, version) = api.priority();
        let serves = Remote {
            group: api.group().to_owned(),
            version: api.version().to_owned(),
            priority: Priority { group, version },
            resources: api.resources(),
            stale: false,
        };
        let schema = Bytes::from(api.schema().to_string());
        Local {
            name: name_of(api.group(), api.version()),
            serves: Arc::new(serves),
            hash: etag(&schema).trim_matches('"').to_owned(),
            schema,
            part: OnceLock::new(),
            api,
        }
    }

    fn part(&self) -> Option<Arc<Part>> {
        let make = || {
            let document = self.api.schema_v2().to_string();
            let part = Part::read(
                document.as_bytes(),
                &self.serves.group,
                &self.serves.version,
            );
            let refused = |error| tracing::error!(%error, service = self.name, "an OpenAPI v2 document is not taken");
            part.map(Arc::new).map_err(refused).ok()
        };
        self.part.get_or_init(make).clone()
    }

    /// What its APIService should say.
    pub fn wanted(&self) -> Wanted {
        let serves = &self.serves;
        Wanted::local(&serves.group, &serves.version, serves.priority)
    }

    /// Whether an APIService leaves the group-version to this process.
    fn is_left_by(&self, object: &Value) -> bool {
        object::name(object) == self.name
            && str_at(object, &["spec", "group"]) == self.serves.group
            && str_at(object, &["spec", "version"]) == self.serves.version
            && api_service::service(object).is_none()
    }

    pub(super) fn learned(&self) -> Learned {
        Learned {
            serves: self.serves.clone(),
            schema: Some(self.hash.clone()),
        }
    }

    /// Answers a request for one of its resources, as the client accepts it.
    pub async fn answer(&self, request: &ApiRequest<'_>) -> Answer {
        let shapes = match request.info.verb {
            "list" => Shapes::List,
            _ => Shapes::Object,
        };
        let accepted = negotiate::of(request, shapes, Objects::Custom)?;
        let include = IncludeObject::parse(request.query.get("includeObject"))?;
        let object = self.api.answer(request).await?;
        let shown = match accepted.shape {
            Shape::Object => object,
            Shape::Partial(version) => partial(&object, version),
            Shape::Table(version) => {
                let table = self.api.table(&object);
                shaped(&object, table, include, version)
            }
        };
        Ok(respond::tree(StatusCode::OK, &shown, accepted))
    }

    /// The older form of discovery.
    fn resource_list(&self) -> Value {
        let resources = self.serves.resources.iter();
        let resources: Vec<Value> = resources
            .map(|one| {
                json!({
                    "name": one["resource"],
                    "singularName": one["singularResource"],
                    "namespaced": one["scope"] == "Namespaced",
                    "kind": one["responseKind"]["kind"],
                    "verbs": one["verbs"],
                })
            })
            .collect();
        json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": format!("{}/{}", self.serves.group, self.serves.version),
            "resources": resources,
        })
    }
}

impl Locals {
    pub fn new(apis: Vec<Arc<dyn LocalApi>>) -> Locals {
        let all = apis.into_iter().map(Local::new).map(Arc::new).collect();
        Locals {
            all,
            serving: ArcSwap::default(),
        }
    }

    /// Serves what the APIServices leave to this process. True where that is something else than before.
    pub fn follow(&self, objects: &[Value]) -> bool {
        let left = |local: &&Arc<Local>| objects.iter().any(|object| local.is_left_by(object));
        let now: Vec<Arc<Local>> = self.all.iter().filter(left).cloned().collect();
        let before = self.serving.load();
        let same = before.len() == now.len()
            && before
                .iter()
                .zip(&now)
                .all(|(before, now)| Arc::ptr_eq(before, now));
        if !same {
            self.serving.store(Arc::new(now));
        }
        !same
    }

    pub fn serving(&self) -> Arc<Vec<Arc<Local>>> {
        self.serving.load_full()
    }

    /// What those that are served now add to OpenAPI v2.
    pub fn parts(&self) -> Vec<Arc<Part>> {
        let serving = self.serving.load();
        serving.iter().filter_map(|local| local.part()).collect()
    }

    pub fn find(&self, group: &str, version: &str) -> Option<Arc<Local>> {
        if self.all.is_empty() {
            return None;
        }
        let serving = self.serving.load();
        let mut serving = serving.iter();
        let found = serving.find(|one| one.serves.group == group && one.serves.version == version);
        found.cloned()
    }

    /// Answers a path that names no resource: the discovery or the OpenAPI v3 document of a group-version; `None` for others.
    pub fn page(&self, request: &ApiRequest<'_>) -> Option<Answer> {
        if self.all.is_empty() {
            return None;
        }
        let path = request.info.path;
        let (path, schema) = match path.strip_prefix("/openapi/v3/apis/") {
            Some(path) => (path, true),
            None => (path.strip_prefix("/apis/")?, false),
        };
        let (group, version) = path.split_once('/')?;
        let local = self.find(group, version)?;
        if !matches!(request.info.verb, "get" | "head") {
            return Some(Err(Status::method_not_allowed()));
        }
        if schema {
            return Some(Ok(respond::json(StatusCode::OK, local.schema.clone())));
        }
        let accepted = negotiate::of(request, Shapes::None, Objects::BuiltIn);
        let list = |accepted| respond::tree(StatusCode::OK, &local.resource_list(), accepted);
        Some(accepted.map(list).map_err(Status::from))
    }
}

/// The metadata of an object, or of a list's.
fn partial(object: &Value, version: MetaVersion) -> Value {
    let Some(items) = object["items"].as_array() else {
        return metadata::partial(object, version);
    };
    let items = items.iter().map(|item| metadata::partial(item, version));
    json!({
        "kind": "PartialObjectMetadataList",
        "apiVersion": version.api_version(),
        "metadata": object["metadata"],
        "items": items.collect::<Vec<_>>(),
    })
}

/// A table of columns and rows, whose objects are what `include` says.
fn shaped(object: &Value, mut table: Value, include: IncludeObject, version: MetaVersion) -> Value {
    for row in table["rows"].as_array_mut().into_iter().flatten() {
        let object = row["object"].take();
        row["object"] = match include {
            IncludeObject::None => Value::Null,
            IncludeObject::Metadata => metadata::partial(&object, version),
            IncludeObject::Object => object,
        };
    }
    table["kind"] = json!("Table");
    table["apiVersion"] = json!(version.api_version());
    table["metadata"] = match object["items"].is_array() {
        true => object["metadata"].clone(),
        false => json!({}),
    };
    table
}

#[cfg(test)]
mod tests;
