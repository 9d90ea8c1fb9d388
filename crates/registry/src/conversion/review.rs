//! ConversionReview: the question, the answer, and what an answer may change.

use knarr_meta::{
    field::{self, ErrorList, Path},
    object::{self, str_at},
    object_meta,
};
use knarr_webhook::answer::{self, ReviewKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

const KIND: &str = "ConversionReview";
const VERSIONS: [Version; 2] = [Version::V1, Version::V1beta1];

/// Versions of ConversionReview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    /// The same fields; its answers are held to less.
    V1beta1,
}

impl Version {
    /// The first of a definition's list that this server knows.
    pub fn of(reviews: &[String]) -> Option<Version> {
        reviews.iter().find_map(|version| match &**version {
            "v1" => Some(Version::V1),
            "v1beta1" => Some(Version::V1beta1),
            _ => None,
        })
    }

    fn api_version(self) -> &'static str {
        match self {
            Version::V1 => "apiextensions.k8s.io/v1",
            Version::V1beta1 => "apiextensions.k8s.io/v1beta1",
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
struct Request<'a> {
    uid: &'a str,
    #[serde(rename = "desiredAPIVersion")]
    desired: &'a str,
    objects: &'a [&'a RawValue],
}

/// The question of this uid.
pub fn encode(version: Version, uid: &str, desired: &str, objects: &[&RawValue]) -> Vec<u8> {
    let question = Question {
        kind: KIND,
        api_version: version.api_version(),
        request: Request {
            uid,
            desired,
            objects,
        },
    };
    // Writing JSON trees into memory cannot fail.
    serde_json::to_vec(&question).unwrap_or_default()
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
    result: Value,
    converted_objects: Option<Vec<Value>>,
}

/// The objects of an answer.
///
/// # Errors
/// Why it is none, or what the webhook says.
pub fn decode(version: Version, uid: &str, body: &[u8]) -> Result<Vec<Value>, String> {
    let kind = ReviewKind {
        kind: KIND,
        api_version: version.api_version(),
        versions: &VERSIONS.map(Version::api_version),
    };
    let review = answer::review(body, kind)?;
    let given = answer::shown_type(&review);
    let expected = format!("{}, Kind={KIND}", version.api_version());
    if version == Version::V1 && given != expected {
        return Err(format!(
            "expected webhook response of {expected}, got {given}"
        ));
    }
    let answer: Answer = serde_json::from_value(review).map_err(|error| error.to_string())?;
    let Some(response) = answer.response else {
        return Err("no response provided".to_owned());
    };
    let got = response.uid.unwrap_or_default();
    if version == Version::V1 && got != uid {
        return Err(format!("expected response.uid={uid:?}, got {got:?}"));
    }
    let status = str_at(&response.result, &["status"]);
    if status != "Success" {
        return Err(match str_at(&response.result, &["message"]) {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    Ok(response.converted_objects.unwrap_or_default())
}

/// `example.com/v1, Kind=Widget`.
pub fn shown(object: &Value) -> String {
    format!(
        "{}, Kind={}",
        object::api_version(object),
        object::kind(object)
    )
}

/// What is wrong with one object of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is not the object that was asked for.
    Type(String),
    Object(String),
    Metadata(String),
}

impl Wrong {
    /// As upstream tells it of one object, and of one in a list.
    pub fn told(self, index: usize, single: bool) -> String {
        match (self, single) {
            (Wrong::Type(why), true) => format!("returned invalid object at index 0: {why}"),
            (Wrong::Object(why), true) => format!("returned invalid object: {why}"),
            (Wrong::Metadata(why), true) => format!("returned invalid metadata: {why}"),
            (Wrong::Type(why) | Wrong::Object(why), false) => {
                format!("returned invalid converted object at index {index}: {why}")
            }
            (Wrong::Metadata(why), false) => {
                format!("returned invalid metadata in object at index {index}: {why}")
            }
        }
    }
}

/// Holds what was made of an object to what it may be, and gives it back the metadata that it must keep.
pub fn check(from: &Value, to: &mut Value, wanted: &str) -> Result<(), Wrong> {
    let version = object::api_version(to);
    if version != wanted {
        return Err(Wrong::Type(format!(
            "invalid groupVersion (expected {wanted}, received {version})"
        )));
    }
    let (expected, got) = (object::kind(from), object::kind(to));
    if expected != got {
        return Err(Wrong::Type(format!(
            "invalid kind (expected {expected}, received {got})"
        )));
    }
    type Part = fn(&Value) -> &str;
    let parts: [(&str, Part); 3] = [
        ("name", object::name),
        ("namespace", object::namespace),
        ("UID", object::uid),
    ];
    for (what, part) in parts {
        let (expected, got) = (part(from), part(to));
        if expected != got {
            return Err(Wrong::Object(format!(
                "must have the same {what}: {expected} != {got}"
            )));
        }
    }
    keep_metadata(from, to).map_err(Wrong::Metadata)
}

fn keep_metadata(from: &Value, to: &mut Value) -> Result<(), String> {
    let made = match to.get_mut("metadata") {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(made)) => std::mem::take(made),
        Some(_) => return Err("invalid metadata in converted object".to_owned()),
    };
    let mut kept = object::metadata(from).cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        let new = match made.get(field) {
            None | Some(Value::Null) => {
                kept.remove(field);
                continue;
            }
            Some(Value::Object(new)) => new,
            Some(_) => return Err(format!("invalid metadata.{field} in converted object")),
        };
        if let Some((key, _)) = new.iter().find(|(_, value)| !value.is_string()) {
            return Err(format!(
                "metadata.{field}[{key}] must be a string in converted object"
            ));
        }
        if kept.get(field).and_then(Value::as_object) != Some(new) {
            let errors = validate(field, new);
            if !errors.is_empty() {
                return Err(field::aggregate(&errors));
            }
        }
        kept.insert(field.to_owned(), new.clone().into());
    }
    if let Some(map) = to.as_object_mut() {
        map.insert("metadata".to_owned(), kept.into());
    }
    Ok(())
}

fn validate(field: &'static str, map: &Map<String, Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("metadata").child(field);
    match field {
        "labels" => object_meta::validate_labels(map, &path, &mut errors),
        _ => object_meta::validate_annotations(map, &path, &mut errors),
    }
    errors
}
