//! AdmissionReview: the question as it is sent, and the answer as it is understood.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use knarr_meta::{
    Gvk, json,
    status::{Details, Reason, Status},
};
use knarr_webhook::answer::{self, ReviewKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hook::Version;

const KIND: &str = "AdmissionReview";
const VERSIONS: [Version; 2] = [Version::V1, Version::V1beta1];

/// Codes with which a refusal may be answered; another one becomes the first.
const REFUSALS: std::ops::RangeInclusive<u16> = 400..=599;

impl Version {
    fn api_version(self) -> &'static str {
        match self {
            Version::V1 => "admission.k8s.io/v1",
            Version::V1beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    kind: &'static str,
    api_version: &'static str,
    request: Request<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: &'a str,
    #[serde(flatten)]
    common: &'a Value,
    object: &'a Value,
    old_object: &'a Value,
}

/// Encodes the question of this uid; `common` is the request without its objects, which are null where there are none.
pub fn encode(
    version: Version,
    uid: &str,
    common: &Value,
    object: &Value,
    old: &Value,
) -> Result<Bytes, serde_json::Error> {
    let question = Question {
        kind: KIND,
        api_version: version.api_version(),
        request: Request {
            uid,
            common,
            object,
            old_object: old,
        },
    };
    serde_json::to_vec(&question).map(Bytes::from)
}

/// Says what an object is, as it must in a review.
pub fn set_type(object: &mut Value, kind: &Gvk) {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".to_owned(), kind.api_version().into());
        map.insert("kind".to_owned(), kind.kind.clone().into());
    }
}

/// A verdict.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The refusal's `status`, in the webhook's own words; null where it says nothing.
    pub refused: Option<Value>,
    /// With its type.
    pub patch: Option<(String, Vec<u8>)>,
    pub warnings: Vec<String>,
    /// For audit events.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    response: Option<Response>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Response {
    uid: Option<String>,
    allowed: Option<bool>,
    status: Option<Value>,
    patch: Option<String>,
    patch_type: Option<String>,
    audit_annotations: Option<BTreeMap<String, String>>,
    warnings: Option<Vec<String>>,
}

/// Why an answer is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is no AdmissionReview.
    Undecodable(String),
    /// It does not hold what it must.
    Invalid(String),
}

/// Reads the answer to the question of a uid, as upstream's `VerifyAdmissionResponse`.
pub fn decode(
    version: Version,
    uid: &str,
    mutating: bool,
    body: &[u8],
) -> Result<Verdict, Unusable> {
    let expected = version.api_version();
    let review = answer::review(
        body,
        ReviewKind {
            kind: KIND,
            api_version: expected,
            versions: &VERSIONS.map(Version::api_version),
        },
    );
    let review = review.map_err(Unusable::Undecodable)?;
    let given = answer::shown_type(&review);
    let answer: Answer =
        serde_json::from_value(review).map_err(|error| Unusable::Undecodable(error.to_string()))?;
    let invalid = |why: String| Err(Unusable::Invalid(why));
    let Some(response) = answer.response else {
        return invalid("webhook response was absent".to_owned());
    };
    if version == Version::V1 {
        let got = response.uid.unwrap_or_default();
        if got != uid {
            return invalid(format!("expected response.uid={uid:?}, got {got:?}"));
        }
        let expected = format!("{expected}, Kind={KIND}");
        if given != expected {
            return invalid(format!(
                "expected webhook response of {expected}, got {given}"
            ));
        }
    }
    let patch = response.patch.unwrap_or_default();
    let patch = STANDARD.decode(patch).map_err(|error| {
        Unusable::Undecodable(format!("illegal base64 data in response.patch: {error}"))
    })?;
    let patch = match (version, mutating) {
        (Version::V1, true) => of_mutating(patch, response.patch_type)?,
        (Version::V1, false) => {
            if !patch.is_empty() {
                return invalid("validating webhook may not return response.patch".to_owned());
            }
            if response.patch_type.is_some() {
                return invalid("validating webhook may not return response.patchType".to_owned());
            }
            None
        }
        (Version::V1beta1, true) => Some(("JSONPatch".to_owned(), patch)),
        (Version::V1beta1, false) => None,
    };
    Ok(Verdict {
        refused: match response.allowed {
            Some(true) => None,
            _ => Some(response.status.unwrap_or_default()),
        },
        patch: patch.filter(|(_, patch)| !patch.is_empty()),
        warnings: response.warnings.unwrap_or_default(),
        annotations: response.audit_annotations.unwrap_or_default(),
    })
}

fn of_mutating(
    patch: Vec<u8>,
    kind: Option<String>,
) -> Result<Option<(String, Vec<u8>)>, Unusable> {
    let why = match kind {
        None if patch.is_empty() => return Ok(None),
        None => "webhook returned response.patch but not response.patchType",
        Some(_) if patch.is_empty() => "webhook returned response.patchType but not response.patch",
        Some(kind) if kind.is_empty() => "webhook returned invalid response.patchType of \"\"",
        Some(kind) => return Ok(Some((kind, patch))),
    };
    Err(Unusable::Invalid(why.to_owned()))
}

/// The operations of a patch.
///
/// # Errors
/// In Go's words, where it is none.
pub fn operations(patch: &[u8]) -> Result<Vec<Value>, String> {
    let tree: Value =
        serde_json::from_slice(patch).map_err(|error| json::explain(&error, patch))?;
    let of_type = |value: &Value, wanted: &str| {
        let found = match value {
            Value::Object(_) => "object",
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) | Value::Null => "bool",
        };
        format!("json: cannot unmarshal {found} into Go value of type {wanted}")
    };
    let list = match tree {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) => list,
        other => return Err(of_type(&other, "jsonpatch.Patch")),
    };
    match list.iter().find(|one| !one.is_object() && !one.is_null()) {
        Some(other) => Err(of_type(other, "jsonpatch.Operation")),
        None => Ok(list),
    }
}

/// What a client is told of a refusal, as upstream's `ToStatusErr`: the webhook's own Status, which is always a failure.
pub fn refusal(hook: &str, status: &Value) -> Status {
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    let code = status["code"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok());
    let denied = format!("admission webhook {hook:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = code.filter(|code| REFUSALS.contains(code));
    let mut refusal = Status::new(
        code.unwrap_or(*REFUSALS.start()),
        Reason::from(text("reason")),
        message,
    );
    refusal.details = serde_json::from_value::<Option<Box<Details>>>(status["details"].clone())
        .unwrap_or_default();
    refusal
}
