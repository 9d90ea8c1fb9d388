//! Strategic merge patches of a Pod: an object and a patch, one line each.
//!
//! The empty patch changes nothing, a result is no longer than what it is made of, and a patch without directives that is applied
//! again and again changes nothing more, or is refused, after as many times as it has levels. (What an object does not have is
//! taken as it is, as upstream does, repeated keys and all: the next time it is there, and its own lists are merged.)

use knarr_api::schema::{self, Schema};
use knarr_meta::patch;
use serde_json::{Value, json};

use crate::shape;

use super::{Target, texts, two_lines};

const POD: &str = "io.k8s.api.core.v1.Pod";

pub struct StrategicPatch {
    schema: &'static Schema,
}

impl StrategicPatch {
    pub fn new() -> Self {
        let schema = schema::definition(POD).expect("pods have a schema");
        Self { schema }
    }
}

impl Target for StrategicPatch {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"i\"},{\"name\":\"b\"}]}}\n{\"spec\":{\"containers\":[{\"name\":\"b\",\"image\":\"j\"},{\"name\":\"c\"}]}}",
            "{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}\n{\"spec\":{\"$setElementOrder/containers\":[{\"name\":\"b\"},{\"name\":\"a\"}],\"containers\":[{\"$patch\":\"delete\",\"name\":\"a\"}]}}",
            "{\"metadata\":{\"finalizers\":[\"x/y\",\"z\"]}}\n{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"z\"],\"$setElementOrder/finalizers\":[\"w\",\"x/y\"],\"finalizers\":[\"w\"]}}",
            "{\"spec\":{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}]}}\n{\"spec\":{\"volumes\":[{\"$retainKeys\":[\"name\",\"hostPath\"],\"name\":\"v\",\"hostPath\":{\"path\":\"/\"}}]}}",
            "{\"spec\":{\"containers\":[{\"name\":\"a\",\"ports\":[{\"containerPort\":80,\"protocol\":\"TCP\"}]}]}}\n{\"spec\":{\"containers\":[{\"name\":\"a\",\"ports\":[{\"containerPort\":80,\"name\":\"p\"}],\"args\":[\"x\"]}]}}",
            "{\"spec\":{}}\n{\"spec\":{\"containers\":[{\"name\":\"a\"},{\"name\":\"a\",\"ports\":[{\"name\":\"p\"}]}]}}",
            "{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"nodeName\":\"n\"}}\n{\"metadata\":{\"labels\":{\"a\":null,\"c\":\"d\"}},\"spec\":{\"$patch\":\"replace\",\"hostname\":\"h\"}}",
        ])
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "\"$patch\":\"delete\",",
            "\"$patch\":\"replace\",",
            "\"$retainKeys\":[\"name\"],",
            "\"$setElementOrder/containers\":[{\"name\":\"a\"}],",
            "\"$deleteFromPrimitiveList/finalizers\":[\"z\"],",
            "{\"name\":\"a\"},",
            "\"ports\":[{\"containerPort\":80}],",
            "\"finalizers\":[\"z\"],",
            "\"tolerations\":[{\"key\":\"k\"}],",
            "\"x\",",
            "null",
            "[[]]",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Some((object, patch)) = two_lines(input) else {
            return Ok(0);
        };
        let (Ok(object), Ok(patch)) = (
            serde_json::from_slice::<Value>(object),
            serde_json::from_slice::<Value>(patch),
        ) else {
            return Ok(0);
        };
        if !object.is_object() {
            return Ok(0);
        }
        let apply = |to: &Value, patch: &Value| patch::strategic(to, patch, self.schema);
        if !apply(&object, &json!({})).is_ok_and(|same| same == object) {
            return Err("the empty patch changes something".to_owned());
        }
        let most = object.to_string().len() + patch.to_string().len();
        let once = match apply(&object, &patch) {
            Ok(once) => once,
            Err(status) if status.message.len() > 4 * most + 1_024 => {
                return Err("the error is longer than what it is about".to_owned());
            }
            Err(status) => return Ok(shape::of(&status.message)),
        };
        let text = once.to_string();
        if text.len() > most {
            return Err("the result is longer than object and patch".to_owned());
        }
        if !has_directive(&patch) {
            let mut last = once;
            for left in (0..=levels(&patch)).rev() {
                // Lists that were taken as they are may have elements that cannot be merged.
                let Ok(next) = apply(&last, &patch) else {
                    return Ok(shape::of_data(&text) ^ 1);
                };
                if next == last {
                    break;
                }
                if left == 0 {
                    return Err(format!("{last} becomes {next}"));
                }
                last = next;
            }
        }
        Ok(shape::of_data(&text))
    }
}

/// How deep a value is.
fn levels(value: &Value) -> usize {
    let below = match value {
        Value::Object(map) => map.values().map(levels).max(),
        Value::Array(list) => list.iter().map(levels).max(),
        _ => return 0,
    };
    below.unwrap_or(0) + 1
}

fn has_directive(patch: &Value) -> bool {
    match patch {
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| key.starts_with('$') || has_directive(value)),
        Value::Array(list) => list.iter().any(has_directive),
        _ => false,
    }
}
