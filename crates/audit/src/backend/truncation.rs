//! Events that are too large for a backend: they go without their objects, or not at all.

use bytes::Bytes;
use serde_json::Value;

use crate::Error;

/// Says of an event that its objects are missing, as upstream.
const ANNOTATION: &str = "audit.k8s.io/truncated";
/// Levels at which events have objects.
const WITH_OBJECTS: [&str; 2] = ["Request", "RequestResponse"];

/// What a backend takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    pub max_event_bytes: u64,
    pub max_batch_bytes: u64,
}

impl Truncation {
    /// # Errors
    /// Where a number is none that makes sense, in upstream's words.
    pub fn check(&self, plugin: &str) -> Result<(), Error> {
        let Truncation {
            max_event_bytes: event,
            max_batch_bytes: batch,
        } = *self;
        let why = match (event, batch) {
            (0, _) => format!(
                "invalid audit truncate {plugin} max event size 0, must be a positive number"
            ),
            _ if batch < event => format!(
                "invalid audit truncate {plugin} max batch size {batch}, must be greater than max event size ({event})"
            ),
            _ => return Ok(()),
        };
        Err(Error::Invalid(why))
    }

    /// The event as the backend takes it; `None` where it is too large in any case.
    pub fn cut(&self, event: &Bytes) -> Option<Bytes> {
        if self.fits(event) {
            return Some(event.clone());
        }
        let mut tree: Value = serde_json::from_slice(event).ok()?;
        let fields = tree.as_object_mut()?;
        let level = fields.get("level").and_then(Value::as_str)?;
        if !WITH_OBJECTS.contains(&level) {
            return None;
        }
        fields.remove("requestObject");
        fields.remove("responseObject");
        let annotations = fields.entry("annotations").or_insert(Value::Null);
        if !annotations.is_object() {
            *annotations = Value::Object(serde_json::Map::new());
        }
        annotations[ANNOTATION] = Value::from("true");
        let cut = serde_json::to_vec(&tree).map(Bytes::from).ok()?;
        self.fits(&cut).then_some(cut)
    }

    fn fits(&self, event: &Bytes) -> bool {
        event.len() as u64 <= self.max_event_bytes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMIT: Truncation = Truncation {
        max_event_bytes: 200,
        max_batch_bytes: 1000,
    };

    fn cut(event: &Value) -> Option<Value> {
        let event = Bytes::from(event.to_string());
        let cut = LIMIT.cut(&event)?;
        Some(serde_json::from_slice(&cut).expect("JSON"))
    }

    #[test]
    fn what_is_too_large_goes_without_its_objects() {
        let large = json!({"data": "x".repeat(300)});
        let small = json!({"level": "Request", "verb": "create", "requestObject": {}});
        assert_eq!(cut(&small), Some(small));
        let event = json!({
            "level": "RequestResponse", "verb": "create", "requestObject": large,
            "responseObject": {}, "annotations": {"a": "b"},
        });
        let annotations = json!({"a": "b", "audit.k8s.io/truncated": "true"});
        let wanted =
            json!({"level": "RequestResponse", "verb": "create", "annotations": annotations});
        assert_eq!(cut(&event), Some(wanted));
        let long = "x".repeat(300);
        let uri = json!({"level": "Request", "requestURI": long, "requestObject": {}});
        assert_eq!(cut(&uri), None);
        assert_eq!(cut(&json!({"level": "Metadata", "requestURI": long})), None);
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let told = |max_event_bytes, max_batch_bytes| {
            let limit = Truncation {
                max_event_bytes,
                max_batch_bytes,
            };
            limit.check("log").err().map(|error| error.to_string())
        };
        assert_eq!(told(1, 1), None);
        assert_eq!(
            told(0, 1).as_deref(),
            Some("invalid audit truncate log max event size 0, must be a positive number")
        );
        assert_eq!(
            told(3, 2).as_deref(),
            Some(
                "invalid audit truncate log max batch size 2, must be greater than max event size (3)"
            )
        );
    }
}
