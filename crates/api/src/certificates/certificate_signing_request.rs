//! CertificateSigningRequest.

use knarr_meta::{
    object::{at, i64_at, list_at, str_at},
    time,
};
use serde_json::{Map, Value, json};

use crate::{
    kind::{
        BuiltIn, Column, GET_PATCH_UPDATE, Part, Requester, STATUS, Scope, Strategy, Subresource,
        Text, Verb, text,
    },
    now::{Now, human_duration},
    table::{self, NAME, column},
    tree,
};
use knarr_meta::field::ErrorList;

mod conditions;
mod rules;

pub static KIND: BuiltIn = BuiltIn {
    group: super::GROUP,
    version: "v1",
    kind: "CertificateSigningRequest",
    resource: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[APPROVAL_SUBRESOURCE, STATUS],
    storage: Some("/registry/certificatesigningrequests"),
    definition: "io.k8s.api.certificates.v1.CertificateSigningRequest",
    strategy: &SigningRequest,
    aliases: &[],
};

const APPROVAL_SUBRESOURCE: Subresource = Subresource {
    name: "approval",
    kind: None,
    verbs: GET_PATCH_UPDATE,
    changes: &[&["metadata"], &["status", "conditions"]],
};

/// Through it `Approved` and `Denied` come and go, and nothing else.
pub const APPROVAL: Part = Part::Subresource(APPROVAL_SUBRESOURCE.name);

pub(crate) const APPROVED: &str = "Approved";
pub(crate) const DENIED: &str = "Denied";
pub(crate) const FAILED: &str = "Failed";

/// Signs what nobody else wants to; this version of the API takes no requests for it.
pub(crate) const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";

const FIELDS: &[Text] = &[text("spec.signerName")];

const COLUMNS: &[Column] = &[
    NAME,
    column("Age", "string", "Time since the request was made."),
    column("SignerName", "string", "Who is asked to sign."),
    column("Requestor", "string", "Who asks."),
    column(
        "RequestedDuration",
        "string",
        "How long the certificate should be valid.",
    ),
    column("Condition", "string", "What became of the request."),
];

struct SigningRequest;

/// The conditions of a request.
fn conditions(object: &Value) -> &[Value] {
    list_at(object, &["status", "conditions"])
}

impl Strategy for SigningRequest {
    fn prepare_create(&self, object: &mut Value) {
        // Nobody makes a request that is approved already.
        tree::set(object, "status", Map::new());
    }

    fn stamp(&self, object: &mut Value, requester: &Requester<'_>) {
        let Some(spec) = knarr_meta::object::child_mut(object, "spec") else {
            return;
        };
        for field in ["username", "uid", "groups", "extra"] {
            spec.remove(field);
        }
        spec.insert("username".to_owned(), requester.name.into());
        if !requester.uid.is_empty() {
            spec.insert("uid".to_owned(), requester.uid.into());
        }
        spec.insert("groups".to_owned(), requester.groups.into());
        if !requester.extra.is_empty() {
            spec.insert("extra".to_owned(), json!(requester.extra));
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        tree::keep(new, old, "spec");
        match part {
            Part::Main => tree::keep(new, old, "status"),
            Part::Status => {
                for kind in [APPROVED, DENIED] {
                    conditions::preserve(new, old, kind);
                }
                conditions::stamp(new, old, &time::now_seconds());
            }
            Part::Subresource(_) => conditions::stamp(new, old, &time::now_seconds()),
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        rules::validate(object, &rules::Tolerated::default())
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        rules::validate_update(new, old, part)
    }

    fn validate_name(&self, _name: &str, _generate_prefix: bool) -> Vec<String> {
        Vec::new()
    }

    fn selectable_fields(&self) -> &[Text] {
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        vec![str_at(object, &["spec", "signerName"]).to_owned()]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let signer = match str_at(object, &["spec", "signerName"]) {
            "" => "<none>",
            name => name,
        };
        let duration = i64_at(object, &["spec", "expirationSeconds"])
            .map_or_else(|| "<none>".to_owned(), human_duration);
        vec![
            table::name(object),
            table::age(object, now),
            signer.into(),
            str_at(object, &["spec", "username"]).into(),
            duration.into(),
            state(object).into(),
        ]
    }
}

/// `Approved,Issued` and the like. Upstream's `extractCSRStatus`.
fn state(object: &Value) -> String {
    let has = |kind| conditions::of(object, kind).next().is_some();
    let mut state = match (has(DENIED), has(APPROVED)) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has(FAILED) {
        state.push_str(",Failed");
    }
    if !str_at(object, &["status", "certificate"]).is_empty() {
        state.push_str(",Issued");
    }
    state
}

/// The request's PEM, and the like: what a field of bytes holds.
fn bytes(object: &Value, path: &[&str]) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = at(object, path).and_then(Value::as_str).unwrap_or_default();
    STANDARD.decode(text).unwrap_or_default()
}
