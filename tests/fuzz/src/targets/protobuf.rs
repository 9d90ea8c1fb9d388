//! Bodies in protobuf: an object that is read is one that JSON can say, no deeper than what is stored may be, and not longer than
//! its fields' names account for.

use knarr_apiserver::protobuf;
use knarr_meta::patch::{MAX_DEPTH, depth};
use serde_json::Value;

use crate::shape;

use super::Target;

/// A field takes two bytes, and its name in JSON what it takes.
const GROWTH: usize = 32;
const SLACK: usize = 512;

pub struct Protobuf;

/// A length-delimited field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let high = u8::try_from(length >> 7).expect("a short field");
    let mut out = vec![number << 3 | 2, (length & 0x7f) as u8 | 0x80, high];
    out.extend_from_slice(bytes);
    out
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, raw)].concat()
}

impl Target for Protobuf {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let label = [field(1, b"app"), field(2, b"web")].concat();
        let time = field(8, &[8, 0x80, 0x88, 0xd0, 0xc8, 6]);
        let meta = [field(1, b"a"), vec![7 << 3, 5], time, field(11, &label)].concat();
        let entry = [field(1, b"k"), field(2, b"v")].concat();
        let config_map = [field(1, &meta), field(2, &entry), field(3, &entry)].concat();
        let surge = [vec![1 << 3, 1, 2 << 3, 0], field(3, b"25%")].concat();
        let strategy = field(2, &field(2, &surge));
        let quantity = [field(1, b"cpu"), field(2, &field(1, b"100m"))].concat();
        let resources = field(8, &field(2, &quantity));
        let container = [field(1, b"c"), field(2, b"i"), resources].concat();
        let template = field(3, &field(2, &field(2, &container)));
        let deployment = [vec![1 << 3, 0], template, field(4, &strategy)].concat();
        let data = field(1, br#"{"spec":{"x":[1]}}"#);
        // As deep as a whole object may be.
        let deep = ["[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH)].concat();
        let deep = field(1, deep.as_bytes());
        let micro_time = field(4, &[8, 1, 16, 0xff, 1]);
        vec![
            body("v1", "ConfigMap", &config_map),
            body("apps/v1", "Deployment", &field(2, &deployment)),
            body("apps/v1", "ControllerRevision", &field(2, &data)),
            body("apps/v1", "ControllerRevision", &field(2, &deep)),
            body("coordination.k8s.io/v1", "Lease", &field(2, &micro_time)),
            body("v1", "Pod", &field(2, &field(2, &container))),
            body("v1", "DeleteOptions", &[8, 5, 24, 1]),
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let tree = match protobuf::decode(input, ("v1", "Pod")) {
            Ok(tree) => tree,
            Err(error) => return Ok(shape::of(&error.to_string())),
        };
        let text = tree.to_string();
        if text.len() > GROWTH * input.len() + SLACK {
            return Err(format!("{} bytes become {}", input.len(), text.len()));
        }
        if depth(&tree) > MAX_DEPTH {
            return Err("the object is deeper than what can be stored".to_owned());
        }
        match serde_json::from_str::<Value>(&text) {
            Ok(again) if again == tree => Ok(shape::of_data(&text)),
            Ok(again) => Err(format!("{tree} is {again} in JSON")),
            Err(error) => Err(format!("{tree} does not read as JSON: {error}")),
        }
    }
}
