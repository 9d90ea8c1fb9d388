//! The annotation in which kubectl's client-side apply keeps what it applied.

use knarr_meta::object_meta::TOTAL_ANNOTATION_SIZE_LIMIT_BYTES;
use serde_json::{Map, Value};

use crate::{
    schema::Schema,
    set::Set,
    typed::{self, Duplicates},
    value,
};

/// The manager that moves from one kind of apply to the other, unless it is told another name.
pub(super) const KUBECTL: &str = "kubectl";

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn annotation(object: &Value) -> Option<&str> {
    let text = object
        .get("metadata")?
        .get("annotations")?
        .get(ANNOTATION)?
        .as_str()?;
    (!text.is_empty()).then_some(text)
}

/// What client-side apply set and nobody changed since. `None`: the object is not of it, or cannot be compared.
pub(super) fn owned(live: &Value, version: &str, schema: &dyn Schema) -> Option<Set<'static>> {
    let last: Value = serde_json::from_str(annotation(live)?).ok()?;
    if last.get("apiVersion").and_then(Value::as_str) != Some(version) {
        return None;
    }
    typed::validate(live, schema, Duplicates::Refused).ok()?;
    typed::validate(&last, schema, Duplicates::Refused).ok()?;
    let set = typed::field_set(&last, schema).ok()?;
    let changes = typed::compare(&last, live, schema).ok()?;
    Some(
        set.difference(&changes.modified)
            .difference(&changes.added)
            .difference(&changes.removed)
            .into_owned(),
    )
}

/// Where the object has the annotation, makes it say what is applied now.
pub(super) fn renew(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let text = encoded(config);
    let annotations = object
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("annotations"))
        .and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(ANNOTATION.to_owned(), Value::String(text));
        if total(annotations) > TOTAL_ANNOTATION_SIZE_LIMIT_BYTES {
            annotations.remove(ANNOTATION);
        }
    }
}

fn total(annotations: &Map<String, Value>) -> usize {
    let sizes = annotations
        .iter()
        .map(|(key, value)| key.len().saturating_add(value.as_str().map_or(0, str::len)));
    sizes.fold(0, usize::saturating_add)
}

/// A configuration as kubectl writes it into the annotation: without the annotation, and with a newline.
fn encoded(config: &Value) -> String {
    let mut config = config.clone();
    let annotations = config
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("annotations"))
        .and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.remove(ANNOTATION);
    }
    let mut text = String::new();
    value::json(&config, &mut text);
    text.push('\n');
    text
}
