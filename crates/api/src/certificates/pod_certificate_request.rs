//! PodCertificateRequest.

use knarr_meta::{
    field::ErrorList,
    object::{at, child_mut, list_at, map_at, str_at},
};
use serde_json::{Map, Value};

use crate::{
    apps,
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Text, Verb, text},
    now::Now,
    table::{self, NAME, column},
    tree, validate,
};

mod issued;
mod rules;

pub static KIND: BuiltIn = BuiltIn {
    group: super::GROUP,
    version: "v1",
    kind: "PodCertificateRequest",
    resource: "podcertificaterequests",
    singular: "podcertificaterequest",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/podcertificaterequests"),
    definition: "io.k8s.api.certificates.v1.PodCertificateRequest",
    strategy: &PodRequest,
    aliases: &[],
};

const DEFAULT_SECONDS: i64 = 24 * 60 * 60;

const ISSUED: &str = "Issued";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";

const FIELDS: &[Text] = &[
    text("spec.signerName"),
    text("spec.podName"),
    text("spec.nodeName"),
];

const COLUMNS: &[Column] = &[
    NAME,
    column("PodName", "string", "The pod that it is for."),
    column(
        "ServiceAccountName",
        "string",
        "The account that the pod runs as.",
    ),
    column("NodeName", "string", "The node that the pod runs on."),
    column("SignerName", "string", "Who is asked to sign."),
    column(
        "State",
        "string",
        "Is the request Pending, Issued, Denied, or Failed?",
    ),
    column(
        "UnverifiedUserAnnotations",
        "string",
        "What the pod tells the signer beside.",
    ),
];

struct PodRequest;

/// The condition that decided the request. It is final.
fn outcome(object: &Value) -> Option<&str> {
    list_at(object, &["status", "conditions"])
        .iter()
        .filter(|condition| str_at(condition, &["status"]) == "True")
        .map(|condition| str_at(condition, &["type"]))
        .find(|kind| matches!(*kind, ISSUED | DENIED | FAILED))
}

impl Strategy for PodRequest {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = child_mut(object, "spec") {
            tree::default_value(spec, "maxExpirationSeconds", DEFAULT_SECONDS);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", Map::new());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        if part == Part::Status {
            tree::keep(new, old, "spec");
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                tree::keep_metadata(new, old, field);
            }
        } else {
            apps::keep_other_part(new, old, part);
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        rules::validate(object)
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        if part == Part::Status {
            return issued::validate_status(new, old, jiff::Timestamp::now());
        }
        let mut errors = ErrorList::new();
        let of = |object| at(object, &["spec"]);
        let path = knarr_meta::field::Path::new("spec");
        validate::immutable(&mut errors, &path, of(new), of(old));
        errors
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn selectable_fields(&self) -> &[Text] {
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        ["signerName", "podName", "nodeName"]
            .map(|field| str_at(object, &["spec", field]).to_owned())
            .into()
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: &Now) -> Vec<Value> {
        let spec = |field| Value::from(str_at(object, &["spec", field]));
        let annotations = map_at(object, &["spec", "unverifiedUserAnnotations"]);
        let annotations: Vec<String> = knarr_meta::object::strings(annotations)
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let annotations = match annotations.is_empty() {
            true => "<none>".to_owned(),
            false => annotations.join(","),
        };
        let state = list_at(object, &["status", "conditions"])
            .iter()
            .rev()
            .map(|condition| str_at(condition, &["type"]))
            .find(|kind| matches!(*kind, ISSUED | DENIED | FAILED));
        vec![
            table::name(object),
            spec("podName"),
            spec("serviceAccountName"),
            spec("nodeName"),
            spec("signerName"),
            state.unwrap_or("Pending").into(),
            annotations.into(),
        ]
    }
}

/// What a field of bytes holds; `None` where it is no base64.
fn bytes(object: &Value, path: &[&str]) -> Option<Vec<u8>> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.decode(str_at(object, path)).ok()
}
