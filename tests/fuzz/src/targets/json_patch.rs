//! JSON patches: an object and a patch, one line each. One that is refused leaves the object alone.

use knarr_meta::patch;
use serde_json::Value;

use crate::shape;

use super::{Target, texts, two_lines};

pub struct JsonPatch;

impl Target for JsonPatch {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "{\"a\":{\"b\":[1,2]}}\n[{\"op\":\"add\",\"path\":\"/a/b/-\",\"value\":3}]",
            "{\"a\":{\"b\":[1,2]}}\n[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/c\"},{\"op\":\"move\",\"from\":\"/a/b/0\",\"path\":\"/d\"}]",
            "{\"a/b\":1,\"~\":2}\n[{\"op\":\"test\",\"path\":\"/a~1b\",\"value\":1},{\"op\":\"remove\",\"path\":\"/~0\"},{\"op\":\"replace\",\"path\":\"\",\"value\":{}}]",
        ])
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Some((object, patch)) = two_lines(input) else {
            return Ok(0);
        };
        let Ok(before) = serde_json::from_slice::<Value>(object) else {
            return Ok(0);
        };
        let mut after = before.clone();
        match patch::json(&mut after, patch) {
            Ok(_) => serde_json::from_str::<Value>(&after.to_string())
                .map(|_| shape::of_data(&after.to_string()))
                .map_err(|error| format!("the result cannot be read: {error}")),
            Err(status) if after != before => Err(format!("refused, and changed: {status:?}")),
            Err(status) => Ok(shape::of(&status.message)),
        }
    }
}
