//! Merge patches: an object and a patch, one line each. Applied twice they do what they do once.

use knarr_meta::patch;
use serde_json::Value;

use crate::shape;

use super::{Target, texts, two_lines};

pub struct MergePatch;

impl Target for MergePatch {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "{\"a\":{\"b\":1,\"c\":2}}\n{\"a\":{\"b\":null,\"d\":[1]}}",
            "{\"a\":[1,2]}\n{\"a\":{\"b\":{\"c\":null}},\"e\":null}",
        ])
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
        let mut once = object;
        if patch::merge(&mut once, &patch).is_err() {
            return Ok(0);
        }
        let mut twice = once.clone();
        match patch::merge(&mut twice, &patch) {
            Ok(()) if twice == once => Ok(shape::of_data(&once.to_string())),
            _ => Err("applied twice it does something else".to_owned()),
        }
    }
}
