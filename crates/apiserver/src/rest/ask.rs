//! One request for a resource, as its handler sees it.

use std::sync::Arc;

use knarr_admission::request::{Operation, Options};
use knarr_api::{Kind, Served, kind::STATUS};
use knarr_auth::{UserInfo, route::ApiRequest};
use knarr_meta::{
    GroupKind, GroupResource,
    field::{Emptied, Error, Path},
    object_meta,
    status::Status,
};
use knarr_registry::{
    managed::{self, Siblings},
    write::Warnings,
};
use serde_json::{Value, json};

use crate::{
    core::Core,
    negotiate::{self, Accepted, Encoding, Objects, Refused, Shape, Shapes},
    protobuf,
    server::audit::Audit,
    yaml,
};

const NO_ROUTE: &str = "406: Not Acceptable\n\nAvailable representations: \
    application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What routes of lists have beside it.
const STREAMS: &str =
    ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// Resources whose `/status` upstream does not print.
const STATUS_WITHOUT_TABLE: [(&str, &str); 4] = [
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("resource.k8s.io", "devicetaintrules"),
    ("resource.k8s.io", "resourceclaims"),
];

/// Everything about a request but its body.
pub struct Ask<'r> {
    pub core: &'r Arc<Core>,
    pub request: &'r ApiRequest<'r>,
    pub user: &'r UserInfo,
    pub served: &'r Served,
    pub warnings: &'r Warnings,
    /// What its object has of lists and maps with nothing in them.
    pub emptied: Emptied,
    /// The other versions of a custom resource.
    pub siblings: Option<Siblings>,
    pub audit: &'r Audit<'r>,
    /// Asked by a component of this process.
    pub component: bool,
    /// It can take the cache's states in place of bytes.
    pub shares: bool,
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

    /// Warns of what strict decoding finds: what is said of YAML has a warning a line.
    pub fn warn(&self, problems: Vec<String>) {
        for problem in problems {
            match problem.strip_prefix(yaml::UNMARSHAL_ERRORS) {
                None => self.warnings.add(problem),
                Some(lines) => {
                    for line in lines.lines() {
                        self.warnings.add(line.trim().to_owned());
                    }
                }
            }
        }
    }

    /// Whether the answer's objects are shared with the client: they are wanted as they are stored, or their metadata.
    pub fn is_shared(&self, accepted: Accepted) -> bool {
        self.shares
            && accepted.encoding == Encoding::Json
            && matches!(accepted.shape, Shape::Object | Shape::Partial(_))
            && self.served.is_stored()
            && self.kind().strategy.conversion().is_none()
    }

    /// The representation that the client wants.
    pub fn accepted(&self, shapes: Shapes) -> Result<Accepted, Status> {
        let shapes = match shapes {
            Shapes::Object if self.lacks_table() => Shapes::Metadata,
            other => other,
        };
        let objects = match shapes {
            // Of a type of the program's own.
            Shapes::None => Objects::BuiltIn,
            Shapes::Object | Shapes::Metadata | Shapes::List => self.objects(),
        };
        let accepted = negotiate::of(self.request, shapes, objects);
        accepted.map_err(|refused| self.refusal(refused))
    }

    /// Who wants an encoding that no route has is told so by upstream's router.
    fn refusal(&self, refused: Refused) -> Status {
        let accept = self.request.headers.accept;
        if !self.kind().is_built_in() || negotiate::names_encoding(accept) {
            return refused.of_type(&self.go_type(refused == Refused::List));
        }
        // A list may be a watch.
        let streams = match self.request.info.verb {
            "list" | "watch" => STREAMS,
            _ => "",
        };
        Status::not_acceptable(format!("{NO_ROUTE}{streams}")).with_no_details()
    }

    /// Upstream's type of the object, or of a list of such.
    fn go_type(&self, list: bool) -> String {
        let list = if list { "List" } else { "" };
        let kind = self.kind();
        match kind.is_built_in() {
            true => format!("*{}.{}{list}", go_package(&kind.group), kind.kind),
            false => format!("*unstructured.Unstructured{list}"),
        }
    }

    fn lacks_table(&self) -> bool {
        let resource = (&*self.kind().group, &*self.kind().resource);
        self.request.info.subresource == STATUS.name && STATUS_WITHOUT_TABLE.contains(&resource)
    }

    fn objects(&self) -> Objects {
        // It matters to who asks for protobuf alone.
        let asked = self.request.headers.accept.contains("protobuf");
        match asked && !protobuf::knows(&self.served.api_version(), &self.kind().kind) {
            true => Objects::Custom,
            false => Objects::BuiltIn,
        }
    }
}

/// Upstream's package of the types of a group.
pub fn go_package(group: &str) -> &str {
    match group.split('.').next() {
        None | Some("") => "core",
        Some("internal") => "apiserverinternal",
        Some(package) => package,
    }
}

/// What to do about fields the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// What a request says of the write that it asks for.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub validation: FieldValidation,
    /// Whose the changed fields are: see [`managed::manager_name`].
    pub manager: String,
    /// Whether an apply takes what others own.
    pub force: bool,
    /// What the request itself says, for admission.
    given: Given,
}

/// The texts of a request's options.
#[derive(Clone, Debug)]
struct Given {
    field_manager: String,
    field_validation: String,
}

impl Options for WriteOptions {
    fn to_value(&self, operation: Operation) -> Value {
        // What a patch writes is an update, or makes the object.
        let kind = match operation {
            Operation::Create => "CreateOptions",
            _ => "UpdateOptions",
        };
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        let mut put = |field: &str, value: Value| options[field] = value;
        if self.dry_run {
            put("dryRun", json!(["All"]));
        }
        for (field, text) in [
            ("fieldManager", &self.given.field_manager),
            ("fieldValidation", &self.given.field_validation),
        ] {
            if !text.is_empty() {
                put(field, json!(text));
            }
        }
        options
    }
}

impl WriteOptions {
    /// `kind` names the options in errors: `CreateOptions`, `UpdateOptions`.
    pub fn parse(request: &ApiRequest<'_>, kind: &'static str) -> Result<WriteOptions, Status> {
        WriteOptions::with(request, kind, Vec::new())
    }

    /// Those of a patch; an apply must say whose it is, and no other patch can be forced.
    pub fn of_patch(request: &ApiRequest<'_>, apply: bool) -> Result<WriteOptions, Status> {
        let mut errors = Vec::new();
        if apply && request.query.get("fieldManager").is_empty() {
            let path = Path::new("fieldManager");
            errors.push(Error::required(&path, "is required for apply patch"));
        }
        if !apply && request.query.find("force").is_some() {
            let path = Path::new("force");
            errors.push(Error::forbidden(
                &path,
                "may not be specified for non-apply patch",
            ));
        }
        WriteOptions::with(request, "PatchOptions", errors)
    }

    fn with(
        request: &ApiRequest<'_>,
        kind: &'static str,
        mut errors: Vec<Error>,
    ) -> Result<WriteOptions, Status> {
        let query = request.query;
        let manager = query.get("fieldManager");
        object_meta::validate_manager(manager, &Path::new("fieldManager"), &mut errors);
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
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        match errors.is_empty() {
            true => Ok(WriteOptions {
                dry_run,
                validation,
                manager: managed::manager_name(manager, &request.headers.user_agent),
                force: query.flag("force"),
                given: Given {
                    field_manager: manager.to_owned(),
                    field_validation: query.get("fieldValidation").to_owned(),
                },
            }),
            false => Err(Status::invalid(
                GroupKind::new("meta.k8s.io", kind),
                "",
                errors,
            )),
        }
    }
}

/// `All` is the only value there is; also an empty one is another (apimachinery `ValidateDryRun`).
pub fn dry_run<'v>(values: impl Iterator<Item = &'v str>, errors: &mut Vec<Error>) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|value| *value != "All") {
        errors.push(Error::not_supported(
            &Path::new("dryRun"),
            serde_json::json!(values),
            &["All"],
        ));
    }
    !values.is_empty()
}
