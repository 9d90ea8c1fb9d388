//! One request for a resource, as its handler sees it.

use std::{borrow::Cow, sync::Arc};

use knarr_api::{Kind, Served};
use knarr_meta::{
    GroupKind, GroupResource,
    field::{Error, Path},
    status::Status,
};
use parking_lot::Mutex;

use crate::{
    core::Core,
    negotiate::{self, Accepted, Shapes},
    query::Query,
    request::UserInfo,
    route::ApiRequest,
};

/// Texts for `Warning: 299` headers, collected while a request is handled.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<Cow<'static, str>>>);

impl Warnings {
    pub fn add(&self, text: impl Into<Cow<'static, str>>) {
        let text = text.into();
        let mut all = self.0.lock();
        if !all.contains(&text) {
            all.push(text);
        }
    }

    pub fn take(&self) -> Vec<Cow<'static, str>> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Everything about a request but its body.
pub struct Ask<'r> {
    pub core: &'r Arc<Core>,
    pub request: &'r ApiRequest<'r>,
    pub user: &'r UserInfo,
    pub served: &'r Served,
    pub warnings: &'r Warnings,
    /// Asked by a component of this process.
    pub component: bool,
}

impl<'r> Ask<'r> {
    pub fn kind(&self) -> &'r Kind {
        &self.served.kind
    }

    /// The namespace objects of this request live in; empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &'r str {
        match self.kind().namespaced() {
            true => self.request.info.namespace,
            false => "",
        }
    }

    /// The resource as errors name it.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.served.group_text(), self.kind().resource.clone())
    }

    /// The representation that the client wants.
    pub fn accepted(&self, shapes: Shapes) -> Result<Accepted, Status> {
        negotiate::of(self.request, shapes)
    }
}

/// The store's and the cache's name of an object within its resource.
pub fn object_key(kind: &Kind, namespace: &str, name: &str) -> String {
    match kind.namespaced() {
        true => format!("{namespace}/{name}"),
        false => name.to_owned(),
    }
}

/// What to do about fields the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Query parameters of a write.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub validation: FieldValidation,
}

impl WriteOptions {
    /// `kind` names the options in errors: `CreateOptions`, `UpdateOptions`, `PatchOptions`.
    pub fn parse(query: &Query<'_>, kind: &'static str) -> Result<WriteOptions, Status> {
        let mut errors = Vec::new();
        let dry_run = dry_run(query.all("dryRun"), &mut errors);
        let validation = match query.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let path = Path::new("fieldValidation");
                errors.push(Error::not_supported(
                    &path,
                    other,
                    &["Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        match errors.is_empty() {
            true => Ok(WriteOptions {
                dry_run,
                validation,
            }),
            false => Err(Status::invalid(
                GroupKind::new("meta.k8s.io", kind),
                "",
                errors,
            )),
        }
    }
}

/// `All` is the only value there is.
pub fn dry_run<'v>(values: impl Iterator<Item = &'v str>, errors: &mut Vec<Error>) -> bool {
    let mut wanted = false;
    for value in values {
        match value {
            "" => {}
            "All" => wanted = true,
            other => errors.push(Error::not_supported(
                &Path::new("dryRun"),
                serde_json::json!([other]),
                &["All"],
            )),
        }
    }
    wanted
}
