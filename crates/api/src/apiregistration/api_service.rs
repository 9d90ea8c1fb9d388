//! APIService: a group-version, and the server that serves it.

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, bool_at, i64_at, list_at, str_at, struct_at},
    time,
};
use serde_json::{Map, Value, json};

use crate::{
    apps,
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: super::GROUP,
    version: "v1",
    kind: "APIService",
    resource: "apiservices",
    singular: "apiservice",
    short_names: &[],
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/apiregistration.k8s.io/apiservices"),
    definition: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
    strategy: &ApiService,
    aliases: &[],
};

/// Says that the server looks after the object: once when it starts ([`ON_START`]), or always ([`ALWAYS`]).
pub const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
pub const ON_START: &str = "onstart";
pub const ALWAYS: &str = "true";

/// The port of a reference to a Service that names none.
const DEFAULT_PORT: i64 = 443;
const MAX_GROUP_PRIORITY: i64 = 20_000;
const MAX_VERSION_PRIORITY: i64 = 1000;

/// The one condition that there is.
const AVAILABLE: &str = "Available";

/// The state of the condition `Available`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    pub reason: &'static str,
    pub message: String,
}

impl Availability {
    /// That of what is served here.
    pub fn local() -> Availability {
        Availability {
            status: "True",
            reason: "Local",
            message: "Local APIServices are always available".to_owned(),
        }
    }
}

/// The name of the object of a group-version.
pub fn name_of(group: &str, version: &str) -> String {
    format!("{version}.{group}")
}

/// The Service whose servers serve the group-version; `None`: it is served here.
pub fn service(object: &Value) -> Option<&Value> {
    struct_at(object, &["spec", "service"])
}

fn condition(object: &Value) -> Option<&Value> {
    let mut conditions = list_at(object, &["status", "conditions"]).iter();
    conditions.find(|one| str_at(one, &["type"]) == AVAILABLE)
}

/// Whether requests may be passed on.
pub fn is_available(object: &Value) -> bool {
    condition(object).is_some_and(|one| str_at(one, &["status"]) == "True")
}

/// Sets the condition; its transition time changes with its status. False where nothing did.
pub fn set_availability(object: &mut Value, wanted: &Availability) -> bool {
    let before = condition(object);
    let same = |field: &str, value: &str| before.is_some_and(|one| str_at(one, &[field]) == value);
    let same_status = same("status", wanted.status);
    if same_status && same("reason", wanted.reason) && same("message", &wanted.message) {
        return false;
    }
    let since = match before.filter(|_| same_status) {
        Some(one) => str_at(one, &["lastTransitionTime"]).to_owned(),
        None => time::now_seconds(),
    };
    let condition = json!({
        "type": AVAILABLE,
        "status": wanted.status,
        "reason": wanted.reason,
        "message": wanted.message,
        "lastTransitionTime": since,
    });
    let Some(status) = object::child_mut(object, "status") else {
        return false;
    };
    tree::default_value(status, "conditions", Value::Array(Vec::new()));
    let Some(all) = status.get_mut("conditions").and_then(Value::as_array_mut) else {
        return false;
    };
    match all
        .iter_mut()
        .find(|one| str_at(one, &["type"]) == AVAILABLE)
    {
        Some(one) => *one = condition,
        None => all.push(condition),
    }
    true
}

struct ApiService;

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Service",
        "string",
        "The reference to the service that hosts this API endpoint.",
    ),
    column("Available", "string", "Whether this service is available."),
    AGE,
];

impl Strategy for ApiService {
    fn default(&self, object: &mut Value) {
        let spec = object.get_mut("spec").and_then(Value::as_object_mut);
        if let Some(service) = spec.and_then(|spec| tree::existing(spec, "service")) {
            tree::default_value(service, "port", DEFAULT_PORT);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", Map::new());
        if service(object).is_none() {
            set_availability(object, &Availability::local());
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        apps::keep_other_part(new, old, part);
        if part == Part::Status {
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                tree::keep_metadata(new, old, field);
            }
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_name(object, &mut errors);
        validate_spec(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, part: Part) -> ErrorList {
        match part {
            Part::Main => self.validate_create(new),
            _ => validate_status(new),
        }
    }

    /// Beyond this it is the group-version's: see [`Strategy::validate_create`].
    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        names::path_segment(name, generate_prefix)
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let of = match service(object) {
            None => "Local".to_owned(),
            Some(service) => {
                let (namespace, name) =
                    (str_at(service, &["namespace"]), str_at(service, &["name"]));
                format!("{namespace}/{name}")
            }
        };
        vec![
            table::name(object),
            of.into(),
            available_cell(object).into(),
            table::age(object, now),
        ]
    }
}

/// The status, with a reason where it is not the good one.
fn available_cell(object: &Value) -> String {
    let Some(condition) = condition(object) else {
        return "Unknown".to_owned();
    };
    let (status, reason) = (
        str_at(condition, &["status"]),
        str_at(condition, &["reason"]),
    );
    match (status, reason) {
        ("True", _) | (_, "") => status.to_owned(),
        (status, reason) => format!("{status} ({reason})"),
    }
}

fn validate_name(object: &Value, errors: &mut ErrorList) {
    let spec = |field: &str| str_at(object, &["spec", field]);
    let wanted = name_of(spec("group"), spec("version"));
    // A prefix of a name, too, has to be the whole name.
    for (field, name) in [
        ("generateName", object::generate_name(object)),
        ("name", object::name(object)),
    ] {
        // That there is none is told already.
        if !name.is_empty() && name != wanted && names::path_segment(name, false).is_empty() {
            let path = Path::new("metadata").child(field);
            let why = format!(r#"must be `spec.version+"."+spec.group`: {wanted:?}"#);
            errors.push(Error::invalid(&path, name, why));
        }
    }
}

fn validate_spec(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = &object["spec"];
    let (group, version) = (str_at(spec, &["group"]), str_at(spec, &["version"]));
    if group.is_empty() {
        if version != "v1" {
            let why = "only v1 may have an empty group and it better be legacy kube";
            errors.push(Error::required(&path.child("group"), why));
        }
    } else {
        let wrong = names::dns1123_subdomain(group);
        validate::each(errors, &path.child("group"), group, wrong);
    }
    let wrong = names::dns1035_label(version);
    validate::each(errors, &path.child("version"), version, wrong);
    for (field, most) in [
        ("groupPriorityMinimum", MAX_GROUP_PRIORITY),
        ("versionPriority", MAX_VERSION_PRIORITY),
    ] {
        let value = i64_at(spec, &[field]).unwrap_or_default();
        if value <= 0 || value > most {
            let why = format!("must be positive and less than {most}");
            errors.push(Error::invalid(&path.child(field), value, why));
        }
    }
    validate_backend(spec, &path, errors);
}

/// The Service, and how its servers prove who they are.
fn validate_backend(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let bundle = STANDARD
        .decode(str_at(spec, &["caBundle"]))
        .unwrap_or_default();
    let insecure = bool_at(spec, &["insecureSkipTLSVerify"]);
    let Some(service) = struct_at(spec, &["service"]) else {
        if !bundle.is_empty() {
            let told = format!("{} bytes", bundle.len());
            let why = "local APIServices may not have a caBundle";
            errors.push(Error::invalid(&path.child("caBundle"), told, why));
        }
        if insecure {
            let why = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(Error::invalid(
                &path.child("insecureSkipTLSVerify"),
                true,
                why,
            ));
        }
        return;
    };
    let at = path.child("service");
    validate::filled(errors, service, &["namespace", "name"], &at);
    let port = i64_at(service, &["port"]).unwrap_or_default();
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        let why = format!("port is not valid: {}", wrong.join(", "));
        errors.push(Error::invalid(&at.child("port"), port, why));
    }
    if insecure && !bundle.is_empty() {
        let why = "may not be true if caBundle is present";
        errors.push(Error::invalid(
            &path.child("insecureSkipTLSVerify"),
            true,
            why,
        ));
    }
}

fn validate_status(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("conditions");
    let conditions = list_at(object, &["status", "conditions"]).iter();
    for (index, condition) in conditions.enumerate() {
        let status = str_at(condition, &["status"]);
        let supported = ["True", "False", "Unknown"];
        if !supported.contains(&status) {
            let at = path.index(index).child("status");
            errors.push(Error::not_supported(&at, status, &supported));
        }
    }
    errors
}

#[cfg(test)]
mod tests;
